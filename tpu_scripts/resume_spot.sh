#!/usr/bin/env bash
#
# Trains on spot capacity: whenever the slice is taken away, asks for a new one
# and runs the same command again, which goes on from its last checkpoint.
#
#     resume_spot.sh [OPTION ...] -- COMMAND [ARGUMENT ...]
#
# --retries N              restarts at most; 20
# --backoff SECONDS        before the first restart; doubles each time; 60
# --longest-backoff SECONDS  where the doubling ends; 1800
# --healthy SECONDS        a run of this length makes it start over; 600
# --settle SECONDS         how long after a failure a preemption may take to
#                          show; 180
# --poll SECONDS           between two questions to gcloud; 30
# --logs DIR               DIR/attempt-N each; logs/TPU_NAME-TIME by default
# --delete                 delete the slice in the end, however it ends
# --dry-run                print the commands of one round, run nothing
#
# The command has to keep its checkpoints in a bucket (an argument with gs://):
# the disks of a slice go with it.
#
#     resume_spot.sh -- python tpu_scripts/train_gpt2.py \
#         --checkpoints gs://my-bucket/kgrow/gpt2
#
# Started again after a break, it takes up a slice that is still there. It runs
# on your machine, or a small VM, for as long as the training does.
#
# Exit status: 0 the command ended well; that of the command, if it failed on a
# slice that is still there; 75 no more retries; 130 and 143 interrupted.

set -euo pipefail
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$SCRIPTS/lib/messages.sh"
source "$SCRIPTS/lib/command.sh"
source "$SCRIPTS/lib/settings.sh"
source "$SCRIPTS/lib/slice.sh"

LOST=255
NO_MORE_RETRIES=75

retries=20
backoff=60
longest=1800
healthy=600
settle=180
poll=30
logs=
delete=
while (($#)); do
    case $1 in
    --retries) value_of "$@" && retries=$VALUE && shift ;;
    --backoff) value_of "$@" && backoff=$VALUE && shift ;;
    --longest-backoff) value_of "$@" && longest=$VALUE && shift ;;
    --healthy) value_of "$@" && healthy=$VALUE && shift ;;
    --settle) value_of "$@" && settle=$VALUE && shift ;;
    --poll) value_of "$@" && poll=$VALUE && shift ;;
    --logs) value_of "$@" && logs=$VALUE && shift ;;
    --delete) delete=yes ;;
    --dry-run) DRY_RUN=yes ;;
    --help | -h) usage && exit ;;
    --) shift && break ;;
    *) fail "unknown argument: $1. The command follows --." \
        "See ${0##*/} --help." ;;
    esac
    shift
done
(($#)) || fail "no command. It follows --. See ${0##*/} --help."
whole --retries "$retries"
whole --backoff "$backoff"
whole --longest-backoff "$longest"
whole --healthy "$healthy"
whole --settle "$settle"
seconds --poll "$poll"
[[ "$*" == *gs://* ]] || fail "the command names no bucket, and what it" \
    "writes elsewhere is lost with the slice. Give it a path that begins" \
    "with gs://, as --checkpoints gs://my-bucket/kgrow/gpt2. Received: $*"
need_slice
# Asked for now rather than in the night, when a new slice is made.
slice_options
need_gcloud
export DRY_RUN
logs=${logs:-$SCRIPTS/logs/$TPU_NAME-$(date -u +%Y%m%d-%H%M%S)}

# Runs one of the other scripts so that a signal ends it as well.
child=
part() {
    local script=$1 status=0
    shift
    bash "$SCRIPTS/$script" "$@" &
    child=$!
    wait "$child" || status=$?
    child=
    return "$status"
}

interrupted() {
    trap '' INT TERM
    if [[ $child ]]; then
        kill -TERM "$child" 2>/dev/null || true
        wait "$child" || true
    fi
    say "interrupted; the slice, if it is there, costs money until delete.sh"
    exit "$1"
}
trap 'interrupted 130' INT
trap 'interrupted 143' TERM

# A sleep that a signal ends at once.
pause() {
    sleep "$1" &
    child=$!
    wait "$child" || true
    child=
}

finish() {
    if [[ $delete ]]; then
        part delete.sh --yes || say "the slice may still be there: see above"
    else
        say "the slice, if it is still there, costs money until delete.sh"
    fi
    exit "$1"
}

# Sees to it that a slice is there, or on its way.
ask_for_slice() {
    local state
    state=$(slice_state) || return
    if one_of "$state" "ACTIVE $WAITING_STATES"; then
        say "$TPU_NAME is $state already"
        return
    fi
    if [[ $state != ABSENT ]]; then
        say "$TPU_NAME is $state; it makes room for a new one"
        part delete.sh --yes || return
    fi
    part create_queued_resource.sh --spot
}

# Why a command may have failed: `preempted`, `lost` (the slice is there, and
# the connection was not), `failed` (the slice is there: it was the command).
verdict() {
    local state='' known='' limit=$((SECONDS + settle))
    while :; do
        if state=$(slice_state); then
            known=yes
            [[ $state == ACTIVE ]] || break
        fi
        ((SECONDS < limit)) || break
        sleep "$poll"
    done
    if [[ $known && $state != ACTIVE ]]; then
        echo preempted
    elif [[ ! $known ]] || (($1 == LOST)); then
        echo lost
    else
        echo failed
    fi
}

if [[ $DRY_RUN ]]; then
    queued_resource_query
    run "${QUERY[@]}"
    tpu_vm_query
    run "${QUERY[@]}"
    part delete.sh --yes
    part create_queued_resource.sh --spot
    part wait_active.sh
    part run_all_workers.sh --setup --logs "$logs/attempt-1" -- "$@"
    [[ ! $delete ]] || part delete.sh --yes
    exit
fi

attempt=1
delay=$backoff
while :; do
    begun=$SECONDS
    status=0
    if ! ask_for_slice; then
        # The very first request is refused for a reason that stays.
        ((attempt > 1)) || finish 1
        reason='no slice could be asked for'
    elif ! part wait_active.sh --poll "$poll"; then
        reason='the slice did not come up'
    else
        begun=$SECONDS
        part run_all_workers.sh --setup --logs "$logs/attempt-$attempt" \
            -- "$@" || status=$?
        ((status)) || finish 0
        reason=$(verdict "$status")
        if [[ $reason == failed ]]; then
            say "the command failed with status $status on a slice that is" \
                "still there; it would fail again. Logs: $logs"
            finish "$status"
        fi
    fi
    if ((attempt > retries)); then
        say "$reason, and $retries retries are used up"
        finish "$NO_MORE_RETRIES"
    fi
    ((SECONDS - begun < healthy)) || delay=$backoff
    say "attempt $attempt: $reason; the next one in $delay s"
    pause "$delay"
    delay=$((delay * 2 < longest ? delay * 2 : longest))
    attempt=$((attempt + 1))
done
