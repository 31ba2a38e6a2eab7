#!/usr/bin/env bash
#
# Runs a command on a TPU VM, in the project and its environment.
#
#     on_worker.sh [--run ID] COMMAND [ARGUMENT ...]
#     on_worker.sh --stop
#
# The command does not depend on the connection: it writes to a file, which is
# shown here. gcloud runs its line again when the connection broke, and with
# the same ID that shows the run that is going on, and does not start another.
#
# A TPU belongs to one process. So a new ID first ends what runs under an old
# one; --stop does only that. Exit status: that of the command, 143 if it was
# ended from outside.

set -euo pipefail
PROJECT_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
source "$PROJECT_ROOT/tpu_scripts/lib/messages.sh"

VENV=${KGROW_VENV:-$HOME/kgrow-venv}
# One directory a run: its log, its process group, and in the end its status.
RUNS=$HOME/kgrow-runs
# How long a program may take to end when asked to, in seconds.
PATIENCE=${KGROW_PATIENCE:-30}

# Whether a group is still one of ours: numbers are used again.
alive() {
    { tr '\0' '\n' <"/proc/$1/environ"; } 2>/dev/null | grep -q '^KGROW_RUN='
}

stop() {
    local group limit=$((SECONDS + PATIENCE))
    [[ -f $RUNS/last ]] || return 0
    group=$(<"$RUNS/last")
    if alive "$group"; then
        kill -TERM -- "-$group" 2>/dev/null || true
    fi
    while alive "$group"; do
        ((SECONDS < limit)) || kill -KILL -- "-$group" 2>/dev/null || true
        sleep 0.2
    done
}

start() {
    cd "$PROJECT_ROOT"
    export PATH=$VENV/bin:$PATH
    # The copy here is what runs, not one that was installed once.
    export PYTHONPATH=$PROJECT_ROOT PYTHONUNBUFFERED=1
    export KERAS_BACKEND=${KERAS_BACKEND:-jax}
    export KGROW_RUN=$run
    : >"$folder/log"
    # shellcheck disable=SC2016
    setsid bash -c '
        status=0
        "$@" || status=$?
        echo "$status" >"$0/status"
    ' "$folder" "$@" </dev/null >>"$folder/log" 2>&1 &
    # Until it is what `stop` looks for.
    until alive "$!" || ! kill -0 "$!" 2>/dev/null; do
        sleep 0.02
    done
    echo "$!" >"$RUNS/last"
    cp "$RUNS/last" "$folder/group"
}

run=$(date -u +%Y%m%d-%H%M%S)-$$
while (($#)); do
    case $1 in
    --run) value_of "$@" && run=$VALUE && shift ;;
    --stop) stop && exit ;;
    --help | -h) usage && exit ;;
    *) break ;;
    esac
    shift
done
(($#)) || fail "no command. See ${0##*/} --help."
[[ -x $VENV/bin/python ]] || fail "there is no Python in $VENV. Run" \
    "setup_vm.sh on this machine, or run_all_workers.sh with --setup."

folder=$RUNS/$run
if [[ ! -f $folder/group ]]; then
    stop
    mkdir -p "$folder"
    start "$@"
fi

# In the background, so that a signal is heard while it shows the log.
trap 'stop; exit 143' INT TERM
tail -n +1 -s 0.2 -f --pid="$(<"$folder/group")" "$folder/log" &
wait "$!"
[[ -f $folder/status ]] || exit 143
exit "$(<"$folder/status")"
