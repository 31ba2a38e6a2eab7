"""Ftrl's `linear` slot, from which the optimizer computes its weights.

No plan maps it. It is computed from the grown weights, so that Ftrl goes on
from exactly these.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.types import Array
from kgrow.backend import is_spread, storage, to_numpy, to_numpy_if_cpu


def linear(
    optimizer: keras.optimizers.Ftrl, index: int, weight: Array, summed: Array
) -> Array:
    """The `linear` from which Ftrl computes exactly these weights.

    With L1 a weight is zero for any `linear` up to the penalty; there it holds
    the gradients that have been summed up so far, and keeps them.

    Args:
        optimizer: `keras.optimizers.Ftrl`.
        index: int, the variable's place among the optimizer's.
        weight: array, its value.
        summed: array of the same shape, or 0: `linear` before, grown as a sum
            of gradients grows.

    Returns:
        array of the same shape.
    """
    accumulator = to_numpy_if_cpu(storage(optimizer._accumulators[index]))
    xp: Any = ops if is_spread(accumulator) else np
    if xp is np:
        accumulator = np.asarray(accumulator)
    rate = float(to_numpy(optimizer.learning_rate))
    l2 = optimizer.l2_regularization_strength + optimizer.beta / (2 * rate)
    power = accumulator ** (-optimizer.learning_rate_power)
    quadratic = power / rate + 2 * l2
    l1 = optimizer.l1_regularization_strength
    solved = -weight * quadratic - xp.sign(weight) * l1
    return xp.where(weight == 0, xp.clip(summed, -l1, l1), solved)
