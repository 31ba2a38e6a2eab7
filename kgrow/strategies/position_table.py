"""A longer table of positions: copied, interpolated or new."""

from __future__ import annotations

import dataclasses

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.linear_maps import GatherMap, MatrixMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.registry import StrategyLike, register
from kgrow.strategies.task import Task
from kgrow.strategies.with_base import WithBase

_RULES = ("fresh", "copy", "interpolate")


@register()
class Positions(WithBase):
    """Grows the table of positions by a rule, and all else by a strategy.

    Args:
        init: how the table grows. `"copy"`: the old table is repeated, which
            keeps the function on inputs of the old length; `"interpolate"`:
            the old table is stretched by linear interpolation, which changes
            the function and leaves no position untrained; `"fresh"`: the old
            table is followed by the layer's own initial values, as in every
            other strategy.
        base: the strategy for everything else.
        dim: name of the dimension.

    Raises:
        GrowthError: `init` is none of the three, or the network has no such
            dimension.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.GPT2(vocabulary_size=32, num_layers=1,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
    ...     max_sequence_length=4)
    >>> model.grow({"max_sequence_length": 8}, Positions("copy")).exact
    True

    Reference:

    - Gu et al., "On the Transformer Growth for Progressive BERT Training"
      (2010.12562), Sec. 3.1, on the drawback of new positions after training
      on truncated data. Longformer copies (Beltagy et al., 2004.05150, Sec.
      5), vision transformers at a higher resolution interpolate (Dosovitskiy
      et al., 2010.11929, Sec. 3.2).
    """

    def __init__(
        self,
        init: str = "copy",
        base: StrategyLike = "net2net",
        dim: str = "positions",
    ) -> None:
        if init not in _RULES:
            raise GrowthError(
                f"`init` must be one of {_RULES}. Received: init={init!r}"
            )
        super().__init__(base)
        self.init = init
        self.dim = dim

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        if self.dim not in target.dims:
            raise GrowthError(
                "The network has no such dimension. Received: "
                f"dim={self.dim!r}; there are {sorted(target.dims)}"
            )
        return self._with_positions(super().plan(source, target, seed))

    def fit(self, plan: Plan, task: Task) -> Plan:
        return self._with_positions(super().fit(plan, task))

    def claims(self, plan: Plan) -> list[Claim]:
        claims = [c for c in super().claims(plan) if c.dim != self.dim]
        if self.dim in plan.grown:
            stretched = self.init == "interpolate"
            reason = "old positions are stretched" if stretched else "exact"
            claims.append(Claim(self.dim, not stretched, reason))
        return claims

    def _with_positions(self, plan):
        if self.dim not in plan.grown or self.init == "fresh":
            return plan
        sizes = plan.source.sizes[self.dim], plan.target.sizes[self.dim]
        expansion = _RULE_OF[self.init](*sizes)
        terms = [
            dataclasses.replace(t, widths={**t.widths, self.dim: expansion})
            for t in plan.terms
        ]
        return dataclasses.replace(plan, terms=tuple(terms))

    def __repr__(self) -> str:
        return f"Positions({self.init!r}, base={self.base!r})"


def _copies(source, target):
    # Every position is looked up by itself: copies need no shares.
    rows = GatherMap(source, np.arange(target) % source)
    return Expansion(rows, rows)


def _stretched(source, target):
    places = np.linspace(0.0, source - 1.0, target)
    matrix = np.maximum(
        0.0, 1.0 - np.abs(places[:, None] - np.arange(source)[None])
    )
    return Expansion(MatrixMap(matrix), MatrixMap(matrix))


_RULE_OF = {"copy": _copies, "interpolate": _stretched}
