"""The old weights in a corner of the new ones."""

from __future__ import annotations

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan_term import FRESH, NewEntryInit
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.strategies.base import Strategy
from kgrow.strategies.depth_maps import StackingList
from kgrow.strategies.registry import register


@register("direct")
class Direct(Strategy):
    """Copies the old weights; new entries are zero or random.

    Both matrices of a dimension are `[I; 0]`. By default new units have random
    incoming and zero outgoing weights. This keeps the function wherever no
    norm takes statistics along the dimension, and the new units learn from the
    first step on, as their outgoing weights have a gradient. New blocks are
    added on top, with the layers' own initial weights; with
    `outgoing="zeros"` the last projections of their residual branches are zero,
    which keeps the function.

    If both sides are zero, neither has a gradient, and new units never learn.

    Args:
        incoming: `"initializer"` or `"zeros"`, for the incoming weights of new
            units.
        outgoing: `"zeros"` or `"initializer"`, for their outgoing weights.

    Example:

    >>> Direct().new_entries.outgoing
    'zeros'

    Reference:

    - Du et al., "Stacking Your Transformers" (2405.15319), the operator
      G_zero, with the old weights unscaled.
    """

    grows = frozenset({"width", "depth"})

    def __init__(
        self, incoming: str = "initializer", outgoing: str = "zeros"
    ) -> None:
        for name, value in (("incoming", incoming), ("outgoing", outgoing)):
            if value not in FRESH:
                raise GrowthError(
                    f"`{name}` must be one of {FRESH}. Received: "
                    f"{name}={value!r}"
                )
        self.incoming = incoming
        self.outgoing = outgoing
        self.new_entries = NewEntryInit(incoming, outgoing)

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del dim, rng
        return Expansion.pad(source, target)

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        blocks = [*range(source), *[None] * (target - source)]
        depth_map = StackingList(blocks, zero_exits=self.outgoing == "zeros")
        return depth_map.expand_depth(stack, source, target, rng)


@register("random")
class Random(Direct):
    """Copies the old weights; new entries are initialized as in a new network.

    All new entries and new blocks have the layers' own initial weights. The
    function changes. This is growth without an operator, the baseline that
    operators have to beat.

    Reference:

    - Du et al., "Stacking Your Transformers" (2405.15319), the operator
      G_random.
    """

    def __init__(self) -> None:
        super().__init__(incoming="initializer", outgoing="initializer")
