"""How a slot of an unknown optimizer scales with the gradient, measured."""

import keras
import numpy as np
from keras import ops

from kgrow.algebra.errors import GrowthError

WEIGHT = "weight"

_SCALE = 16.0
_STEPS = 3
_WEIGHTS = (
    np.linspace(1.0, 2.0, 6, dtype="float32").reshape(2, 3),
    np.linspace(1.0, 2.0, 3, dtype="float32"),
)
# Settings that mix the weights or the gradient's scale into the slots, and a
# rate that is not zero: what was lowered or warms up would measure nothing.
_NEUTRAL = {
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "clipnorm": None,
    "clipvalue": None,
    "global_clipnorm": None,
    "use_ema": False,
    "ema_overwrite_frequency": None,
    "gradient_accumulation_steps": None,
    "loss_scale_factor": None,
}


def measure_degree(optimizer, attribute):
    """The power of the gradient that a slot is proportional to.

    A fresh copy of the optimizer takes the same few steps twice, the second
    time with all gradients 16 times as large; the slot's entries then differ
    by the factor `16 ** degree`. A slot that starts as a copy of the weights
    is `"weight"`.

    Args:
        optimizer: `keras.optimizers.Optimizer`, left as it is.
        attribute: string, the slot's name.

    Returns:
        0, 1, 2 or `"weight"`.

    Raises:
        GrowthError: the slot follows no such law.

    Example:

    >>> measure_degree(keras.optimizers.Adam(), "_velocities")
    2
    """
    first, start = _run(optimizer, attribute, 1.0)
    if start.shape == _WEIGHTS[0].shape and np.allclose(start, _WEIGHTS[0]):
        return WEIGHT
    second, _ = _run(optimizer, attribute, _SCALE)
    moved = (first != 0) & (second != 0)
    if moved.any():
        powers = np.log(np.abs(second / first)[moved]) / np.log(_SCALE)
        degree = int(np.rint(np.median(powers)))
        if degree in (0, 1, 2) and np.abs(powers - degree).max() < 0.05:
            return degree
    raise _unknown(
        optimizer, attribute, "scales with no power (0, 1 or 2) of the gradient"
    )


def _unknown(optimizer, attribute, reason):
    name = type(optimizer).__name__
    return GrowthError(
        f"The slot `{attribute}` of {name!r} {reason}, so kgrow cannot tell "
        "how it grows. Say how: "
        f"register_slot_rule('{name}.{attribute}', SlotRule(degree))."
    )


def _run(optimizer, attribute, scale):
    """The slot after some steps, and at the start."""
    variables = [keras.Variable(w, name="probe") for w in _WEIGHTS]
    rng = np.random.default_rng(0)
    try:
        config = optimizer.get_config()
        config.update({k: v for k, v in _NEUTRAL.items() if k in config})
        twin = type(optimizer).from_config(config)
        twin.build(variables)
        # Some optimizers give matrices a slot, some only vectors.
        slot = next(s for s in getattr(twin, attribute) if s is not None)
        start = ops.convert_to_numpy(slot.value)
        for _ in range(_STEPS):
            gradients = [
                ops.convert_to_tensor(
                    scale * rng.uniform(100.0, 200.0, w.shape), "float32"
                )
                for w in _WEIGHTS
            ]
            twin.apply(gradients, variables)
        return ops.convert_to_numpy(slot.value), start
    except Exception as error:
        reason = f"is in no copy made by `get_config()` that runs ({error})"
        raise _unknown(optimizer, attribute, reason) from error
