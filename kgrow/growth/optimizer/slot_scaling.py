"""Measures how a slot of an unknown optimizer scales with the gradient."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.backend import to_numpy

WEIGHT = "weight"

_SCALE = 16.0
_STEPS = 3
_WEIGHTS = (
    np.linspace(1.0, 2.0, 6, dtype="float32").reshape(2, 3),
    np.linspace(1.0, 2.0, 3, dtype="float32"),
)
# Off: settings that mix the weights, or the gradient's scale, into the slots.
# A learning rate may be zero, in a warm-up, and nothing would be measured.
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


def measure_degree(
    optimizer: keras.optimizers.Optimizer, attribute: str
) -> int | str:
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


def built_copy(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.Optimizer:
    """A built copy of an optimizer, with settings for measuring."""
    variables = [keras.Variable(w, name="probe") for w in _WEIGHTS]
    return _twin(optimizer, variables)


def displacement(
    optimizer: keras.optimizers.Optimizer,
    gradients: float = 1.0,
    weights: float = 1.0,
) -> np.ndarray:
    """The updates that a copy of an optimizer makes in a few steps.

    Args:
        optimizer: `keras.optimizers.Optimizer`, left as it is.
        gradients: float, multiplies all gradients.
        weights: float, multiplies the weights at the start.

    Returns:
        numpy array, flat.
    """
    variables = [keras.Variable(weights * w, name="probe") for w in _WEIGHTS]
    # With a rate of 1 the updates are large beside the weights' rounding.
    twin = _twin(optimizer, variables, learning_rate=1.0)
    before = [to_numpy(v) for v in variables]
    _take_steps(twin, variables, gradients)
    moved = [
        (to_numpy(v) - old).ravel()
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
    """The slot after some steps, and its initial value."""
    variables = [keras.Variable(w, name="probe") for w in _WEIGHTS]
    try:
        twin = _twin(optimizer, variables)
        # Some optimizers have a slot for matrices only, or for vectors.
        slot = next(s for s in getattr(twin, attribute) if s is not None)
        start = to_numpy(slot.value)
        _take_steps(twin, variables, scale)
        return to_numpy(slot.value), start
    except Exception as error:
        reason = f"is in no copy made by `get_config()` that runs ({error})"
        raise _unknown(optimizer, attribute, reason) from error
