"""How one dimension grows: a pair of linear maps from `n` to `m` values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.left_inverse import is_identity_product, left_inverse
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap, MatrixMap


@dataclass(frozen=True, eq=False)
class Pair:
    """A map of values and the map of their gradients.

    Args:
        value: `GatherMap` or `MatrixMap`.
        gradient: the same between the same sizes.
    """

    value: GatherMap | MatrixMap
    gradient: GatherMap | MatrixMap

    def dual(self) -> Pair:
        return Pair(self.gradient, self.value)

    def power(self, degree: int) -> Pair:
        return Pair(self.value.power(degree), self.gradient.power(degree))

    def inverse(self) -> Pair:
        """The way back of both maps, each read as the other writes."""
        return Pair(
            left_inverse(self.value, self.gradient),
            left_inverse(self.gradient, self.value),
        )

    def first_only(self) -> Pair:
        return Pair(self.value.first_only(), self.gradient.first_only())

    def __matmul__(self, before):
        """`self` after `before`."""
        return Pair(self.value @ before.value, self.gradient @ before.gradient)


@dataclass(frozen=True, eq=False)
class Expansion:
    """How a dimension of `n` entries grows to `m`.

    Values along the dimension become `produce @ x`; weights that read them
    become `consume @ w`. The function of the network is kept where
    `produce.T @ consume == I`, provided that whatever lies between the two
    commutes with `produce`.

    What a norm multiplies by and adds has maps of its own, for a norm undoes
    what `produce` scales and takes off what it averages.

    Args:
        produce: `GatherMap` or `MatrixMap` from `n` to `m`.
        consume: `GatherMap` or `MatrixMap` from `n` to `m`.
        scale: `Pair` for the gains of norms along the dimension. By default
            they are copied where `produce` copies: a gain is never mixed.
        offset: `Pair` for their shifts; they grow as values by default.
        tied_scale: `Pair` for the gain of a norm that tied weights read; by
            default it grows as a reader.
        tied_offset: `Pair` for its shift; the same.
        reader: `Pair` for the weights that read the dimension; by default
            they grow by `consume`, and their gradients by `produce`. See
            `after_softmax()`.

    Example:

    >>> e = Expansion.select(3, [0, 1, 2, 0], shares=[0.6, 1, 1, 0.4])
    >>> bool(e.preserves())
    True
    >>> (e.dual().dual().consume.matrix() == e.consume.matrix()).all()
    np.True_
    """

    produce: GatherMap | MatrixMap
    consume: GatherMap | MatrixMap
    scale: Pair | None = None
    offset: Pair | None = None
    tied_scale: Pair | None = None
    tied_offset: Pair | None = None
    reader: Pair | None = None

    def __post_init__(self):
        if (self.produce.source, self.produce.target) != (
            self.consume.source,
            self.consume.target,
        ):
            raise GrowthError(
                "The two maps of an expansion go between the same sizes. "
                f"Received: produce {self.produce.source} -> "
                f"{self.produce.target}, consume {self.consume.source} -> "
                f"{self.consume.target}"
            )
        grows, reads = (
            Pair(self.produce, self.consume),
            Pair(self.consume, self.produce),
        )
        for name, default in {
            "scale": Pair(self.produce.power(0), self.consume),
            "offset": grows,
            "tied_scale": reads,
            "tied_offset": reads,
            "reader": reads,
        }.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, default)

    @classmethod
    def identity(cls, size: int) -> Self:
        return cls.select(size, np.arange(size))

    @classmethod
    def select(
        cls,
        source: int,
        indices: Sequence[int] | np.ndarray,
        shares: Sequence[float] | np.ndarray | None = None,
    ) -> Self:
        """Copies of entries; readers of copies get `shares` of the weight.

        Args:
            source: int. Entries before.
            indices: `(m,)`, the entry that each new one copies.
            shares: `(m,)`, adding up to one over the copies of an entry;
                equal shares by default.
        """
        indices = np.asarray(indices)
        produce = GatherMap(source, indices)
        if shares is None:
            shares = 1.0 / np.maximum(produce.counts, 1)[produce.indices]
        return cls(produce, GatherMap(source, indices, np.asarray(shares)))

    @classmethod
    def tile(cls, source: int, times: int) -> Self:
        """`times` copies of the whole, read in equal shares."""
        return cls.select(source, np.tile(np.arange(source), times))

    @classmethod
    def pad(cls, source: int, target: int) -> Self:
        """Entries kept in front; the new ones written by nobody."""
        indices = np.full(target, UNWRITTEN)
        indices[:source] = np.arange(source)
        return cls(GatherMap(source, indices), GatherMap(source, indices))

    @classmethod
    def place(
        cls, source: int, target: int, positions: Sequence[int] | np.ndarray
    ) -> Self:
        """Entries kept at given positions; the new ones written by nobody."""
        indices = np.full(target, UNWRITTEN)
        indices[positions] = np.arange(source)
        return cls(GatherMap(source, indices), GatherMap(source, indices))

    @property
    def source(self) -> int:
        return self.produce.source

    @property
    def target(self) -> int:
        return self.produce.target

    @property
    def is_identity(self) -> bool:
        return self.produce.is_identity and self.consume.is_identity

    def dual(self) -> Expansion:
        """The expansion of gradients: what consumed now produces.

        If values along the dimension map by `produce`, the gradients of the
        weights that made them map by `consume`, and the other way round.
        """
        return self._each(self.consume, self.produce, lambda pair: pair.dual())

    def power(self, degree: int) -> Expansion:
        """Entrywise power of all maps: 2 after `dual()` maps second moments,
        0 says who reads whom and forgets the weights."""
        return self._each(
            self.produce.power(degree),
            self.consume.power(degree),
            lambda pair: pair.power(degree),
        )

    def squared(self) -> Expansion:
        return self.power(2)

    def first_only(self) -> Expansion:
        """Writes only the first copy of each entry."""
        return self._each(
            self.produce.first_only(),
            self.consume.first_only(),
            lambda pair: pair.first_only(),
        )

    def inverse(self) -> Expansion:
        """The way back, from `m` entries to `n`.

        Where `produce.T @ consume == I` the small network is the grown one
        with `produce @ consume.T` set in wherever values run along the
        dimension. Elsewhere both maps are inverted by least squares.

        Raises:
            GrowthError: an old entry is in none of the grown ones.

        Example:

        >>> e = Expansion.select(2, [0, 1, 0], shares=[0.25, 1, 0.75])
        >>> e.inverse().produce.matrix().tolist()
        [[0.25, 0.0, 0.75], [0.0, 1.0, 0.0]]
        >>> e.inverse().consume.matrix().tolist()
        [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
        """
        both = Pair(self.produce, self.consume).inverse()
        return self._each(
            both.value, both.gradient, lambda pair: pair.inverse()
        )

    def after_softmax(self) -> Expansion:
        """The same growth of a dimension that a softmax normalizes.

        Copies of an entry share the probability of the old one among
        themselves. What reads them is not divided once more: the shares of an
        entry with `c` copies are multiplied by `c`, and the gradients of what
        reads them divided by it.

        Example:

        >>> e = Expansion.tile(2, 2).after_softmax()
        >>> e.reader.value.matrix().tolist() == e.produce.matrix().tolist()
        True
        """
        if isinstance(self.produce, GatherMap):
            counts = np.maximum(self.produce.counts, 1)[self.produce.indices]
        else:
            counts = np.full(self.target, self.target / self.source)
        reader = Pair(
            self.consume.scaled(counts), self.produce.scaled(1.0 / counts)
        )
        return dataclasses.replace(self, reader=reader)

    def _each(self, produce, consume, change):
        return Expansion(
            produce,
            consume,
            change(self.scale),
            change(self.offset),
            change(self.tied_scale),
            change(self.tied_offset),
            change(self.reader),
        )

    def preserves(self, tolerance: float = 1e-9) -> bool:
        """Whether `produce.T @ consume` is the identity."""
        return is_identity_product(self.produce, self.consume, tolerance)

    def __matmul__(self, before):
        """`self` after `before`."""
        return Expansion(
            self.produce @ before.produce,
            self.consume @ before.consume,
            self.scale @ before.scale,
            self.offset @ before.offset,
            self.tied_scale @ before.tied_scale,
            self.tied_offset @ before.tied_offset,
            self.reader @ before.reader,
        )
