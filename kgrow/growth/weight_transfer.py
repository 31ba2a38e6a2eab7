"""Giving a network built without values those that a plan makes of another."""

from kgrow.architecture.architecture import (
    grown_weights,
    relative_path,
    trainable_weights,
)
from kgrow.backend.lazy_variables import give_value
from kgrow.growth.grown_values import grown_values


def fill_weights(network, plan, values):
    """Fills all weights of `network` with the plan's, one after the other.

    Args:
        network: the grown network.
        plan: `Plan`.
        values: dict from paths to the old network's values, read where they
            lie, so that beside the two networks only one variable is held a
            second time.
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
