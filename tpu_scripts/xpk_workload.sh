#!/usr/bin/env bash
#
# Example: the command as a workload on a GKE cluster, through XPK. For
# production, several slices, and TPU7x, which has no TPU VMs.
#
#     xpk_workload.sh [OPTION ...] -- COMMAND [ARGUMENT ...]
#
# --name NAME        of the workload; kgrow by default. A new run needs a new
#                    one, or `xpk workload delete` of the old one
# --num-slices N     of ACCELERATOR_TYPE each; 1
# --max-restarts N   how often GKE starts the workload anew; 50. It does so
#                    when a node is lost, and not when the command fails with
#                    a status below 127, 42 excepted
# --spot             on spot capacity, where the cluster makes its own nodes
# --stage DIR        where the project is laid out for the image;
#                    logs/xpk-NAME by default
# --dry-run          print the commands, run nothing
#
# Reads PROJECT, ZONE, ACCELERATOR_TYPE, CLUSTER and BASE_IMAGE from env.sh.
# Written for XPK 1.16 (`pip install xpk`), which needs docker, kubectl and
# gcloud. The cluster comes from `xpk cluster create`.

set -euo pipefail
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$SCRIPTS/lib/messages.sh"
source "$SCRIPTS/lib/command.sh"
source "$SCRIPTS/lib/settings.sh"
source "$SCRIPTS/lib/project.sh"

name=kgrow
slices=1
restarts=50
stage=
extra=()
while (($#)); do
    case $1 in
    --name) value_of "$@" && name=$VALUE && shift ;;
    --num-slices) value_of "$@" && slices=$VALUE && shift ;;
    --max-restarts) value_of "$@" && restarts=$VALUE && shift ;;
    --stage) value_of "$@" && stage=$VALUE && shift ;;
    --spot) extra+=(--spot) ;;
    --dry-run) DRY_RUN=yes ;;
    --help | -h) usage && exit ;;
    --) shift && break ;;
    *) fail "unknown argument: $1. The command follows --." \
        "See ${0##*/} --help." ;;
    esac
    shift
done
(($#)) || fail "no command. It follows --. See ${0##*/} --help."
[[ $slices =~ ^[1-9][0-9]*$ ]] ||
    fail "--num-slices must be 1 or more. Received: --num-slices=$slices"
whole --max-restarts "$restarts"
load_settings
need PROJECT ZONE ACCELERATOR_TYPE CLUSTER
need_program xpk "Install it with 'pip install xpk'."
stage=${stage:-$SCRIPTS/logs/xpk-$name}

# XPK copies a whole directory into the image: one that holds the project and
# no more. Each pod makes its environment when it starts.
run mkdir -p "$stage/project"
archive_project "$stage/project.tgz"
run tar -xzf "$stage/project.tgz" -C "$stage/project"
run xpk workload create --cluster="$CLUSTER" --workload="$name" \
    --project="$PROJECT" --zone="$ZONE" --tpu-type="$ACCELERATOR_TYPE" \
    --num-slices="$slices" --max-restarts="$restarts" \
    --base-docker-image="${BASE_IMAGE:-python:3.12}" \
    --script-dir="$stage/project" ${extra[@]+"${extra[@]}"} \
    --command="bash tpu_scripts/setup_vm.sh && bash tpu_scripts/lib/on_worker.sh $(quoted "$@")"
