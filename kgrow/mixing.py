"""How depth grows: which old blocks each new block is made of."""

from dataclasses import dataclass

import numpy as np

from kgrow.errors import GrowthError
from kgrow.expansion import UNWRITTEN, Dense, Gather


@dataclass(frozen=True, eq=False)
class Mixing:
    """Makes each of `m` new blocks from the `n` old ones.

    Args:
        rows: `Gather` or `Dense` from the old to the new blocks. A row that is
            not written is a block with the layers' own initial weights.
        exits: float array `(m,)`, factor on the exits of each new block (the
            last projections of its residual branches); zero makes it the
            identity. Ones by default.

    Example:

    >>> Mixing.select(2, [0, 1, 0, 1]).rows.counts.tolist()
    [2, 2]
    >>> Mixing.select(2, [0, 0, 1], exits=[1, 0, 1]).keeps_blocks()
    True
    """

    rows: Gather | Dense
    exits: np.ndarray | None = None

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
    def identity(cls, size):
        return cls.select(size, np.arange(size))

    @classmethod
    def select(cls, source, stacking_list, exits=None):
        """Blocks as copies: `stacking_list[i]` is the old block that new block
        `i` copies, or `None` for a block with fresh weights."""
        indices = [UNWRITTEN if i is None else i for i in stacking_list]
        return cls(Gather(source, np.asarray(indices, np.int64)), exits)

    @property
    def source(self):
        return self.rows.source

    @property
    def target(self):
        return self.rows.target

    @property
    def is_identity(self):
        return self.rows.is_identity and bool(np.all(self.exits == 1))

    def reads(self, block):
        """`[(old block, weight), ...]` that make up new block `block`."""
        if isinstance(self.rows, Dense):
            return [
                (old, self.rows.values[block, old])
                for old in range(self.source)
            ]
        old = int(self.rows.indices[block])
        if old == UNWRITTEN:
            return []
        weights = self.rows.weights
        return [(old, 1.0 if weights is None else float(weights[block]))]

    def power(self, degree):
        return Mixing(self.rows.power(degree), self.exits)

    def dual(self):
        """The mixing of gradients.

        A block whose exits are zero passes no gradient to its inside, whatever
        it was copied from; it has no history and starts fresh.
        """
        if isinstance(self.rows, Dense):
            return self
        indices = np.where(self.exits == 0, UNWRITTEN, self.rows.indices)
        return Mixing(Gather(self.source, indices, self.rows.weights))

    def first_only(self):
        return Mixing(self.rows.first_only(), self.exits)

    def keeps_blocks(self):
        """Whether the old blocks stand once each, in order and unchanged, and
        every other block is the identity."""
        if isinstance(self.rows, Dense) or self.rows.weights is not None:
            return False
        live = self.rows.indices[self.exits != 0]
        return np.array_equal(live, np.arange(self.source)) and bool(
            np.all(self.exits[self.exits != 0] == 1)
        )

    def __matmul__(self, before):
        """`self` after `before`."""
        if isinstance(self.rows, Dense):
            if not np.all(before.exits == 1):
                raise GrowthError(
                    "Blocks with rescaled exits cannot be mixed linearly. "
                    "Apply the two plans one after the other."
                )
            return Mixing(self.rows @ before.rows, self.exits)
        read = self.rows.indices
        inner = np.where(read == UNWRITTEN, 1.0, before.exits[read])
        return Mixing(self.rows @ before.rows, self.exits * inner)
