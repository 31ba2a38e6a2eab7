"""Any width operator with any depth operator."""

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import get, serialize


@keras.saving.register_keras_serializable("kgrow")
class Copy(Strategy):
    """Grows width by one strategy and depth by another.

    Args:
        width: a strategy, its name or its config, for the widths.
        depth: the same for the depth, or a stacking list.

    Example:

    >>> Copy(width="net2net", depth=[0, 1, 0, 1]).depth.blocks
    [0, 1, 0, 1]
    """

    def __init__(self, width="net2net", depth="stack"):
        self.width = get(width)
        self.depth = get(depth)
        for part in (self.width, self.depth):
            if part.is_whole:
                raise GrowthError(
                    f"'{part.name}' grows width and depth together, and is no "
                    "part of a Copy. What it is made of can be one: "
                    "LiGO(init=Copy(width=..., depth=...)), "
                    "GradMax(rest=Copy(...)). Received: "
                    f"{part!r}"
                )
        self.fresh = self.width.fresh
        trains = {self.width.train, self.depth.train}
        self.train = "new" if "new" in trains else "all"

    def expand(self, dim, source, target, rng):
        return self.width.expand(dim, source, target, rng)

    def mix(self, stack, source, target, rng):
        return self.depth.mix(stack, source, target, rng)

    def divide(self, term, source, target):
        return self.width.divide(term, source, target)

    def claims(self, plan):
        return self.width.claims(plan)

    def noise(self, dim):
        return self.width.noise(dim)

    def __repr__(self):
        return f"Copy(width={self.width!r}, depth={self.depth!r})"

    def get_config(self):
        return {
            "width": serialize(self.width),
            "depth": serialize(self.depth),
        }
