"""Ftrl's `linear` slot, from which the optimizer computes its weights anew.

It has no plan: whatever the weights became, the slot is what makes Ftrl
compute just these.
"""

import keras
import numpy as np

from kgrow.backend import is_spread, storage, to_numpy_if_cpu


def linear(optimizer, index, weight):
    """The `linear` from which Ftrl computes exactly these weights.

    Args:
        optimizer: `keras.optimizers.Ftrl`.
        index: int, the variable's place among the optimizer's.
        weight: array, its value.

    Returns:
        array of the same shape.
    """
    accumulator = to_numpy_if_cpu(storage(optimizer._accumulators[index]))
    accumulator, sign = (
        (accumulator, keras.ops.sign)
        if is_spread(accumulator)
        else (np.asarray(accumulator), np.sign)
    )
    rate = float(keras.ops.convert_to_numpy(optimizer.learning_rate))
    l2 = optimizer.l2_regularization_strength + optimizer.beta / (2 * rate)
    power = accumulator ** (-optimizer.learning_rate_power)
    quadratic = power / rate + 2 * l2
    l1 = optimizer.l1_regularization_strength
    return -weight * quadratic - sign(weight) * l1
