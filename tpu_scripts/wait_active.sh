#!/usr/bin/env bash
#
# Waits until a queued resource is active.
#
#     wait_active.sh [--timeout SECONDS] [--poll SECONDS] [--dry-run]
#
# --timeout   give up after so long; 0, the default, waits for ever
# --poll      between two questions, 30 by default
# --dry-run   print the question, ask nothing
#
# Exit status: 0 it is active; 3 it never will be (failed, suspended, deleted,
# or there is no such request); 4 the time is up, and the request still waits;
# 1 gcloud did not answer five times in a row, or with an unknown state.

set -euo pipefail
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$SCRIPTS/lib/messages.sh"
source "$SCRIPTS/lib/command.sh"
source "$SCRIPTS/lib/settings.sh"
source "$SCRIPTS/lib/slice.sh"

timeout=0
poll=30
while (($#)); do
    case $1 in
    --timeout) value_of "$@" && timeout=$VALUE && shift ;;
    --poll) value_of "$@" && poll=$VALUE && shift ;;
    --dry-run) DRY_RUN=yes ;;
    --help | -h) usage && exit ;;
    *) fail "unknown argument: $1. See ${0##*/} --help." ;;
    esac
    shift
done
whole --timeout "$timeout"
seconds --poll "$poll"
need_slice
need_gcloud
queued_resource_query
if [[ $DRY_RUN ]]; then
    run "${QUERY[@]}"
    exit
fi

last=
misses=0
while :; do
    if state=$(queued_resource_state); then
        misses=0
    elif ((++misses == 5)); then
        say "gcloud did not answer $misses times in a row; its words are above"
        exit 1
    else
        state=$last
    fi
    [[ $state == "$last" ]] ||
        say "$QUEUED_RESOURCE is ${state:-in no state} after $SECONDS s"
    last=$state
    if [[ $state == ACTIVE ]]; then
        exit 0
    elif one_of "$state" "$DEAD_STATES"; then
        say "it will not become active. The reason, if there is one:" \
            "gcloud compute tpus queued-resources describe" \
            "$(quoted "$QUEUED_RESOURCE" "${PLACE[@]}")"
        exit 3
    elif ((misses == 0)) && ! one_of "$state" "$WAITING_STATES"; then
        say "expected one of ACTIVE $WAITING_STATES $DEAD_STATES." \
            "Received: ${state:-nothing}"
        exit 1
    elif ((timeout && SECONDS >= timeout)); then
        say "not active after $SECONDS s; the request stays in the queue"
        exit 4
    fi
    sleep "$poll"
done
