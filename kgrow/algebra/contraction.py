"""Applying one linear map per axis to an array: numpy's, or any backend's.

Gathers are gathers here, never matrix products: growing costs about what
copying costs. On numpy arrays the widest gather comes last and is done in
pieces that stay in the cache, so that its weights cost no second pass over
memory.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.types import Array

if TYPE_CHECKING:
    from kgrow.algebra.linear_maps import GatherMap

_PIECE_BYTES = 1 << 18
_ALIGNMENT = 64


def contract(
    value: Array, maps: Sequence[GatherMap | MatrixMap | None]
) -> Array:
    """Applies `maps[i]` along axis `i`; `None` leaves an axis alone.

    Args:
        value: numpy array, or a tensor of Keras' backend.
        maps: list of `GatherMap`, `MatrixMap` or `None`, one per axis.

    Returns:
        A new array of the same kind. Rows that a map leaves unwritten are
        zero.
    """
    maps = [None if m is None or m.is_identity else m for m in maps]
    axes = [axis for axis, m in enumerate(maps) if m is not None]
    host = isinstance(value, np.ndarray)
    if not axes:
        return _copy_host(value) if host else ops.copy(value)
    for axis in _order(maps, axes, value.shape):
        m = maps[axis]
        if isinstance(m, MatrixMap):
            value = _multiply(value, m, axis, host)
        elif host:
            value = _gather_host(value, m, axis)
        else:
            value = _gather(value, m, axis)
    return value


def _order(maps, axes, shape):
    """Inner axes first: they are gathered element by element, while the array
    is small; the outermost moves whole rows, when it is large. Where matrices
    are multiplied, the order of the fewest operations."""
    axes = list(reversed(axes))
    if not any(isinstance(maps[axis], MatrixMap) for axis in axes):
        return axes

    def operations(order):
        size, total = math.prod(shape), 0
        for axis in order:
            size = size // maps[axis].source * maps[axis].target
            if isinstance(maps[axis], MatrixMap):
                total += size * maps[axis].source
        return total

    return min(itertools.permutations(axes), key=operations)


def aligned_empty(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An uninitialised array at a multiple of 64 bytes, where JAX takes host
    memory over as it is instead of copying it."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    block = np.empty(size + _ALIGNMENT, np.uint8)
    start = -block.ctypes.data % _ALIGNMENT
    return block[start : start + size].view(dtype).reshape(shape)


def _copy_host(value):
    out = aligned_empty(value.shape, value.dtype)
    out[...] = value
    return out


def _gather_host(value, m, axis):
    shape = value.shape[:axis] + (m.target,) + value.shape[axis + 1 :]
    out = aligned_empty(shape, value.dtype)
    lead = int(np.prod(value.shape[:axis], dtype=np.int64))
    tail = int(np.prod(value.shape[axis + 1 :], dtype=np.int64))
    source = value.reshape(lead, m.source, tail)
    result = out.reshape(lead, m.target, tail)
    indices = np.maximum(m.indices, 0)
    weights = None
    if m.weights is not None:
        weights = m.weights.astype(value.dtype)[:, None]
    unwritten = m.unwritten
    if lead == 1:
        step = max(1, _PIECE_BYTES // max(1, tail * value.itemsize))
        for i in range(0, m.target, step):
            piece = slice(i, i + step)
            np.take(
                source[0],
                indices[piece],
                axis=0,
                out=result[0, piece],
                mode="clip",
            )
            if weights is not None:
                result[0, piece] *= weights[piece]
    else:
        row_bytes = m.target * tail * value.itemsize
        step = max(1, _PIECE_BYTES // max(1, row_bytes))
        for i in range(0, lead, step):
            piece = slice(i, i + step)
            np.take(
                source[piece],
                indices,
                axis=1,
                out=result[piece],
                mode="clip",
            )
            if weights is not None:
                result[piece] *= weights
    if unwritten.size:
        result[:, unwritten] = 0
    return out


def _gather(value, m, axis):
    taken: Any = ops.take(value, np.maximum(m.indices, 0), axis=axis)
    weights = np.ones(m.target) if m.weights is None else m.weights.copy()
    weights[m.unwritten] = 0
    if m.weights is None and not m.unwritten.size:
        return taken
    shape = [1] * len(taken.shape)
    shape[axis] = m.target
    return taken * ops.cast(weights.reshape(shape), taken.dtype)


def _multiply(value, m, axis, host):
    if host:
        matrix = np.asarray(m.values, dtype=value.dtype)
        moved = np.tensordot(matrix, value, axes=(1, axis))
        return np.moveaxis(moved, 0, axis)
    matrix = ops.cast(m.values, value.dtype)
    axes: Any = ([1], [axis])
    moved = ops.tensordot(matrix, value, axes=axes)
    return ops.moveaxis(moved, 0, axis)
