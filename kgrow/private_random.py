"""Randomness that nobody else notices."""

import contextlib
import random

import numpy as np

from kgrow.backend import kept_random


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
        with kept_random():
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
