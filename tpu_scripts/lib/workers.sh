# shellcheck shell=bash
# One command on all workers at once: a log each, and the worst exit status.
#
# Every worker has an SSH connection of its own. gcloud's --worker=all would
# give one status for all of them and mix what they print.

# A worker's log ends in this and the status of its command. A log that does
# not is that of a worker that was lost on the way.
FINISHED='worker finished with status'

LOST=255

# Where the project lies on a worker, below the home directory.
ON_WORKER=kgrow/tpu_scripts/lib/on_worker.sh

# A VM that is taken away closes nothing: without these questions a connection
# to it would stay open for ever. Two minutes without an answer end it. gcloud
# then connects again, ten times, and runs its line again when it succeeds.
SSH_FLAGS=(--ssh-flag='-o ServerAliveInterval=30'
    --ssh-flag='-o ServerAliveCountMax=4'
    --ssh-flag='-o ConnectTimeout=20')

# Sets `workers` to how many the slice has, or to 1 in a dry run.
count_workers() {
    QUERY=(gcloud compute tpus tpu-vm describe "$TPU_NAME" "${PLACE[@]}"
        --format='value(networkEndpoints.len())')
    workers=1
    if [[ $DRY_RUN ]]; then
        run "${QUERY[@]}"
        return
    fi
    workers=$(answer)
    [[ $workers =~ ^[1-9][0-9]*$ ]] || fail "expected the number of workers" \
        "of $TPU_NAME from gcloud. Received: ${workers:-nothing}. Create the" \
        "slice first, or say how many with --workers."
}

# The command line for one worker: `worker_line 2 'uname -a'`, in LINE.
worker_line() {
    LINE=(gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${PLACE[@]}"
        --worker="$1" --quiet "${SSH_FLAGS[@]}" --command="$2")
}

log_of() {
    printf '%s/%s.worker-%s.log' "$logs" "$1" "$2"
}

# The status a worker reported itself: gcloud has its own, and may have none.
reported_status() {
    local line
    line=$(grep -a "^$FINISHED [0-9]*$" "$1" | tail -n 1) || true
    echo "${line##* }"
}

# Runs a command, ends it after so many seconds: `within 60 gcloud ...`.
within() {
    local limit=$((SECONDS + $1)) pid
    shift
    "$@" </dev/null >/dev/null 2>&1 &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        if ((SECONDS >= limit)); then
            kill "$pid" 2>/dev/null || true
            return "$LOST"
        fi
        sleep "$poll"
    done
    wait "$pid"
}

# Ends what still runs on one worker, and the connection to it.
stop_worker() {
    local reached=0
    worker_line "$1" "bash $ON_WORKER --stop"
    within 90 "${LINE[@]}" || reached=$?
    kill "${pids[$1]}" 2>/dev/null || true
    wait "${pids[$1]}" 2>/dev/null || true
    return "$reached"
}

# Runs a step on workers 0 to `workers` - 1 and returns the worst status. When
# one has failed the others may go on for `grace` seconds: they wait for it in
# a collective, most often, and would wait for ever.
on_all_workers() {
    local step=$1 command=$2 worker status worst=0 running deadline=
    pids=()
    for ((worker = 0; worker < workers; worker++)); do
        worker_line "$worker" \
            "$command; status=\$?; echo \"$FINISHED \$status\"; exit \$status"
        if [[ $DRY_RUN ]]; then
            run "${LINE[@]}"
        else
            "${LINE[@]}" </dev/null >"$(log_of "$step" "$worker")" 2>&1 &
            pids[worker]=$!
        fi
    done
    [[ $DRY_RUN ]] && return
    say "$step: $workers worker(s), logs in $(log_of "$step" '*')"

    running=$workers
    while ((running)); do
        for ((worker = 0; worker < workers; worker++)); do
            [[ ${pids[worker]} ]] || continue
            kill -0 "${pids[worker]}" 2>/dev/null && continue
            wait "${pids[worker]}" || true
            status=$(reported_status "$(log_of "$step" "$worker")")
            worker_ended "${status:-$LOST}"
        done
        if [[ $deadline ]] && ((SECONDS >= deadline)); then
            for ((worker = 0; worker < workers; worker++)); do
                [[ ${pids[worker]} ]] || continue
                say "$step: worker $worker is ended, for another one failed"
                if stop_worker "$worker"; then
                    # It did what it was told, and tells nothing more.
                    worker_ended 0
                else
                    worker_ended "$LOST"
                fi
            done
        fi
        ((running == 0)) || sleep "$poll"
    done
    return "$worst"
}

# Writes down how a worker ended. Shares the variables of `on_all_workers`.
worker_ended() {
    pids[worker]=
    running=$((running - 1))
    ((worst >= $1)) || worst=$1
    if (($1)); then
        say "$step: worker $worker ended with status $1, the end of its log:"
        tail -n 5 "$(log_of "$step" "$worker")" >&2
        deadline=${deadline:-$((SECONDS + grace))}
    fi
}
