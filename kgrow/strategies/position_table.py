"""A longer table of positions: copied, interpolated or fresh."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.linear_maps import GatherMap, MatrixMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import StrategyLike, get, register
from kgrow.strategies.task import Task

_RULES = ("fresh", "copy", "interpolate")


@register()
class Positions(Strategy):
    """Grows the table of positions by a rule, and all else by a strategy.

    Args:
        init: what stands in the table afterwards. `"copy"`: the old table,
            over and over, which keeps the function on inputs of the old
            length; `"interpolate"`: the old table stretched, neighbours mixed,
            which changes it everywhere and leaves no position untrained;
            `"fresh"`: the old table, and the layer's own initial values behind
            it, as every other strategy does.
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
      (2010.12562), Sec. 3.1, on what is wrong with fresh positions after
      training on truncated data. Copying is Longformer's way (Beltagy et al.,
      2004.05150, Sec. 5), interpolation that of vision transformers at a
      higher resolution (Dosovitskiy et al., 2010.11929, Sec. 3.2).
    """

    standalone = True

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
        self.init = init
        self.base = get(base)
        self.dim = dim
        self.grows = self.base.grows
        self.new_entries = self.base.new_entries
        self.needs_data = self.base.needs_data
        self.default_trainable = self.base.default_trainable

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        if self.dim not in target.dims:
            raise GrowthError(
                "The network has no such dimension. Received: "
                f"dim={self.dim!r}; there are {sorted(target.dims)}"
            )
        plan = self.base.plan(source, target, seed)
        return self._with_positions(plan)

    def fit(self, plan: Plan, task: Task) -> Plan:
        return self._with_positions(self.base.fit(plan, task))

    def teacher_config(self) -> dict[str, Any] | None:
        return self.base.teacher_config()

    def claims(self, plan: Plan) -> list[Claim]:
        claims = [c for c in self.base.claims(plan) if c.dim != self.dim]
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
    # Looked up one at a time: no two copies share what one reader reads.
    rows = GatherMap(source, np.arange(target) % source)
    return Expansion(rows, rows)


def _stretched(source, target):
    places = np.linspace(0.0, source - 1.0, target)
    matrix = np.maximum(
        0.0, 1.0 - np.abs(places[:, None] - np.arange(source)[None])
    )
    return Expansion(MatrixMap(matrix), MatrixMap(matrix))


_RULE_OF = {"copy": _copies, "interpolate": _stretched}
