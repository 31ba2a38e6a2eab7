"""How depth grows: which old blocks each new block is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.left_inverse import left_inverse
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap, MatrixMap

if TYPE_CHECKING:
    from kgrow.algebra.spec import VariableSpec


@dataclass(frozen=True, eq=False)
class DepthExpansion:
    """Makes each of `m` new blocks from the `n` old ones.

    Args:
        rows: `GatherMap` or `MatrixMap` from the old to the new blocks. A row
            that is
            not written is a block with the layers' own initial weights.
        exits: float array `(m,)`, factor on the exits of each new block (the
            last projections of its residual branches); zero makes it the
            identity. Ones by default.
        parts: dict with other rows for some variables, named by the template
            of their path or by the flag `"attention_norm"` or `"ffn_norm"` of
            their axes. A norm in a row that is not written does nothing but
            normalise.

    Example:

    >>> DepthExpansion.select(2, [0, 1, 0, 1]).rows.counts.tolist()
    [2, 2]
    >>> DepthExpansion.select(2, [0, 0, 1], exits=[1, 0, 1]).keeps_blocks()
    True
    """

    rows: GatherMap | MatrixMap
    exits: Any = None
    parts: Mapping[str, GatherMap | MatrixMap] = field(default_factory=dict)

    def __post_init__(self):
        exits = (
            np.ones(self.rows.target)
            if self.exits is None
            else np.asarray(self.exits, dtype=np.float64)
        )
        if exits.shape != (self.rows.target,):
            raise GrowthError(
                "A mixing needs one exit factor per new block. Received: "
                f"{self.rows.target} blocks, exits of shape {exits.shape}"
            )
        object.__setattr__(self, "exits", exits)

    @classmethod
    def identity(cls, size: int) -> Self:
        return cls.select(size, np.arange(size))

    @classmethod
    def select(
        cls,
        source: int,
        stacking_list: Sequence[int | None] | np.ndarray,
        exits: Any = None,
    ) -> Self:
        """Blocks as copies: `stacking_list[i]` is the old block that new block
        `i` copies, or `None` for a block with fresh weights."""
        indices = [UNWRITTEN if i is None else i for i in stacking_list]
        return cls(GatherMap(source, np.asarray(indices, np.int64)), exits)

    @property
    def source(self) -> int:
        return self.rows.source

    @property
    def target(self) -> int:
        return self.rows.target

    @property
    def is_identity(self) -> bool:
        rows = (self.rows, *self.parts.values())
        return all(r.is_identity for r in rows) and bool(
            np.all(self.exits == 1)
        )

    def rows_of(self, variable: VariableSpec) -> GatherMap | MatrixMap:
        """The rows for a variable, given by its `VariableSpec`."""
        template = variable.template
        if template is not None and template in self.parts:
            return self.parts[template]
        for flag in ("attention_norm", "ffn_norm"):
            if flag in self.parts and getattr(variable.axes, flag):
                return self.parts[flag]
        return self.rows

    def reads(
        self, block: int, rows: GatherMap | MatrixMap | None = None
    ) -> list[tuple[int, float]]:
        """`[(old block, weight), ...]` that make up new block `block`, by the
        given rows, or by those of the mixing."""
        rows = self.rows if rows is None else rows
        if isinstance(rows, MatrixMap):
            return [
                (old, rows.values[block, old]) for old in range(rows.source)
            ]
        old = int(rows.indices[block])
        if old == UNWRITTEN:
            return []
        weights = rows.weights
        return [(old, 1.0 if weights is None else float(weights[block]))]

    def power(self, degree: int) -> DepthExpansion:
        return self._each(lambda rows: rows.power(degree), self.exits)

    def dual(self) -> DepthExpansion:
        """The mixing of gradients.

        A block whose exits are zero passes no gradient to its inside, whatever
        it was copied from; it has no history and starts fresh.
        """
        if isinstance(self.rows, MatrixMap):
            return DepthExpansion(self.rows, None, self.parts)
        indices = np.where(self.exits == 0, UNWRITTEN, self.rows.indices)
        rows = GatherMap(self.source, indices, self.rows.weights)
        return DepthExpansion(rows, None, self.parts)

    def first_only(self) -> DepthExpansion:
        return self._each(lambda rows: rows.first_only(), self.exits)

    def inverse(self) -> DepthExpansion:
        """The mixing that gives the old blocks back.

        Of several copies of a block, the first one that takes part in the
        network is kept and the others are dropped: blocks that were trained
        apart have no mean that computes anything. Mixtures of blocks are
        inverted by least squares.

        Raises:
            GrowthError: an old block is in none of the grown ones, or blocks
                are mixed and their exits scaled.

        Example:

        >>> grown = DepthExpansion.select(2, [0, 0, 1], exits=[0, 1, 1])
        >>> grown.inverse().rows.indices.tolist()
        [1, 2]
        """
        parts = {name: _back(rows) for name, rows in self.parts.items()}
        if isinstance(self.rows, MatrixMap):
            if not np.all(self.exits == 1):
                raise GrowthError(
                    "There is no way back where blocks are mixed and their "
                    f"exits scaled. Received: exits {self.exits.tolist()}"
                )
            return DepthExpansion(_back(self.rows), None, parts)
        live = np.where(self.exits == 0, UNWRITTEN, self.rows.indices)
        first = GatherMap(self.source, live, self.rows.weights).first_only()
        rows = left_inverse(first, first)
        assert isinstance(rows, GatherMap)  # each block is read once
        return DepthExpansion(rows, 1 / self.exits[rows.indices], parts)

    def _each(self, change, exits):
        parts = {name: change(rows) for name, rows in self.parts.items()}
        return DepthExpansion(change(self.rows), exits, parts)

    def keeps_blocks(self) -> bool:
        """Whether each old block occurs once, in order and unchanged, and
        every other block adds nothing. Norms are not looked at."""
        if isinstance(self.rows, MatrixMap) or self.rows.weights is not None:
            return False
        live = self.rows.indices[self.exits != 0]
        return np.array_equal(live, np.arange(self.source)) and bool(
            np.all(self.exits[self.exits != 0] == 1)
        )

    def repeating_norms(self) -> DepthExpansion:
        """The same mixing with norms placed for a post-norm stack.

        There a block whose exits are zero normalises once more, which changes
        nothing if what comes in is normalised already and not scaled yet. The
        last block of a run of silent ones therefore takes over the gain and
        the shift of the live block below, and all norms between only
        normalise. A silent block at the bottom, with none below, keeps its
        norms.
        """
        if isinstance(self.rows, MatrixMap):
            raise GrowthError(
                "Norms are placed where blocks are copies; these are mixed. "
                f"Received: rows of {self.source} blocks, a matrix"
            )
        silent = self.exits == 0
        live = np.where(silent, UNWRITTEN, np.arange(self.target))
        below = np.maximum.accumulate(live)
        blocks = np.where(below < 0, UNWRITTEN, self.rows.indices[below])
        own = np.where(below < 0, self.rows.indices, UNWRITTEN)
        last = np.append(~silent[1:], True)
        inner = np.where(silent, own, blocks)
        outer = np.where(last & (below >= 0), blocks, own)
        parts = {
            "attention_norm": GatherMap(self.source, inner),
            "ffn_norm": GatherMap(self.source, outer),
        }
        return DepthExpansion(self.rows, self.exits, {**self.parts, **parts})

    def __matmul__(self, before):
        """`self` after `before`."""
        parts = {
            name: self.parts.get(name, self.rows)
            @ before.parts.get(name, before.rows)
            for name in {**self.parts, **before.parts}
        }
        if isinstance(self.rows, MatrixMap):
            if not np.all(before.exits == 1):
                raise GrowthError(
                    "Blocks with rescaled exits cannot be mixed linearly. "
                    "Apply the two plans one after the other."
                )
            return DepthExpansion(self.rows @ before.rows, self.exits, parts)
        read = self.rows.indices
        inner = np.where(read == UNWRITTEN, 1.0, before.exits[read])
        return DepthExpansion(
            self.rows @ before.rows, self.exits * inner, parts
        )


def _back(rows):
    """The way back of a map of blocks, from the first copy of each."""
    first = rows if isinstance(rows, MatrixMap) else rows.first_only()
    return left_inverse(first, first)
