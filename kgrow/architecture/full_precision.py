"""Computing in the precision of the weights, whatever the dtype policy."""

import contextlib

import keras

_HALF = ("float16", "bfloat16")


@contextlib.contextmanager
def full_precision(*networks):
    """Context in which layers whose weights are float32 compute in float32.

    Half precision would hide what is looked for: rounding alone may be half
    of an output there.

    Args:
        *networks: `keras.Model`s.
    """
    changed = []
    for network in networks:
        for layer in network._flatten_layers():
            policy = layer._dtype_policy
            if is_mixed(policy):
                changed.append((layer, policy))
    try:
        for layer, _ in changed:
            # Past the setter, which is for layers that are not built yet.
            layer._dtype_policy = keras.DTypePolicy("float32")
        yield
    finally:
        for layer, policy in changed:
            layer._dtype_policy = policy


def is_mixed(policy):
    """Whether a dtype policy computes in half precision on float32 weights."""
    return (
        policy.quantization_mode is None
        and policy.variable_dtype == "float32"
        and policy.compute_dtype in _HALF
    )
