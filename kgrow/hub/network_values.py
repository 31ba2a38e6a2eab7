"""Weights of a network by their paths, read and set."""

import numpy as np

from kgrow import backend
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.lazy_variables import give_value, initialize


def network_values(network):
    """`{path: numpy array}` of a network's weights."""
    return {
        relative_path(network, w): np.asarray(
            backend.to_numpy_if_cpu(backend.storage(w))
        )
        for w in grown_weights(network)
    }


def network_shapes(network):
    """`{path: shape}` of a network's weights, with values or without."""
    return {
        relative_path(network, w): tuple(w.shape)
        for w in grown_weights(network)
    }


def fill_network(network, values):
    """Gives weights these values, and all other variables their own."""
    for weight in grown_weights(network):
        value = values.get(relative_path(network, weight))
        if value is not None:
            give_value(weight, value)
    initialize(network.variables)
    backend.register_parameters(network)
