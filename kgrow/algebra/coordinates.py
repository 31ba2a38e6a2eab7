"""Coordinates of the entries of a piece of a variable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from kgrow.algebra.plan_term import factor_shape

if TYPE_CHECKING:
    from kgrow.algebra.spec import VariableSpec


@dataclass(frozen=True, eq=False)
class Coordinates:
    """Where the entries of a piece are, along all factors of the axes.

    Args:
        sizes: tuple, of the factors of the whole variable.
        along: list of arrays, the coordinates along each factor.
        axes: list, the axis of the piece that each factor belongs to.
        shape: tuple, of the piece.
        is_whole: bool, whether the piece is the whole variable.
    """

    sizes: tuple[int, ...]
    along: Sequence[np.ndarray]
    axes: Sequence[int]
    shape: tuple[int, ...]
    is_whole: bool

    @classmethod
    def of(
        cls, variable: VariableSpec, sizes: Any, index: tuple[slice, ...]
    ) -> Coordinates:
        """Those of a piece of a variable.

        Args:
            variable: `VariableSpec`.
            sizes: dict of the sizes of dimensions.
            index: tuple of slices, one for each axis.
        """
        factors = factor_shape(variable, sizes)
        along, axes, shape, start = [], [], [], 0
        for number, axis in enumerate(variable.axes):
            entries = np.arange(variable.shape[number])[index[number]]
            stop = start + (len(axis.factors) or 1)
            along += np.unravel_index(entries, factors[start:stop])
            axes += [number] * (stop - start)
            shape.append(len(entries))
            start = stop
        whole = tuple(shape) == tuple(variable.shape)
        return cls(factors, along, axes, tuple(shape), whole)

    def part(
        self, position: int, rows: np.ndarray
    ) -> tuple[tuple, Coordinates]:
        """The entries that are in some rows of one factor.

        Returns:
            `(index, coordinates)`: into the piece, and among all such entries
            of the variable.
        """
        axis = self.axes[position]
        mine = np.flatnonzero(np.isin(self.along[position], rows))
        sizes, shape = list(self.sizes), list(self.shape)
        sizes[position], shape[axis] = len(rows), len(mine)
        along = [
            entries[mine] if a == axis else entries
            for a, entries in zip(self.axes, self.along, strict=True)
        ]
        along[position] = np.searchsorted(rows, along[position])
        index = (slice(None),) * axis + (mine,)
        part = Coordinates(
            tuple(sizes), along, self.axes, tuple(shape), self.is_whole
        )
        return index, part

    def flat(self) -> np.ndarray | None:
        """Flat positions in the variable, in the shape of the piece; `None`
        where they are all positions, in order."""
        if self.is_whole:
            return None
        total = np.zeros(self.shape, np.int64)
        for size, along, axis in zip(
            self.sizes, self.along, self.axes, strict=True
        ):
            shape = [1] * len(self.shape)
            shape[axis] = -1
            total = total * size + along.reshape(shape)
        return total
