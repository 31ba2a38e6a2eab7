"""Old weights into the corner of the new ones."""

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
    """Copies the old weights and leaves the rest zero or random.

    Both matrices of a dimension are `[I; 0]`. With the default, random weights
    into new units and zeros out of them, the function is kept wherever no norm
    takes statistics along the dimension, and the new units learn from the
    first step on: their outgoing weights have a gradient. New blocks start
    from the layers' own initial weights, on top, with zeroed exits if
    `outgoing="zeros"`, which keeps the function.

    Zeros on both sides are a dead start: neither side of a new unit has a
    gradient, and it never learns.

    Args:
        incoming: `"initializer"` or `"zeros"`: weights that make new values.
        outgoing: `"zeros"` or `"initializer"`: weights that read them.

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
    """Copies the old weights; all new entries start as in a new network.

    The layers' own initial weights stand in every new entry and every new
    block. The function changes; this is what growing without an operator
    does, and the baseline that operators have to beat.

    Reference:

    - Du et al., "Stacking Your Transformers" (2405.15319), the operator
      G_random.
    """

    def __init__(self) -> None:
        super().__init__(incoming="initializer", outgoing="initializer")
