"""One strategy for width combined with another for depth."""

from __future__ import annotations

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import PlanTerm
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec
from kgrow.strategies.base import SplitTerms, Strategy
from kgrow.strategies.registry import StrategyLike, get, register


@register()
class Combine(Strategy):
    """Grows width by one strategy and depth by another.

    Args:
        width: a strategy, its name or its config; it grows the widths.
        depth: the same, or a stacking list; it grows the depth.

    Example:

    >>> Combine(width="net2net", depth=[0, 1, 0, 1]).depth.blocks
    [0, 1, 0, 1]
    """

    def __init__(
        self, width: StrategyLike = "net2net", depth: StrategyLike = "stack"
    ) -> None:
        self.width = get(width)
        self.depth = get(depth)
        for part in (self.width, self.depth):
            if part.standalone:
                raise GrowthError(
                    f"'{part.name}' grows width and depth together, and is no "
                    "part of a Combine. What it is made of can be one: "
                    "LiGO(init=Combine(width=..., depth=...)), "
                    "GradMax(base=Combine(...)). Received: "
                    f"{part!r}"
                )
        self.grows = (self.width.grows & {"width"}) | (
            self.depth.grows & {"depth"}
        )
        self.new_entries = self.width.new_entries
        trains = {self.width.default_trainable, self.depth.default_trainable}
        self.default_trainable = "new" if "new" in trains else "all"

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        return self.width.expand_width(dim, source, target, rng)

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        return self.depth.expand_depth(stack, source, target, rng)

    def split_terms(
        self, term: PlanTerm, source: ModelSpec, target: ModelSpec
    ) -> SplitTerms:
        return self.width.split_terms(term, source, target)

    def claims(self, plan: Plan) -> list[Claim]:
        return self.width.claims(plan)

    def noise(self, dim: Dim) -> float:
        return self.width.noise(dim)
