"""One strategy's rules, another's values for what is new."""

from __future__ import annotations

import dataclasses

from kgrow.algebra.exactness import Claim
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import StrategyLike, get, register
from kgrow.strategies.task import Task


@register("filled")
class InitializeNew(Strategy):
    """New entries under one strategy's rules, with values of another's.

    `base` says where old weights stand and which new ones must be zero;
    wherever it would draw new entries from the layers' initializers, they are
    what `init` would have put there, learned first if it learns. So a LiGO
    operator can make the incoming weights of units that nobody reads yet, and
    the function is kept while they are better than random.

    Args:
        base: a strategy that leaves new entries to initializers, such as
            `"direct"` or `"lemon"`.
        init: a strategy for the values.

    Example:

    >>> InitializeNew(init="net2net").needs_data
    False
    """

    grows = frozenset({"width", "depth"})

    standalone = True

    def __init__(
        self, base: StrategyLike = "direct", init: StrategyLike = "ligo"
    ) -> None:
        self.base = get(base)
        self.init = get(init)
        self.grows = self.base.grows
        self.needs_data = self.base.needs_data or self.init.needs_data

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        return self.base.plan(source, target, seed)

    def fit(self, plan: Plan, task: Task) -> Plan:
        init = self.init.plan(plan.source, plan.target, plan.seed)
        init = self.init.fit(init, task)
        plan = self.base.fit(plan, task)
        given = task.grown(init)
        return dataclasses.replace(plan, given={**given, **plan.given})

    def claims(self, plan: Plan) -> list[Claim]:
        return self.base.claims(plan)
