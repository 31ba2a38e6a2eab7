# shellcheck shell=bash
# What has become of a slice: the states of queued resources and of TPU VMs.

# States, https://cloud.google.com/tpu/docs/queued-resources
WAITING_STATES='CREATING ACCEPTED WAITING_FOR_RESOURCES PROVISIONING'
DEAD_STATES='FAILED DELETING SUSPENDING SUSPENDED ABSENT'

# Whether a word is in a list: `one_of "$state" "$DEAD_STATES"`.
one_of() {
    [[ " $2 " == *" $1 "* ]]
}

queued_resource_query() {
    QUERY=(gcloud compute tpus queued-resources describe "$QUEUED_RESOURCE"
        "${PLACE[@]}" --format='value(state.state)')
}

tpu_vm_query() {
    QUERY=(gcloud compute tpus tpu-vm describe "$TPU_NAME"
        "${PLACE[@]}" --format='value(state)')
}

# The answer to QUERY; ABSENT if there is no such thing; gcloud's own words and
# status for anything else that went wrong.
answer() {
    local errors status=0
    { errors=$("${QUERY[@]}" 2>&1 >&3 3>&-) || status=$?; } 3>&1
    if ((status)) && [[ $errors == *NOT_FOUND* ]]; then
        echo ABSENT
    elif ((status)); then
        printf '%s\n' "$errors" >&2
        return "$status"
    fi
}

queued_resource_state() {
    queued_resource_query
    answer
}

# ACTIVE only if the VMs are there as well: a preemption shows in their state
# first, and minutes later in that of the queued resource.
slice_state() {
    local state
    state=$(queued_resource_state) || return
    if [[ $state == ACTIVE ]]; then
        tpu_vm_query
        state=$(answer) || return
        [[ $state == READY ]] && state=ACTIVE
    fi
    echo "$state"
}
