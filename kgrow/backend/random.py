"""Random states: the global generators, and those of a network's layers."""

import base64
import contextlib
import random

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.backend.lazy_variables import give_value
from kgrow.backend.scopes import relative_to


@contextlib.contextmanager
def private_random(seed):
    """Context with Python's and numpy's global generators seeded, and after
    it, as the backend's, as they were.

    Keras seeds new layers from Python's global generator, shuffles data with
    numpy's, and on torch drops out with torch's. A growth must not change
    what they give the user next, and must itself give the same for the same
    seed.

    Example:

    >>> random.seed(1); first = random.random()
    >>> random.seed(1)
    >>> with private_random(0):
    ...     _ = random.random()
    >>> random.random() == first
    True
    """
    python, numpy = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed % 2**32)
    try:
        with backend.kept_random():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def random_states():
    """States of Python's, numpy's and, on torch, torch's global generators.

    Returns:
        dict, data that JSON can hold.

    Example:

    >>> states = random_states()
    >>> first = random.random(), np.random.rand()
    >>> set_random_states(states)
    >>> (random.random(), np.random.rand()) == first
    True
    """
    version, numbers, spare = random.getstate()
    words, *rest = np.random.get_state()[1:]
    return {
        "python": [version, _pack(numbers), spare],
        "numpy": [_pack(words), *rest],
        "backend": [_pack(s) for s in backend.random_states()],
    }


def set_random_states(states):
    """Gives the global generators the states that `random_states()` read."""
    version, numbers, spare = states["python"]
    numbers = tuple(int(n) for n in _unpack(numbers))
    random.setstate((version, numbers, spare))
    words, *rest = states["numpy"]
    np.random.set_state(("MT19937", _unpack(words), *rest))
    backend.set_random_states([_unpack(s) for s in states["backend"]])


def _pack(numbers):
    """Unsigned integers of 32 bits, or bytes, as text."""
    numbers = np.asarray(numbers)
    kind = "u1" if numbers.dtype == np.uint8 else "<u4"
    return [kind, base64.b64encode(numbers.astype(kind).tobytes()).decode()]


def _unpack(packed):
    kind, text = packed
    return np.frombuffer(base64.b64decode(text), kind).copy()


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
            value = _as_state(states[path], state.dtype)
            if backend.storage(state) is None:
                give_value(state, value)
            else:
                state.assign(value)


def _as_state(numbers, dtype):
    """A saved random state as a backend keeps it.

    Seeds have 32 bits, which torch keeps in signed integers, JAX in unsigned
    ones and TensorFlow in those of 64 bits.
    """
    kind = np.iinfo(dtype)
    if all(kind.min <= number <= kind.max for number in numbers):
        return np.array(numbers, dtype)
    if not all(-(2**31) <= number < 2**32 for number in numbers):
        raise GrowthError(
            "A random state of the file has more bits than this backend "
            f"keeps ({kind.bits}). Received: {numbers}"
        )
    return np.array(numbers, "int64").astype(dtype)


def _generators(network):
    found = {}
    for layer in network._flatten_layers():
        for generator in layer._seed_generators:
            path = relative_to(network, generator.state.path)
            found[path] = generator
    return found
