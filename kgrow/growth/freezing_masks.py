"""Boolean masks of variables, and masks that are boxes.

A box is the outer product of one vector per axis, which is far smaller than
the mask, in files and in compiled programs.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np

# Boolean masks of variables, by their paths.
Masks: TypeAlias = Mapping[str, np.ndarray]


def box(mask: np.ndarray) -> list[np.ndarray] | None:
    """The vectors, one per axis, whose outer product a mask is, or `None`.

    Example:

    >>> [axis.tolist() for axis in box(np.array([[True, False]]))]
    [[True], [True, False]]
    >>> box(np.eye(2, dtype=bool)) is None
    True
    """
    axes = range(mask.ndim)
    vectors = [
        np.asarray(mask.any(axis=tuple(a for a in axes if a != i)))
        for i in axes
    ]
    if mask.sum() != np.prod([vector.sum() for vector in vectors]):
        return None
    return vectors


def product(vectors: Sequence[np.ndarray]) -> np.ndarray:
    """The mask whose vectors `box()` found."""
    return functools.reduce(np.logical_and.outer, vectors)
