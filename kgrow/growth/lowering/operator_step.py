"""Lowers the training step of a learned operator, on shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.types import Config
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.random import private_random
from kgrow.growth.device_layout import Distribution
from kgrow.growth.lowering.abstract_model import stage_model
from kgrow.growth.lowering.compiled_step import LoweredStep
from kgrow.growth.lowering.device_scope import under, without_distribution
from kgrow.growth.lowering.jax_only import jax_lowering
from kgrow.growth.lowering.train_step import build, lower_step, tensors
from kgrow.growth.operator_fit import OperatorModel
from kgrow.strategies.learned_operator import Learned

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


def lower_operator_step(
    model: GrowableModel,
    target_config: Config,
    strategy: Learned,
    batch: Any,
    *,
    distribution: Distribution | None = None,
    device: Any = None,
) -> LoweredStep:
    """Lowers the step by which a strategy learns its operator.

    Args:
        model: compiled `GrowableModel` that is to grow, with values or
            without, see `stage_model()`.
        target_config: dict of the fields that change, see `grow()`.
        strategy: `Strategy` with an operator that is learned, such as `LiGO`.
        batch: see `lower_train_step()`.
        distribution: see `lower_train_step()`.
        device: see `lower_train_step()`.

    Returns:
        `LoweredStep`.

    Raises:
        GrowthError: Keras does not run on JAX, or the strategy has no learned
            operator.

    Example:

    >>> import keras, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam", "mse")
    >>> batch = keras.KerasTensor((8, 2)), keras.KerasTensor((8, 1))
    >>> step = kgrow.lowering.lower_operator_step(
    ...     model, {"hidden_dim": 6}, kgrow.strategies.get("ligo"), batch)
    >>> step.compile().report.flops > 0
    True
    """
    jax_lowering()
    if not hasattr(strategy, "operator"):
        raise GrowthError(
            "Only a strategy that learns an operator has such a step, 'ligo' "
            f"or 'mango'. Received: strategy={strategy!r}"
        )
    distribution = distribution or keras.distribution.distribution()
    batch = tensors(batch)
    # A copy without values: its loss is built, its variables are laid out.
    model = stage_model(model, {})
    with under(distribution):
        build(model, batch)
        operator = _operator_model(model, target_config, strategy)
        with without_distribution():
            operator.compile(optimizer=strategy.make_optimizer())
        build(operator, batch)
        with backend.exact_products():
            return lower_step(operator, batch, distribution, device)


def _operator_model(model, target_config, strategy):
    """An `OperatorModel` in which only the operator has values."""
    source = model.architecture
    with without_distribution(), private_random(0):
        network, spec = source.build(source.check(target_config))
        parameters, make_plan = strategy.operator(
            source.spec, spec, 0, "float32"
        )
        return OperatorModel(
            parameters,
            make_plan,
            {
                relative_path(source.network, w): w
                for w in grown_weights(source.network)
            },
            network,
            model.loss_with,
            strategy.tune_small,
        )
