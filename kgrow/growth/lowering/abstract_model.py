"""The model of a later stage, its variables without values."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.types import Config
from kgrow.backend.lazy_variables import without_values
from kgrow.backend.random import private_random
from kgrow.growth.freezing import (
    carry_update_scales,
    first_copies,
    freeze,
)
from kgrow.growth.gates import gates_of
from kgrow.growth.layer_state import carry_flags
from kgrow.growth.lowering.device_scope import without_distribution
from kgrow.growth.optimizer.rate_law import carried, rate_factors
from kgrow.growth.optimizer.slots import nested
from kgrow.growth.trainable_choice import Choice, check_train
from kgrow.strategies.base import Strategy

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


def stage_model(
    model: GrowableModel,
    target_config: Config,
    strategy: Strategy | None = None,
    *,
    compile: Callable[[GrowableModel], Any] | None = None,
    training_options: Config | None = None,
    trainable: Choice | None = None,
    learning_rate: str | None = None,
    seed: int = 0,
) -> GrowableModel:
    """Makes the model that a growth would make of another, without values.

    Only counters and rates are allocated, and `model` is not changed. The new
    model has shapes, names and layouts, enough to lower its step, but cannot
    compute. Gates of `model` are assumed to be fully open.

    Args:
        model: `GrowableModel`, with or without values.
        target_config: dict of the fields that change, see `grow()`.
        strategy: optional `Strategy`; if it grows behind gates, the new model
            has them.
        compile: optional function of the new model that compiles it; by
            default it is compiled as `model` is, with an optimizer of its own.
        training_options: optional dict, see `set_training_options()`.
        trainable: see `grow()`.
        learning_rate: see `grow()`.
        seed: int, see `grow()`; which entries are new may depend on it.

    Returns:
        `GrowableModel`, of the class of `model`.

    Raises:
        GrowthError: the target does not fit the model, or the strategy has
            the old network teach the new one.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> larger = kgrow.lowering.stage_model(model, {"hidden_dim": 6})
    >>> larger.growth_config["hidden_dim"], larger.weights[0].shape
    (6, (2, 6))
    """
    source = model.architecture
    options = dict(training_options or {})
    source.check_training_options(options)
    if strategy is not None and strategy.teacher_config() is not None:
        raise GrowthError(
            f"After {strategy!r} the old network teaches the new one, which "
            "needs its values: such a step cannot be lowered before."
        )
    if gates_of(source.network) is not None:
        options.setdefault("gates", [])
    with without_values(), private_random(seed):
        network, spec = source.build(source.check(target_config), options)
        plan = None
        if strategy is not None:
            plan = strategy.plan(source.spec, spec, seed)
            _add_gate(network, plan)
        made = model._like(network)
    if strategy is not None and plan is not None:
        _carry(model, made, plan, check_train(trainable, strategy))
        if learning_rate is not None:
            factors, _ = rate_factors(model, plan)
            made.architecture.rate_factors = factors
    if compile is None and model.compiled:
        compile = _compiled_like(model)
    if compile is not None:
        # Scalars get values, which the mesh's absent devices cannot hold.
        with without_distribution():
            compile(made)
    return made


def _add_gate(network, plan):
    if plan.gate is None:
        return
    gates = gates_of(network)
    if gates is None:
        raise GrowthError(
            "The strategy grows behind gates, and the network has none. "
            f"Received: {network.name!r} (of type {type(network).__name__})"
        )
    gates.set_active_gates([plan.gate], [0])


def _carry(model, made, plan, trainable):
    """What a growth writes down of entries that are frozen, or slower. Scales
    that end by themselves are taken to have ended."""
    source, target = model.architecture, made.architecture
    carry_flags(made.network, source.network, plan)
    target.frozen = freeze(made.network, source, plan, trainable)
    target.first_copies = first_copies(source, plan)
    target.rate_factors = carried(source.rate_factors, plan)
    target.update_scales = [
        scale
        for scale in carry_update_scales(model, plan, step=0)
        if scale.steps is None
    ]


def _compiled_like(model):
    """A function that compiles a model like another one."""

    def compile(made):
        settings = dict(model._compile_config.config)
        settings["optimizer"] = _twin(model.optimizer)
        for name in ("metrics", "weighted_metrics"):
            settings[name] = keras.tree.map_structure(_own, settings[name])
        made.compile(**settings)

    return compile


def _twin(optimizer):
    """An optimizer with the same settings and no variables yet."""
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    pattern = "_exclude_from_weight_decay_pattern"
    for part, like in zip(nested(twin), nested(optimizer), strict=True):
        # Not in the config.
        if hasattr(like, pattern):
            setattr(part, pattern, getattr(like, pattern))
    return twin


def _own(metric):
    """A copy of a metric, as metrics have state."""
    if isinstance(metric, keras.Metric):
        return type(metric).from_config(metric.get_config())
    return metric
