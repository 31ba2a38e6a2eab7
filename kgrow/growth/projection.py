"""The way back of a growth, as one change of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kgrow import strategies
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.algebra.types import Config
from kgrow.architecture.architecture import read_spec
from kgrow.growth.gates import gates_of
from kgrow.growth.transaction import GrowthTransaction
from kgrow.strategies.base import Strategy

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_REASON = (
    "projected: whatever training put beside the small network's own weights "
    "is dropped"
)


class ProjectionTransaction(GrowthTransaction):
    """The way back of one growth of one model, all of it or nothing.

    Args: see `GrowableModel.project()`.
    """

    def __init__(
        self,
        model: GrowableModel,
        target_config: Config | None,
        strategy: str | Strategy | None,
        data: Any = None,
        probe: Any = None,
        optimizer_state: str = "carry",
        seed: int | None = None,
    ) -> None:
        if (target_config is None) != (strategy is None):
            raise GrowthError(
                "`project()` without arguments is the way back of the last "
                "growth; that of another growth needs the sizes before it and "
                "its strategy. Received: "
                f"target_config={target_config!r}, strategy={strategy!r}"
            )
        if model.architecture.frozen:
            raise GrowthError(
                "Entries of the model are frozen, and a projection adds them "
                "to entries that train. Call `unfreeze()` first."
            )
        if strategy is None:
            target_config, plan = _last_growth(model)
            way_back = _Undo(plan)
        else:
            way_back = _WayBack(_without_data(strategy))
        assert target_config is not None  # both are given, or none
        if seed is None and model.growth_history:
            seed = model.growth_history[-1].seed
        self._of_last = strategy is None
        super().__init__(
            model, target_config, way_back, data, probe, optimizer_state, seed
        )

    def _check_target(self, target_config):
        return self.source.check(target_config, smaller=True)

    def _new_network(self):
        # The gates of the larger network need not fit; `carry_gates()` sets
        # those that stay.
        gated = gates_of(self.source.network) is not None
        network, _ = self.source.build(
            self.config, {"gates": []} if gated else {}
        )
        return network

    def _smaller(self, network):
        return network, read_spec(self.source.axes, network)

    def _plans_after(self, plan):
        # Another way back than that of the last growth leaves none of which
        # the model is the result.
        return self.model._growth_plans[:-1] if self._of_last else []


class _Projection(Strategy):
    """Plans from a network to a smaller one."""

    grows = frozenset({"width", "depth"})

    def claims(self, plan: Plan) -> list[Claim]:
        return [Claim(name, False, _REASON) for name in plan.grown]


class _WayBack(_Projection):
    """The inverse of the plan that a strategy makes."""

    def __init__(self, of: Strategy) -> None:
        self.of = of

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        return self.of.plan(target, source, seed).inverse()

    def __repr__(self) -> str:
        return f"the way back of {self.of!r}"


class _Undo(_Projection):
    """The inverse of a growth's own plan."""

    def __init__(self, growth: Plan) -> None:
        self.growth = growth

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        del source, target, seed
        return self.growth.inverse()

    def __repr__(self) -> str:
        return "the way back of the last growth"


def _last_growth(model):
    if not model._growth_plans:
        raise GrowthError(
            "The model has no plan of a growth to go back by: it was built, or "
            "loaded from a file, as large as it is. Name the sizes and the "
            "growth: project({'hidden_dim': 64}, strategy='net2net', seed=0); "
            "the strategy and the seed are in its receipt."
        )
    return model._growth_plans[-1]


def _without_data(strategy):
    found = strategies.get(strategy)
    if found.needs_data:
        raise GrowthError(
            f"{found!r} learned its maps from data, so that only the model "
            "that grew by it knows the way back: call `project()` without "
            "arguments, in the process of the growth."
        )
    return found
