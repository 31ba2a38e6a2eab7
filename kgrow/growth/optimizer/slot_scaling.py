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


def built_copy(optimizer):
    """A copy of an optimizer with slots, of settings that measure well."""
    variables = [keras.Variable(w, name="probe") for w in _WEIGHTS]
    return _twin(optimizer, variables)


def displacement(optimizer, gradients=1.0, weights=1.0):
    """How far a copy of an optimizer moves some weights in a few steps.

    Args:
        optimizer: `keras.optimizers.Optimizer`, left as it is.
        gradients: float, multiplies all gradients.
        weights: float, multiplies the weights at the start.

    Returns:
        numpy array, flat.
    """
    variables = [keras.Variable(weights * w, name="probe") for w in _WEIGHTS]
    # At a rate of one, rounding of the weights is small beside the updates.
    twin = _twin(optimizer, variables, learning_rate=1.0)
    before = [ops.convert_to_numpy(v) for v in variables]
    _take_steps(twin, variables, gradients)
    moved = [
        (ops.convert_to_numpy(v) - old).ravel()
        for v, old in zip(variables, before, strict=True)
    ]
    return np.concatenate(moved)


def _twin(optimizer, variables, **settings):
    config, settings = optimizer.get_config(), {**_NEUTRAL, **settings}
    config.update({k: v for k, v in settings.items() if k in config})
    twin = type(optimizer).from_config(config)
    twin.build(variables)
    return twin


def _take_steps(optimizer, variables, scale):
    rng = np.random.default_rng(0)
    for _ in range(_STEPS):
        gradients = [
            ops.convert_to_tensor(
                scale * rng.uniform(100.0, 200.0, w.shape), "float32"
            )
            for w in _WEIGHTS
        ]
        optimizer.apply(gradients, variables)


def _run(optimizer, attribute, scale):
    """The slot after some steps, and at the start."""
    variables = [keras.Variable(w, name="probe") for w in _WEIGHTS]
    try:
        twin = _twin(optimizer, variables)
        # Some optimizers give matrices a slot, some only vectors.
        slot = next(s for s in getattr(twin, attribute) if s is not None)
        start = ops.convert_to_numpy(slot.value)
        _take_steps(twin, variables, scale)
        return ops.convert_to_numpy(slot.value), start
    except Exception as error:
        reason = f"is in no copy made by `get_config()` that runs ({error})"
        raise _unknown(optimizer, attribute, reason) from error
