"""Giving a network built without values those that a plan makes of another."""

from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.lazy_variables import give_value
from kgrow.growth.grown_values import grown_values


def fill_weights(network, old, plan, values):
    """Fills all weights of `network` with the plan's, one after the other.

    Args:
        network: the grown network.
        old: the network before.
        plan: `Plan`.
        values: dict from paths to the old network's values, read where they
            lie, so that beside the two networks only one variable is held a
            second time.
    """
    frozen = {
        relative_path(old, w) for w in grown_weights(old) if not w.trainable
    }
    weights = {relative_path(network, w): w for w in grown_weights(network)}
    for path, value in grown_values(plan, values, weights):
        weight, reads = weights[path], plan.reads(path)
        give_value(weight, value)
        del value
        # Afterwards: TensorFlow never asks for gradients of a variable that
        # was not trainable when it got its value.
        if reads and reads[0] in frozen and weight.trainable:
            weight.trainable = False
