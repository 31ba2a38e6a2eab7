"""Giving a network built without values those that a plan makes of another."""

from kgrow import backend
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.lazy_variables import give_value, initialize
from kgrow.backend.random import seed_states, set_seed_states
from kgrow.backend.scopes import relative_to
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


def carry_layer_state(network, old, plan):
    """Random states and `trainable` flags of layers that stand again."""
    old_layers = {_layer_path(old, layer): layer for layer in _layers(old)}
    origin = _origins(plan)
    for layer in _layers(network):
        path = _layer_path(network, layer)
        same = old_layers.get(path)
        source = old_layers.get(origin.get(path, path), same)
        if source is not None and not source.trainable:
            layer.trainable = False
    set_seed_states(network, seed_states(old))
    initialize(network.variables)
    backend.register_parameters(network)


def _layers(network):
    return network._flatten_layers(include_self=False)


def _layer_path(network, layer):
    return relative_to(network, layer.path or layer.name)


def _origins(plan):
    """For each layer of the grown network, by path, the old one's path."""
    origins = {}
    for path in plan.target.variables:
        reads = plan.reads(path)
        if not reads:
            continue
        new, old = path.split("/"), reads[0].split("/")
        for depth in range(1, len(new)):
            origins["/".join(new[:depth])] = "/".join(old[:depth])
    return origins
