"""Boolean masks that are products of one vector an axis."""

import functools

import numpy as np


def box(mask):
    """The vectors that a mask is the product of, one an axis, or `None`.

    Example:

    >>> [axis.tolist() for axis in box(np.array([[True, False]]))]
    [[True], [True, False]]
    >>> box(np.eye(2, dtype=bool)) is None
    True
    """
    axes = range(mask.ndim)
    vectors = [mask.any(axis=tuple(a for a in axes if a != i)) for i in axes]
    if mask.sum() != np.prod([vector.sum() for vector in vectors]):
        return None
    return vectors


def product(vectors):
    """The mask that `box()` takes apart."""
    return functools.reduce(np.logical_and.outer, vectors)
