"""The old weights as one strategy maps them, new entries as another does."""

from __future__ import annotations

import dataclasses

from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.registry import StrategyLike, get, register
from kgrow.strategies.task import Task
from kgrow.strategies.with_base import WithBase, nothing_to_do


@register("initialize_new", aliases=("filled",))
class InitializeNew(WithBase):
    """Grows by `base`, with another strategy's values in new entries.

    `base` maps the old weights and says which new entries are zero. Entries
    that it would draw from the layers' initializers are taken from the network
    that `init` makes, after learning if `init` learns. With a LiGO operator as
    `init`, for example, new units that nothing reads yet start with learned
    incoming weights, and the function is kept.

    Args:
        base: a strategy that leaves new entries to the layers' initializers,
            such as `"direct"` or `"lemon"`.
        init: a strategy for the values of those entries.

    Raises:
        GrowthError: `base` draws none of the new entries.

    Example:

    >>> InitializeNew(init="net2net").needs_data
    False
    """

    def __init__(
        self, base: StrategyLike = "direct", init: StrategyLike = "ligo"
    ) -> None:
        super().__init__(base)
        self.init = get(init)
        self.needs_data = self.base.needs_data or self.init.needs_data

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        plan = super().plan(source, target, seed)
        if plan.grown and plan.is_complete:
            raise nothing_to_do(
                self,
                "sets new entries that its `base` draws at random",
                source,
                target,
                self.base.name,
            )
        return plan

    def fit(self, plan: Plan, task: Task) -> Plan:
        init = self.init.plan(plan.source, plan.target, plan.seed)
        init = self.init.fit(init, task)
        plan = super().fit(plan, task)
        given = task.grown(init)
        return dataclasses.replace(plan, given={**given, **plan.given})
