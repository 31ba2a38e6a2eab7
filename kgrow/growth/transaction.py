"""One growth, from the request to the swap: all of it or nothing.

Everything that can fail is done beside the model: the grown network, its
weights, the comparison of outputs. Only then is the model changed, under a
stack of undo steps, which any exception, Ctrl-C included, runs backwards.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kgrow import backend, strategies
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.scalar_checks import check_seed
from kgrow.algebra.types import Config
from kgrow.architecture.architecture import (
    Architecture,
    count_parameters,
    variable_paths,
)
from kgrow.architecture.function_check import compare
from kgrow.architecture.network_changes import check_unchanged
from kgrow.architecture.output_check import batch_loss, make_probe
from kgrow.architecture.size_forecast import check_memory
from kgrow.backend.keras_internals import get_random_seed
from kgrow.backend.memory import PeakMemory
from kgrow.backend.random import private_random
from kgrow.backend.scopes import own_scopes
from kgrow.growth.batches import Data
from kgrow.growth.context import GrowthContext
from kgrow.growth.device_layout import check_network
from kgrow.growth.freezing import (
    carry_update_scales,
    first_copies,
    freeze,
    lifted,
)
from kgrow.growth.gates import carry_gates, copy_gates
from kgrow.growth.layer_state import carry_layer_state
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.optimizer.grow_state import (
    POLICIES,
    OptimizerState,
    is_policy,
)
from kgrow.growth.optimizer.rate_law import carried, rate_factors
from kgrow.growth.optimizer.rebuild import FrozenEntries
from kgrow.growth.process_agreement import check_agreement, plan_facts
from kgrow.growth.receipt import Receipt
from kgrow.growth.retired import retire
from kgrow.growth.running_loops import check_loops
from kgrow.growth.teacher import Inheritance
from kgrow.growth.trainable_choice import Choice, check_train
from kgrow.growth.update_scale import steps_taken
from kgrow.growth.weight_transfer import fill_weights
from kgrow.strategies.base import Strategy

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


class GrowthTransaction:
    """One growth of one model.

    Args: see `GrowableModel.grow()`.
    """

    def __init__(
        self,
        model: GrowableModel,
        target_config: Config,
        strategy: str | Strategy,
        data: Any = None,
        probe: Any = None,
        optimizer_state: str = "carry",
        seed: int | None = None,
        trainable: Choice | None = None,
        training_options: Config | None = None,
        learning_rate: str | None = None,
    ) -> None:
        word = learning_rate is None or isinstance(learning_rate, str)
        if not word or learning_rate not in (None, "transfer"):
            raise GrowthError(
                "`learning_rate` must be None or 'transfer'; other policies "
                "belong to a stage of a schedule. Received: "
                f"learning_rate={learning_rate!r}"
            )
        if not is_policy(optimizer_state):
            raise GrowthError(
                f"`optimizer_state` must be one of {POLICIES}. Received: "
                f"optimizer_state={optimizer_state!r}"
            )
        self.model = model
        self.source = model.architecture
        check_loops(model)
        check_unchanged(self.source, "Growing")
        self.strategy = strategies.get(strategy)
        if self.strategy.teacher_config() is not None:
            model.check_teachable()
        self.trainable = check_train(trainable, self.strategy)
        if self.trainable != "all" and not model.trainable:
            raise GrowthError(
                "The model itself is frozen, so that nothing of it trains, "
                "new or old. Set `model.trainable = True` and freeze "
                "`model.network`, or layers of it, instead. Received: "
                "model.trainable=False"
            )
        self.config = self._check_target(target_config)
        check_memory(self.source.spec, self.config)
        self.training_options = training_options or {}
        self.source.check_training_options(self.training_options)
        self.policy = optimizer_state
        self.learning_rate = learning_rate
        self.seed = growth_seed(model, seed)
        self.data = None if data is None else Data(data)
        self.batch = self.data and self.data.first
        self.probe = probe

    def _check_target(self, target_config):
        return self.source.check(target_config)

    def run(self) -> Receipt | None:
        """Grows the model.

        Returns:
            `Receipt`, or `None` if only training options changed.
        """
        start = time.perf_counter()
        with (
            own_scopes(),
            PeakMemory() as memory,
            private_random(self.seed),
            backend.exact_products(),
        ):
            backend.sync(self.model)
            state = _optimizer_state(self.model)
            with backend.scope(self.model):
                network, target = self._make_network()
            plan = self.strategy.plan(self.source.spec, target.spec, self.seed)
            task = GrowthContext(
                self.model, network, self.config, self.data, self.seed
            )
            plan = self.strategy.fit(plan, task)
            check_agreement(lambda: self._facts(plan))
            with backend.scope(self.model):
                fill_weights(network, plan, task.values)
                carry_layer_state(network, self.source.network, plan)
                carry_gates(network, self.source.network, plan)
                target.frozen = freeze(
                    network, self.source, plan, self.trainable
                )
                target.update_scales = carry_update_scales(self.model, plan)
                target.first_copies = first_copies(self.source, plan)
            target.rate_factors, rates = self._rate_factors(plan)
            measured = self._check(network, plan)
            with backend.scope(self.model):
                facts = {
                    **measured,
                    "learned": task.report,
                    "rates": rates,
                    "prepared": self.model._programs.summary(self.config),
                }
                receipt = self._commit(target, plan, state, facts)
        if receipt is None:
            return None
        # The receipt is in the history since the commit, as a growth must be
        # from then on; its time and memory are known only now.
        receipt = dataclasses.replace(
            receipt,
            seconds=time.perf_counter() - start,
            peak_bytes=memory.extra_bytes,
        )
        history = self.model.growth_history
        self.model._growth_history = [*history[:-1], receipt]
        return receipt

    def _receipt(self, target, slots, step, facts):
        """The receipt without time and memory; `None` if no size changed."""
        if self.training_options:
            return None
        return Receipt(
            strategy=repr(self.strategy),
            source_config=self.source.config,
            target_config=target.config,
            parameters_before=count_parameters(self.source.network),
            parameters_after=count_parameters(target.network),
            step=step,
            seed=self.seed,
            seconds=0.0,
            peak_bytes=None,
            slots_carried=slots[0],
            slots_fresh=slots[1],
            **facts,
        )

    def _facts(self, plan):
        """Arguments and results that must be equal in all processes."""
        return {
            "the sizes": self.config,
            "the training_options": self.training_options,
            "the strategy": repr(self.strategy),
            "the seed": self.seed,
            "`optimizer_state`": self.policy,
            "`trainable`": self._chosen(plan),
            "`learning_rate`": self.learning_rate,
            "the data": self.batch,
            "the step": steps_taken(self.model),
            "the plan": plan_facts(plan),
        }

    def _chosen(self, plan):
        """`trainable` as plain data: functions of two processes never compare
        as equal."""
        if callable(self.trainable):
            return [p for p in plan.target.variables if self.trainable(p)]
        return self.trainable

    def _rate_factors(self, plan):
        if self.learning_rate is None:
            return carried(self.source.rate_factors, plan), None
        return rate_factors(self.model, plan)

    def _new_network(self):
        network, _ = self.source.build(self.config, self.training_options)
        # For a strategy that runs the grown network.
        copy_gates(network, self.source.network)
        return network

    def _make_network(self):
        network = self._new_network()
        target = Architecture(self.source.axes, network)
        check_network(network, target.spec)
        if self.model.teacher is not None:
            for dim in target.spec.output_dims:
                if self.source.spec.sizes[dim] != target.spec.sizes[dim]:
                    raise GrowthError(
                        "The model is taught by a small network, whose "
                        "outputs would no longer be as many: "
                        f"`{target.spec.dims[dim].field}` is to grow. Call "
                        "`remove_teacher()` first."
                    )
        return network, target

    def _check(self, network, plan):
        """Compares outputs and loss before and after.

        Raises:
            GrowthError: the plan claims to be exact and is not.
        """
        if self.training_options:
            # The outputs are meant to change, and the inputs may change too.
            return {}
        old = self.source.network
        found = compare(old, network, self._probe_inputs(network), plan)
        claims = self.strategy.claims(plan)
        exact = all(claim.exact for claim in claims)
        rounding = found.tolerance
        rounding += sum(claim.within for claim in claims if exact)
        notes = dict(found.notes)
        if exact and not found.relative <= rounding:
            if not found.outputs_grew:
                raise GrowthError(self._not_kept(found.relative, rounding))
            exact = False
            notes["outputs"] = (
                "there are more of them, and what is computed over all, as a "
                "softmax or a mean, changes with their number"
            )
        if not found.head <= rounding:
            if exact:
                raise GrowthError(_head_not_kept(old, found.head))
            notes["head"] = (
                "logits by `token_embedding` in reverse are another function"
            )
        measured = {
            "exact": exact,
            "claims": {**{c.dim: c.reason for c in claims}, **notes},
            "max_abs_diff": found.absolute,
            "relative_diff": found.relative,
            "tolerance": rounding,
        }
        if self.batch is not None and self.model.compiled:
            loss_with = self.model.loss_with
            measured["loss_before"] = batch_loss(loss_with, old, self.batch)
            measured["loss_after"] = batch_loss(loss_with, network, self.batch)
        return measured

    def _not_kept(self, relative, rounding):
        cause = (
            "Check the axes that you gave"
            if self.model.axes_given
            else "`model.architecture.axes` does not describe the network"
        )
        return (
            f"{self.strategy!r} claims to keep the function, and the outputs "
            f"differ by {relative:.1e} of their size, more than rounding "
            f"explains ({rounding:.1e}). {cause}; the model is as it was."
        )

    def _probe_inputs(self, network):
        if self.probe is not None:
            return self.probe
        if self.batch is not None:
            return keras.utils.unpack_x_y_sample_weight(self.batch)[0]
        return make_probe(*self._smaller(network))

    def _smaller(self, network):
        """`(network, spec)`, of the network and the model's own, of the one
        whose inputs fit both."""
        del network
        return self.source.network, self.source.spec

    def _plans_after(self, plan):
        """`[(config before, plan), ...]` of the model's growths, with this
        one; without the entries drawn for it, which no way back reads."""
        kept = dataclasses.replace(plan, given={})
        return [*self.model._growth_plans, (self.source.config, kept)]

    def _commit(self, target, plan, state, facts):
        """Gives the model the grown network, optimizer state and receipt."""
        model, old = self.model, self.source
        replaced = [backend.storage(w) for w in old.network.weights]
        slots, step = (0, 0), None
        with contextlib.ExitStack() as undo:
            undo.callback(guard, model)
            if state is not None:
                optimizer = state.optimizer
                replaced += [backend.storage(v) for v in optimizer.variables]
                step = int(backend.to_numpy(optimizer.iterations))
                undo.callback(state.remember())
            undo.callback(model._remember())
            model._install(target)
            teaching = self.strategy.teacher_config()
            if teaching is not None:
                model.set_teacher(Inheritance(old, **teaching))
            if state is not None:
                slots = state.rebuild(
                    model.trainable_variables,
                    plan,
                    variable_paths(target.network),
                    variable_paths(old.network),
                    self.policy,
                    FrozenEntries(
                        target.frozen,
                        [*old.network.weights, *target.network.weights],
                        lifted(old, plan, target.frozen),
                    ),
                )
            guard(model)
            model._refresh_functions()
            receipt = self._receipt(target, slots, step, facts)
            if receipt is not None:
                history, plans = model._growth_history, model._growth_plans
                undo.callback(setattr, model, "_growth_history", history)
                undo.callback(setattr, model, "_growth_plans", plans)
                model._growth_history = [*history, receipt]
                model._growth_plans = self._plans_after(plan)
            undo.pop_all()
        kept = [] if state is None else state.optimizer.variables
        kept = {id(backend.storage(v)) for v in [*model.variables, *kept]}
        backend.delete_buffers([v for v in replaced if id(v) not in kept])
        retire(old.network, {id(v) for v in model.variables}, model.name)
        return receipt


def _head_not_kept(network, relative):
    name = type(network).__name__
    task = name.replace("Backbone", "CausalLM")
    return (
        f"The outputs of {name} are kept, but logits that a head makes of them "
        "by `token_embedding(..., reverse=True)`, outside of this network, "
        f"would differ by {relative:.1e} of their size. Grow the task "
        f"(`{task}`) instead: its head is grown with it. The model is as it "
        "was."
    )


def _optimizer_state(model):
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return OptimizerState(optimizer)


def growth_seed(model: GrowableModel, seed: int | None) -> int:
    """The seed of a model's next growth, an int.

    Args:
        model: `GrowableModel`.
        seed: see `GrowableModel.grow()`.
    """
    if seed is not None:
        return check_seed(seed)
    common = get_random_seed()
    if common is None:
        # Not from a global generator: growing must not change how the user's
        # data is shuffled.
        return int(np.random.default_rng().integers(2**31))
    return (int(common) + len(model.growth_history)) % 2**31
