# shellcheck shell=bash
# Which project, zone and slice: from env.sh, or from the environment.

SETTINGS_FILE=${KGROW_TPU_ENV:-$SCRIPTS/env.sh}

# What a variable is for, for the message when it is missing.
meaning() {
    case $1 in
    PROJECT) echo "the Google Cloud project that pays" ;;
    ZONE) echo "the zone of the TPU, as us-east5-b" ;;
    TPU_NAME) echo "a name for the TPU slice, of your choice" ;;
    ACCELERATOR_TYPE) echo "kind and size of the slice, as v5litepod-16" ;;
    RUNTIME_VERSION) echo "the system of the TPU VMs, as v2-alpha-tpuv6e" ;;
    GS_BUCKET) echo "where checkpoints go, as gs://my-bucket/kgrow" ;;
    CLUSTER) echo "the GKE cluster that XPK made" ;;
    esac
}

# Reads env.sh if there is one. What is set already stays: env.sh assigns with
# `: "${NAME:=value}"`.
load_settings() {
    if [[ -f $SETTINGS_FILE ]]; then
        # shellcheck source=/dev/null
        source "$SETTINGS_FILE"
    elif [[ ${KGROW_TPU_ENV:-} ]]; then
        fail "KGROW_TPU_ENV names a file that does not exist." \
            "Received: KGROW_TPU_ENV=$KGROW_TPU_ENV"
    fi
}

# Fails, naming the first of the variables that has no value.
need() {
    local name
    for name; do
        [[ ${!name:-} ]] && continue
        fail "$name is not set: $(meaning "$name"). Set it in" \
            "$SETTINGS_FILE (copy env.sh.example there), or in the" \
            "environment."
    done
}

# What every script that talks to Cloud TPU needs.
need_slice() {
    load_settings
    need PROJECT ZONE TPU_NAME
    QUEUED_RESOURCE=${QUEUED_RESOURCE:-$TPU_NAME}
    PLACE=(--project="$PROJECT" --zone="$ZONE")
}

# What a new slice is made of, in the words of both `create` commands.
slice_options() {
    need ACCELERATOR_TYPE RUNTIME_VERSION
    SLICE=(--accelerator-type="$ACCELERATOR_TYPE")
    [[ ${NETWORK:-} ]] && SLICE+=(--network="$NETWORK")
    [[ ${SUBNETWORK:-} ]] && SLICE+=(--subnetwork="$SUBNETWORK")
    [[ ${SERVICE_ACCOUNT:-} ]] &&
        SLICE+=(--service-account="$SERVICE_ACCOUNT")
    return 0
}
