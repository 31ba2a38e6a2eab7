"""Filling a network that was built without values, by a plan."""

from __future__ import annotations

import keras

from kgrow.algebra.plan import Plan
from kgrow.algebra.types import Values
from kgrow.architecture.architecture import (
    grown_weights,
    relative_path,
    trainable_weights,
)
from kgrow.backend.lazy_variables import give_value
from kgrow.growth.grown_values import grown_values


def fill_weights(network: keras.Model, plan: Plan, values: Values) -> None:
    """Gives all weights of a network their grown values, one by one.

    Args:
        network: the grown network.
        plan: `Plan`.
        values: dict from paths to the old network's values. They are not
            copied: beyond the two networks, memory holds one variable more.
    """
    learned = trainable_weights(network)
    weights = {relative_path(network, w): w for w in grown_weights(network)}
    for path, value in grown_values(plan, values, weights):
        weight = weights[path]
        flag = weight.trainable
        # TensorFlow never asks for gradients of a variable that was not
        # trainable when it got its value.
        weight.trainable = flag or path in learned
        give_value(weight, value)
        weight.trainable = flag
        del value
