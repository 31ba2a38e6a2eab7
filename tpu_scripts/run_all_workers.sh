#!/usr/bin/env bash
#
# Copies the project to all workers of the slice and runs a command on each.
#
#     run_all_workers.sh [OPTION ...] -- COMMAND [ARGUMENT ...]
#
# --setup           run setup_vm.sh on the workers first
# --no-copy         the project is there already
# --logs DIR        one log a worker and step; logs/TPU_NAME-TIME by default
# --workers N       how many there are; gcloud is asked by default
# --grace SECONDS   how long the others may go on when one has failed; 60
# --poll SECONDS    between two looks at what has ended; 1
# --dry-run         print the commands, run nothing (for one worker, unless
#                   --workers says otherwise)
#
# The command runs in the project's directory, in the environment that
# setup_vm.sh made, and reaches the worker word by word as it stands here:
#
#     run_all_workers.sh --setup -- python tpu_scripts/train_gpt2.py --smoke
#
# A connection that breaks for a while does the run no harm. An interruption
# of this script (Ctrl-C) ends the workers' commands.
#
# Exit status: the worst of all workers'. 255 stands for a worker that was lost,
# that is, could not be reached or never said how its command ended; 2 for an
# error in the call, too, with nothing started; 130 and 143 for an interruption.

set -euo pipefail
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$SCRIPTS/lib/messages.sh"
source "$SCRIPTS/lib/command.sh"
source "$SCRIPTS/lib/settings.sh"
source "$SCRIPTS/lib/slice.sh"
source "$SCRIPTS/lib/workers.sh"
source "$SCRIPTS/lib/project.sh"

setup=
copy=yes
logs=
workers=
grace=60
poll=1
while (($#)); do
    case $1 in
    --setup) setup=yes ;;
    --no-copy) copy= ;;
    --logs) value_of "$@" && logs=$VALUE && shift ;;
    --workers) value_of "$@" && workers=$VALUE && shift ;;
    --grace) value_of "$@" && grace=$VALUE && shift ;;
    --poll) value_of "$@" && poll=$VALUE && shift ;;
    --dry-run) DRY_RUN=yes ;;
    --help | -h) usage && exit ;;
    --) shift && break ;;
    *) fail "unknown argument: $1. The command follows --." \
        "See ${0##*/} --help." ;;
    esac
    shift
done
(($#)) || fail "no command. It follows --. See ${0##*/} --help."
whole --grace "$grace"
seconds --poll "$poll"
[[ $workers =~ ^([1-9][0-9]*)?$ ]] ||
    fail "--workers must be 1 or more. Received: --workers=$workers"
need_slice
need_gcloud
logs=${logs:-$SCRIPTS/logs/$TPU_NAME-$(date -u +%Y%m%d-%H%M%S)}
[[ $DRY_RUN ]] || mkdir -p "$logs"

interrupted() {
    local worker
    trap '' INT TERM
    say "interrupted; the workers are ended"
    for ((worker = 0; worker < ${workers:-0}; worker++)); do
        [[ ${pids[worker]:-} ]] && stop_worker "$worker"
    done
    exit "$1"
}
trap 'interrupted 130' INT
trap 'interrupted 143' TERM

copy_project() {
    archive_project "$logs/project.tgz"
    # gcloud tries several times itself: a VM that has just come up takes no
    # connections for a while.
    run gcloud compute tpus tpu-vm scp "$logs/project.tgz" \
        "$TPU_NAME:kgrow-project.tgz" "${PLACE[@]}" --worker=all --quiet ||
        return "$LOST"
}

[[ $workers ]] || count_workers
prepare=()
if [[ $copy ]]; then
    copy_project
    prepare=(mkdir -p kgrow '&&' rm -rf kgrow/kgrow kgrow/tpu_scripts '&&'
        tar -xzf kgrow-project.tgz -C kgrow)
fi
if [[ $setup ]]; then
    ((${#prepare[@]} == 0)) || prepare+=('&&')
    prepare+=(bash kgrow/tpu_scripts/setup_vm.sh)
fi
if ((${#prepare[@]})); then
    on_all_workers prepare "${prepare[*]}"
fi
id=$(date -u +%Y%m%d-%H%M%S)-$$
on_all_workers run "bash $ON_WORKER --run $id $(quoted "$@")"
