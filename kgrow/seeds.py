"""The random states of a network, which Keras keeps out of its files."""

import keras
import numpy as np

from kgrow.backend import raw
from kgrow.deferred import give_value


def seed_states(network):
    """`{path: [seed, draws]}` of all random states of a network.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1, dropout=0.1)
    >>> list(seed_states(model.network))
    ['layer_0/output_dropout/seed_generator/seed_generator_state']
    """
    return {
        path: [int(n) for n in keras.ops.convert_to_numpy(generator.state)]
        for path, generator in _generators(network).items()
    }


def set_seed_states(network, states):
    """Gives random states the values that `seed_states()` read; those of
    which there is none stay."""
    for path, generator in _generators(network).items():
        if path in states:
            state = generator.state
            value = np.array(states[path], state.dtype)
            if raw(state) is None:
                give_value(state, value)
            else:
                state.assign(value)


def _generators(network):
    found = {}
    for layer in network._flatten_layers():
        for generator in layer._seed_generators:
            path = generator.state.path.removeprefix(f"{network.name}/")
            found[path] = generator
    return found
