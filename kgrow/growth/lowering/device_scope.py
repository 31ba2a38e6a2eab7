"""Under which distribution a step is lowered."""

import contextlib

import keras


@contextlib.contextmanager
def under(distribution):
    """Context in which a distribution is the active one, or none is."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def without_distribution():
    """Context in which what has a value lies on this host's own device."""
    return under(None)
