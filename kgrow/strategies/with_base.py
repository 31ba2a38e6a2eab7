"""Strategies that do one thing themselves and leave all else to another."""

from __future__ import annotations

from typing import Any

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import StrategyLike, get
from kgrow.strategies.task import Task


class WithBase(Strategy):
    """Base class of strategies that change a part of another one's plan.

    What the base grows, needs and trains is what this strategy does; a
    subclass changes the plan in `plan()` or `fit()`.

    Args:
        base: a strategy, its name or its config.
    """

    grows = frozenset({"width", "depth"})  # what the base may grow

    standalone = True

    def __init__(self, base: StrategyLike) -> None:
        self.base = get(base)
        self.grows = self.base.grows
        self.new_entries = self.base.new_entries
        self.needs_data = type(self).needs_data or self.base.needs_data
        self.default_trainable = self.base.default_trainable

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        return self.base.plan(source, target, seed)

    def fit(self, plan: Plan, task: Task) -> Plan:
        return self.base.fit(plan, task)

    def claims(self, plan: Plan) -> list[Claim]:
        return self.base.claims(plan)

    def teacher_config(self) -> dict[str, Any] | None:
        return self.base.teacher_config()


def nothing_to_do(
    strategy: Strategy,
    does: str,
    source: ModelSpec,
    target: ModelSpec,
    use: str,
) -> GrowthError:
    """The error of a strategy that would leave a growth to another one.

    Args:
        strategy: `Strategy`.
        does: what it does, a clause that goes on from its name.
        source: `ModelSpec` before.
        target: `ModelSpec` after.
        use: name of the strategy that would do all of the work.
    """
    old = {**source.sizes, **source.depths}
    new = {**target.sizes, **target.depths}
    parts = {**target.dims, **target.stacks}
    fields = sorted(
        {parts[name].field for name in new if old.get(name) != new[name]}
    )
    return GrowthError(
        f"'{strategy.name}' {does}, and finds nothing of the kind in this "
        f"growth: all of it would be the work of '{use}'. Received: a growth "
        f"of {fields}. Use '{use}', or grow something else along with it."
    )
