#!/usr/bin/env bash
#
# Deletes the slice, so that it costs nothing more. What is on its disks is
# lost; what is in the bucket stays.
#
#     delete.sh [--tpu-vm] [--async] [--yes] [--dry-run]
#
# --tpu-vm    a slice made by create_tpu.sh, which has no queued resource
# --async     do not wait until it is gone
# --yes       do not ask
# --dry-run   print the command, run nothing
#
# That there is nothing to delete is no error.

set -euo pipefail
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$SCRIPTS/lib/messages.sh"
source "$SCRIPTS/lib/command.sh"
source "$SCRIPTS/lib/settings.sh"
source "$SCRIPTS/lib/slice.sh"

kind=queued-resources
extra=()
while (($#)); do
    case $1 in
    --tpu-vm) kind=tpu-vm ;;
    --async) extra+=(--async) ;;
    --yes) extra+=(--quiet) ;;
    --dry-run) DRY_RUN=yes ;;
    --help | -h) usage && exit ;;
    *) fail "unknown argument: $1. See ${0##*/} --help." ;;
    esac
    shift
done

need_slice
need_gcloud
if [[ $kind == tpu-vm ]]; then
    name=$TPU_NAME
    tpu_vm_query
else
    # --force deletes an active one too, and its VMs with it.
    name=$QUEUED_RESOURCE
    extra+=(--force)
    queued_resource_query
fi
if [[ ! $DRY_RUN ]]; then
    state=$(answer)
    if [[ $state == ABSENT ]]; then
        say "there is no $name in $ZONE; nothing to delete"
        exit
    fi
fi
run gcloud compute tpus "$kind" delete "$name" "${PLACE[@]}" \
    ${extra[@]+"${extra[@]}"}
