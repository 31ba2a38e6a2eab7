"""How a plan works on arrays: whole ones here, others where they are."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kgrow.algebra.contraction import contract
from kgrow.algebra.lazy_keras import numpy_dtype, ops
from kgrow.algebra.types import Array

# Along axes `start` to `stop`: the shape that they become, and the maps of
# their factors, `[(source size, map or None), ...]`.
Segment = tuple[int, int, tuple[int, ...], list[tuple[int, Any]]]
Index = tuple[slice, ...]


class Arrays(abc.ABC):
    """How a plan's operations act on arrays, wherever these are.

    The plan says what is computed; this says where, and what of it is in one
    place. A piece of an array is a tuple of slices; what comes from the host
    is asked for by piece.

    Attributes:
        precision: string, the dtype in which noise is made.
    """

    precision = "float64"

    @abc.abstractmethod
    def contract(self, value: Array, segments: Sequence[Segment]) -> Array:
        """Applies maps along groups of axes; the other axes stay.

        Returns:
            A new array. Rows that a map leaves unwritten are zero.
        """

    @abc.abstractmethod
    def scaled(self, value: Array, factor: Any) -> Array:
        """An array times a number, or a tensor of none of its axes."""

    @abc.abstractmethod
    def deviation(self, value: Array) -> float:
        """The standard deviation of all entries."""

    @abc.abstractmethod
    def made(
        self,
        shape: tuple[int, ...],
        dtype: str,
        make: Callable[[Index], np.ndarray],
    ) -> Array:
        """An array from the host, by its pieces."""

    @abc.abstractmethod
    def added(self, value: Array, other: Array) -> Array:
        """A value plus an array that `made()` or `contract()` made of one."""

    @abc.abstractmethod
    def written(
        self, value: Array, write: Callable[[Index, np.ndarray], None]
    ) -> Array:
        """A value with entries of the host in it.

        Args:
            value: array that is zero in these entries; it may be changed.
            write: function of a piece and a numpy array of it, into which it
                writes these entries.
        """

    @abc.abstractmethod
    def as_values(self, made: Array, values: Sequence[Array]) -> Array:
        """An array that `made()` made, of the kind and dtype of values."""

    def is_elsewhere(self, value: Any) -> bool:
        """Whether an array is on devices, no host having the whole of it."""
        del value
        return False

    def taken(
        self, value: Array, mask: Callable[[Index], np.ndarray], source: Array
    ) -> Array:
        """A value with the entries of an array that `is_elsewhere()` where a
        mask, asked for by piece, is true."""
        raise NotImplementedError

    def copied(self, value: Array) -> Array:
        """The values of an array that `is_elsewhere()`, in the right place."""
        raise NotImplementedError


class WholeArrays(Arrays):
    """Arrays of numpy, and tensors of Keras' backend, that are in one place.

    Everything but `deviation()` can be traced.
    """

    def contract(self, value, segments):
        sizes, maps, shape, axis = [], [], [], 0
        for start, stop, target, inside in segments:
            between = value.shape[axis:start]
            sizes += [*between, *(size for size, _ in inside)]
            maps += [*(None for _ in between), *(m for _, m in inside)]
            shape += [*between, *target]
            axis = stop
        rest = value.shape[axis:]
        sizes, shape = [*sizes, *rest], [*shape, *rest]
        maps += [None for _ in rest]
        return _reshape(contract(_reshape(value, sizes), maps), shape)

    def scaled(self, value, factor):
        if isinstance(factor, float) and factor == 1.0:
            return value
        if isinstance(value, np.ndarray):
            return value * np.asarray(factor, value.dtype)
        return value * ops.cast(factor, value.dtype)

    def deviation(self, value):
        if isinstance(value, np.ndarray):
            return value.std()
        return np.asarray(ops.convert_to_numpy(value)).std()

    def made(self, shape, dtype, make):
        return np.asarray(make((slice(None),) * len(shape)), dtype)

    def added(self, value, other):
        if isinstance(value, np.ndarray):
            return value + other.astype(value.dtype)
        return value + ops.cast(other, value.dtype)

    def written(self, value, write):
        index = (slice(None),) * len(value.shape)
        if isinstance(value, np.ndarray):
            write(index, value)
            return value
        # A tensor may be one of a traced step: it takes what is new by
        # addition.
        new = np.zeros(value.shape, numpy_dtype(value))
        write(index, new)
        return value + ops.convert_to_tensor(new)

    def as_values(self, made, values):
        first = values[0]
        made = np.array(made, numpy_dtype(first))
        host = isinstance(first, np.ndarray)
        return made if host else ops.convert_to_tensor(made)


WHOLE = WholeArrays()


def _reshape(value, shape):
    if isinstance(value, np.ndarray):
        return value.reshape(shape)
    return ops.reshape(value, shape)
