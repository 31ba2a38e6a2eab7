"""Linear maps between entries of a dimension: gathers, and matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.types import Array

UNWRITTEN = -1


@dataclass(frozen=True, eq=False)
class GatherMap:
    """A map whose every row reads one source entry, times a weight.

    `y[i] = weights[i] * x[indices[i]]`. An index of `-1` marks a row that is
    not written by the map: others choose its values.

    Args:
        source: int. Number of source entries `n`.
        indices: integer array `(m,)`, each in `[-1, n)`.
        weights: float array `(m,)`, or `None` for ones.
    """

    source: int
    indices: np.ndarray
    weights: np.ndarray | None = None

    def __post_init__(self):
        indices = np.asarray(self.indices, dtype=np.int64)
        if indices.ndim != 1 or (
            indices.size
            and not -1 <= indices.min() <= indices.max() < self.source
        ):
            raise GrowthError(
                f"Indices of a map over {self.source} entries must be a flat "
                f"list in [-1, {self.source}). Received: {self.indices!r}"
            )
        object.__setattr__(self, "indices", indices)
        if self.weights is not None:
            weights = np.asarray(self.weights, dtype=np.float64)
            if weights.shape != indices.shape:
                raise GrowthError(
                    "A map needs one weight per row. Received: "
                    f"{indices.shape[0]} rows, weights of shape "
                    f"{weights.shape}"
                )
            object.__setattr__(
                self, "weights", None if np.all(weights == 1) else weights
            )

    @property
    def target(self) -> int:
        return len(self.indices)

    @property
    def is_identity(self) -> bool:
        return (
            self.source == self.target
            and self.weights is None
            and bool(np.all(self.indices == np.arange(self.source)))
        )

    @property
    def unwritten(self) -> np.ndarray:
        """Positions of the rows that the map does not write."""
        return np.flatnonzero(self.indices == UNWRITTEN)

    @property
    def counts(self) -> np.ndarray:
        """How often each source entry is read, `(n,)`."""
        written = self.indices[self.indices != UNWRITTEN]
        return np.bincount(written, minlength=self.source)

    def reads(self, entries: Sequence[int]) -> bool:
        """Whether any row reads one of some source entries."""
        return bool(np.isin(self.indices, entries).any())

    def matrix(self) -> np.ndarray:
        matrix = np.zeros((self.target, self.source))
        rows = np.flatnonzero(self.indices != UNWRITTEN)
        weights = np.ones(self.target) if self.weights is None else self.weights
        matrix[rows, self.indices[rows]] = weights[rows]
        return matrix

    def power(self, degree: int) -> GatherMap:
        """Each weight to the power `degree`: how a `degree`-fold product of
        mapped values is mapped."""
        if self.weights is None or degree == 0:
            return GatherMap(self.source, self.indices)
        return GatherMap(self.source, self.indices, self.weights**degree)

    def scaled(self, factors: np.ndarray) -> GatherMap:
        """Each row times a factor of its own, `(m,)`."""
        weights = factors if self.weights is None else factors * self.weights
        return GatherMap(self.source, self.indices, weights)

    def first_only(self) -> GatherMap:
        """Only the first row that reads an entry; the others unwritten."""
        _, first = np.unique(self.indices, return_index=True)
        keep = np.zeros(self.target, bool)
        keep[first] = True
        return GatherMap(
            self.source,
            np.where(keep, self.indices, UNWRITTEN),
            self.weights,
        )

    def __matmul__(self, before):
        """`self` after `before`."""
        if isinstance(before, MatrixMap):
            if self.unwritten.size:
                raise GrowthError(
                    "A map that leaves entries to others does not follow a "
                    "dense one, which cannot say so. Apply the two one after "
                    "the other."
                )
            return MatrixMap(self.matrix()) @ before
        _check_composable(self, before)
        read = self.indices
        indices = np.where(read == UNWRITTEN, UNWRITTEN, before.indices[read])
        if self.weights is None and before.weights is None:
            return GatherMap(before.source, indices)
        outer = np.ones(self.target) if self.weights is None else self.weights
        inner = (
            np.ones(before.target) if before.weights is None else before.weights
        )
        return GatherMap(before.source, indices, outer * inner[read])


@dataclass(frozen=True, eq=False)
class MatrixMap:
    """A map given by its matrix `(m, n)`: an array, or a backend tensor.

    Args:
        values: matrix of shape `(m, n)`.
    """

    values: Array

    @property
    def source(self) -> int:
        return self.values.shape[1]

    @property
    def target(self) -> int:
        return self.values.shape[0]

    @property
    def is_identity(self) -> bool:
        return False

    @property
    def unwritten(self) -> np.ndarray:
        return np.empty(0, np.int64)

    def reads(self, entries: Sequence[int]) -> bool:
        """Whether any row reads one of some source entries."""
        return bool(self.matrix()[:, list(entries)].any())

    def matrix(self) -> np.ndarray:
        return np.asarray(_host(self.values), dtype=np.float64)

    def power(self, degree: int) -> MatrixMap:
        """Entrywise power; degree 0 averages over the entries that are read."""
        if degree == 0:
            weight = abs(self.values)
            return MatrixMap(weight / _row_sums(weight))
        return self if degree == 1 else MatrixMap(self.values**degree)

    def scaled(self, factors: np.ndarray) -> MatrixMap:
        """Each row times a factor of its own, `(m,)`."""
        if isinstance(self.values, np.ndarray):
            return MatrixMap(self.values * factors[:, None])
        factors = ops.cast(factors[:, None], self.values.dtype)
        return MatrixMap(self.values * factors)

    def first_only(self) -> GatherMap:
        raise GrowthError(
            "A dense map mixes all entries, so none of the grown ones is 'the "
            "old one'. Use optimizer_state='carry' or 'reset' with it."
        )

    def __matmul__(self, before):
        _check_composable(self, before)
        inner = (
            before.values if isinstance(before, MatrixMap) else before.matrix()
        )
        return MatrixMap(_matmul(self.values, inner))


def _host(values):
    host = isinstance(values, np.ndarray)
    return values if host else ops.convert_to_numpy(values)


def _row_sums(weight):
    """Sums of rows, `(m, 1)`; a row of zeros divides as if it had some."""
    tiny = float(np.finfo("float32").tiny)
    if isinstance(weight, np.ndarray):
        return np.maximum(weight.sum(axis=1, keepdims=True), tiny)
    return ops.maximum(ops.sum(weight, axis=1, keepdims=True), tiny)


def _matmul(left, right):
    """The product of two matrices, a tensor if one of them is."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray):
        return left @ right
    dtype = (right if isinstance(left, np.ndarray) else left).dtype
    return ops.matmul(ops.cast(left, dtype), ops.cast(right, dtype))


def _check_composable(after, before):
    if after.source != before.target:
        raise GrowthError(
            f"Cannot compose a map to {before.target} entries with one that "
            f"reads {after.source}."
        )
