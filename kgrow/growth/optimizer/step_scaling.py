"""Scaling an optimizer's steps by one factor for each variable.

The update of a variable is multiplied after the moments are updated and
before averages of the weights are taken, so that moments are those of the
unscaled gradients. Decoupled weight decay comes before, and is not scaled.
"""

from __future__ import annotations

from collections.abc import Mapping

import keras
from keras import ops

from kgrow.backend.keras_internals import replace_methods, restore_methods

_UPDATE = "_backend_update_step"


def scale_steps(
    optimizer: keras.optimizers.Optimizer, factors: Mapping[int, float]
) -> None:
    """Makes an optimizer scale its steps; without factors, ends that.

    Args:
        optimizer: `keras.optimizers.Optimizer` that wraps no other.
        factors: `{id of a variable: float}`; others are not scaled.
    """
    restore_methods(optimizer, _UPDATE)
    if not factors:
        return
    update = getattr(optimizer, _UPDATE)

    def scaled_update(grads, trainable_variables, learning_rate):
        before = [
            (v, ops.copy(v.value), factors[id(v)])
            for v in trainable_variables
            if id(v) in factors
        ]
        update(grads, trainable_variables, learning_rate)
        for variable, old, factor in before:
            way = ops.cast(factor, variable.dtype) * (variable.value - old)
            variable.assign(old + way)

    replace_methods(optimizer, **{_UPDATE: scaled_update})
