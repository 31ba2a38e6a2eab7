"""Lowers a model's training step, on shapes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.backend import hold_places, place_of, storage
from kgrow.growth.device_layout import Distribution
from kgrow.growth.lowering.compiled_step import LoweredStep
from kgrow.growth.lowering.device_scope import under, without_distribution
from kgrow.growth.lowering.jax_only import jax_lowering
from kgrow.growth.optimizer.slots import nested, slots_without_values

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


def lower_train_step(
    model: GrowableModel,
    batch: Any,
    *,
    distribution: Distribution | None = None,
    device: Any = None,
) -> LoweredStep:
    """Lowers the training step of a model, as `fit` would compile it.

    Variables need no values, see `stage_model()`, and get none. The lowered
    step takes `(state, batch)` and returns `(logs, state)`, as
    `model.train_step` does.

    Args:
        model: compiled `GrowableModel`, from `stage_model()` or with an
            optimizer that is built. Its gates are part of the step.
        batch: `(x, y)` or `(x, y, sample_weight)`, structures of anything with
            a shape and a dtype: arrays, `KerasTensor`s.
        distribution: `keras.distribution.Distribution`, whose devices may be
            absent from this host; by default the active one.
        device: optional `jax.Device` to lower for if there is no
            distribution; by default JAX' own default.

    Returns:
        `LoweredStep`.

    Raises:
        GrowthError: Keras does not run on JAX, or the model is not compiled,
            or has values and an optimizer that is not built.

    Example:

    >>> import keras, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam", "mse")
    >>> batch = keras.KerasTensor((8, 2)), keras.KerasTensor((8, 1))
    >>> larger = kgrow.lowering.stage_model(model, {"hidden_dim": 6})
    >>> step = kgrow.lowering.lower_train_step(larger, batch).compile()
    >>> step.report.flops > 0
    True
    """
    jax_lowering()
    if not model.compiled:
        raise GrowthError(
            "A training step needs a loss and an optimizer. Call `compile()` "
            f"first. Received: {model.name!r}, not compiled"
        )
    distribution = distribution or keras.distribution.distribution()
    batch = tensors(batch)
    with under(distribution):
        build(model, batch)
        return lower_step(model, batch, distribution, device)


def lower_step(
    model: keras.Model,
    batch: Any,
    distribution: Distribution | None,
    device: Any,
) -> LoweredStep:
    """Lowers the training step of any compiled and built model.

    Args:
        model: `keras.Model`, its variables with values or without.
        batch: structure of `KerasTensor`s.
        distribution: the active `keras.distribution.Distribution`, or `None`.
        device: see `lower_train_step()`.
    """
    return LoweredStep(
        *jax_lowering().lower_step(model, "train", batch, distribution, device)
    )


def build(model: keras.Model, batch: Any) -> None:
    """Builds the optimizer, loss and metrics as `fit` does before its first
    step, without values if the model has none.

    Args:
        model: compiled `keras.Model`.
        batch: structure of `KerasTensor`s.
    """
    optimizer, deferred = model.optimizer, False
    for v in model.variables:
        # Lay variables out first; slots are laid out like them.
        place_of(v)
        deferred = deferred or storage(v) is None
    hold_places(model.variables)
    if not optimizer.built:
        if not deferred:
            raise GrowthError(
                "The model's optimizer has no variables yet, and lowering "
                "gives it none. Lower `stage_model(model, {})`, which has no "
                f"values, or build it. Received: {model.name!r}"
            )
        with without_distribution(), slots_without_values(nested(optimizer)):
            optimizer.build(model.trainable_variables)
    with without_distribution():
        model._symbolic_build(data_batch=batch)


def tensors(batch: Any) -> tuple[Any, ...]:
    """The shapes and dtypes of a batch, as `KerasTensor`s."""

    def form(leaf):
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        return keras.KerasTensor(tuple(leaf.shape), dtype)

    return tuple(keras.tree.map_structure(form, part) for part in batch)
