"""Any width operator with any depth operator."""

from kgrow.algebra.errors import GrowthError
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import get, register


@register()
class Combine(Strategy):
    """Grows width by one strategy and depth by another.

    Args:
        width: a strategy, its name or its config, for the widths.
        depth: the same for the depth, or a stacking list.

    Example:

    >>> Combine(width="net2net", depth=[0, 1, 0, 1]).depth.blocks
    [0, 1, 0, 1]
    """

    def __init__(self, width="net2net", depth="stack"):
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

    def expand_width(self, dim, source, target, rng):
        return self.width.expand_width(dim, source, target, rng)

    def expand_depth(self, stack, source, target, rng):
        return self.depth.expand_depth(stack, source, target, rng)

    def split_terms(self, term, source, target):
        return self.width.split_terms(term, source, target)

    def claims(self, plan):
        return self.width.claims(plan)

    def noise(self, dim):
        return self.width.noise(dim)
