"""Networks that were made without values get some."""

import numpy as np

from kgrow import backend
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.lazy_variables import give_value


def fill(network, values):
    """Gives a network's weights values, and zeros to all its other variables
    that have none.

    Args:
        network: a built `keras.Model`.
        values: `{path: numpy array}`.
    """
    for weight in grown_weights(network):
        value = values[relative_path(network, weight)]
        if backend.storage(weight) is None:
            give_value(weight, value)
        else:
            weight.assign(value)
    for variable in network.variables:
        if backend.storage(variable) is None:
            give_value(variable, np.zeros(variable.shape, variable.dtype))
    backend.register_parameters(network)
