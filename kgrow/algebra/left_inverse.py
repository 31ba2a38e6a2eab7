"""Left inverses of linear maps: how grown entries give the old ones back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap, MatrixMap

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class InverseMap(MatrixMap):
    """The matrix of a left inverse, and what it is the inverse of.

    The inverse of a map's power is not the power of its inverse: a mean of two
    copies has weights of 1/2, and so has that of their squares.

    Args:
        values: matrix `(n, m)`.
        forward: `GatherMap` or `MatrixMap` from `n` to `m`.
        partner: see `left_inverse()`.
    """

    forward: Any = None
    partner: Any = None

    def power(self, degree: int) -> Any:
        return left_inverse(
            self.forward.power(degree), self.partner.power(degree)
        )

    def first_only(self) -> Any:
        """Reads the first copy of each entry."""
        first = self.forward.first_only()
        return left_inverse(first, first)


def left_inverse(
    forward: GatherMap | MatrixMap, partner: GatherMap | MatrixMap
) -> GatherMap | MatrixMap:
    """The map `L` with `L @ forward == I` that reads as `partner` does.

    Of all left inverses, the transpose of the partner is the one that the
    grown network itself uses: what one map of an expansion writes, the other
    reads. Where it is no inverse, `L` is that of least squares.

    Args:
        forward: map from `n` to `m` entries.
        partner: the other map of its pair, between the same sizes. Entries
            that `forward` leaves to others are not read.

    Returns:
        `GatherMap` or `InverseMap` from `m` to `n`.

    Raises:
        GrowthError: an old entry is in none of the grown ones.

    Example:

    >>> forward = GatherMap(2, np.array([0, 1, 0]))
    >>> shares = GatherMap(2, np.array([0, 1, 0]), np.array([0.25, 1, 0.75]))
    >>> left_inverse(forward, shares).matrix().tolist()
    [[0.25, 0.0, 0.75], [0.0, 1.0, 0.0]]
    >>> left_inverse(forward, forward).matrix().tolist()
    [[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]
    """
    reader = _within(partner, forward)
    if not is_identity_product(reader, forward):
        reader = _least_squares(forward)
    if isinstance(reader, GatherMap) and reader.counts.max(initial=0) <= 1:
        return _transposed(reader)
    return InverseMap(reader.matrix().T, forward, partner)


def is_identity_product(
    left: GatherMap | MatrixMap,
    right: GatherMap | MatrixMap,
    tolerance: float = _ROUNDING,
) -> bool:
    """Whether `left.T @ right == I`, without matrices where both gather alike:
    the dimension may be a vocabulary."""
    if (
        isinstance(left, GatherMap)
        and isinstance(right, GatherMap)
        and np.array_equal(left.indices, right.indices)
    ):
        product = _weights(left) * _weights(right)
        error = _sums(left, product) - 1
    else:
        error = left.matrix().T @ right.matrix() - np.eye(left.source)
    return bool(np.abs(error).max(initial=0.0) <= tolerance)


def _within(partner, forward):
    """The partner where `forward` writes, and nothing elsewhere."""
    free = forward.unwritten
    if isinstance(partner, GatherMap):
        indices = partner.indices.copy()
        indices[free] = UNWRITTEN
        return GatherMap(partner.source, indices, partner.weights)
    matrix = partner.matrix().copy()
    matrix[free] = 0.0
    return MatrixMap(matrix)


def _least_squares(forward):
    """The map whose transpose is the pseudo-inverse of `forward`."""
    if isinstance(forward, GatherMap):
        weights = _weights(forward)
        squares = _sums(forward, weights**2)
        lost = np.flatnonzero(squares == 0)
        _check_none_lost(lost.size, forward, f"{lost[:5].tolist()}")
        read = np.maximum(forward.indices, 0)
        scaled = weights / squares[read] if forward.source else weights
        return GatherMap(forward.source, forward.indices, scaled)
    matrix = forward.matrix()
    lost = forward.source - np.linalg.matrix_rank(matrix)
    _check_none_lost(lost, forward, f"{lost} of {forward.source} directions")
    return MatrixMap(np.linalg.pinv(matrix).T)


def _check_none_lost(lost, forward, which):
    if lost:
        raise GrowthError(
            "There is no way back from a map that does not keep all of what "
            "it reads. Project with the plan of a growth, in which every old "
            f"entry and block has its place. Received: a map from "
            f"{forward.source} to {forward.target} entries, lost: {which}"
        )


def _weights(m):
    return np.ones(m.target) if m.weights is None else m.weights


def _sums(m, values):
    """Sums of values over the rows that read each source entry."""
    rows = m.indices != UNWRITTEN
    return np.bincount(
        m.indices[rows], weights=values[rows], minlength=m.source
    )


def _transposed(m):
    """The transpose of a map that reads each entry at most once."""
    rows = np.flatnonzero(m.indices != UNWRITTEN)
    indices = np.full(m.source, UNWRITTEN)
    indices[m.indices[rows]] = rows
    return GatherMap(m.target, indices, _weights(m)[indices])
