#!/usr/bin/env bash
#
# Creates a TPU VM slice at once, or fails if there is no capacity.
#
#     create_tpu.sh [--spot] [--dry-run] [-- FLAG ...]
#
# --spot      cheaper, and may be taken away at any time
# --dry-run   print the command, run nothing
# FLAG        goes to `gcloud compute tpus tpu-vm create` as it is
#
# Reads PROJECT, ZONE, TPU_NAME, ACCELERATOR_TYPE and RUNTIME_VERSION from
# env.sh. It costs money from now until delete.sh --tpu-vm.

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
run gcloud compute tpus tpu-vm create "$TPU_NAME" "${PLACE[@]}" \
    "${SLICE[@]}" --version="$RUNTIME_VERSION" ${extra[@]+"${extra[@]}"}
