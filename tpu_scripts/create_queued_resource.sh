#!/usr/bin/env bash
#
# Asks for a TPU slice and returns; the request waits in a queue for capacity.
#
#     create_queued_resource.sh [--spot] [--dry-run] [-- FLAG ...]
#
# --spot      cheaper, and may be taken away at any time
# --dry-run   print the command, run nothing
# FLAG        goes to `gcloud compute tpus queued-resources create` as it is,
#             for instance --valid-until-duration=6h, after which the request
#             is given up
#
# Reads PROJECT, ZONE, TPU_NAME, ACCELERATOR_TYPE and RUNTIME_VERSION from
# env.sh. wait_active.sh waits for the slice. It costs money from the moment
# it is there until delete.sh.

set -euo pipefail
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$SCRIPTS/lib/messages.sh"
source "$SCRIPTS/lib/command.sh"
source "$SCRIPTS/lib/settings.sh"

extra=()
while (($#)); do
    case $1 in
    --spot) extra+=(--spot) ;;
    --dry-run) DRY_RUN=yes ;;
    --help | -h) usage && exit ;;
    --) shift && extra+=("$@") && break ;;
    *) fail "unknown argument: $1. See ${0##*/} --help." ;;
    esac
    shift
done

need_slice
slice_options
need_gcloud
run gcloud compute tpus queued-resources create "$QUEUED_RESOURCE" \
    "${PLACE[@]}" --node-id="$TPU_NAME" "${SLICE[@]}" \
    --runtime-version="$RUNTIME_VERSION" ${extra[@]+"${extra[@]}"}
