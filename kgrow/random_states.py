"""The global random generators, from which Keras shuffles data."""

import base64
import random

import numpy as np

from kgrow import backend


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
