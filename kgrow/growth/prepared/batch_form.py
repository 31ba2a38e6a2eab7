"""The structure, shapes and dtypes of a batch, for which a step is compiled."""

from __future__ import annotations

from typing import Any

import keras

from kgrow import backend


def form_of(batch: Any) -> Any:
    """A key that is equal for all batches that fit one program.

    Args:
        batch: structure of tuples, lists and dicts of arrays, `KerasTensor`s
            or `None`s.

    Returns:
        nested tuples.

    Example:

    >>> import numpy as np
    >>> form_of((np.ones((8, 2), "float32"), None))
    (((8, 2), 'float32'), None)
    """
    if batch is None:
        return None
    if isinstance(batch, dict):
        return tuple((key, form_of(batch[key])) for key in sorted(batch))
    if isinstance(batch, (tuple, list)):
        return tuple(form_of(part) for part in batch)
    return tuple(batch.shape), backend.traced_dtype(batch.dtype)


def tensors_of(batch: Any) -> Any:
    """A batch as `KerasTensor`s, in the same structure."""

    def tensor(leaf):
        if leaf is None:
            return None
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        return keras.KerasTensor(tuple(leaf.shape), dtype)

    return keras.tree.map_structure(tensor, tuple(batch))


def arrays_as_traced(batch: Any) -> Any:
    """`KerasTensor`s with the shapes in which a step is traced when `fit` is
    given such arrays.

    Args:
        batch: `(x, y)` or `(x, y, sample_weight)`.
    """

    def tensor(leaf):
        shape = backend.traced_shape(leaf.shape)
        return keras.KerasTensor(shape, leaf.dtype)

    return keras.tree.map_structure(tensor, tensors_of(batch))
