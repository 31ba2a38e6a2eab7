"""`prepare()`: the steps of a growth, compiled while the model trains."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import keras

from kgrow import backend, strategies
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.types import Config
from kgrow.backend.keras_internals import global_attribute
from kgrow.backend.scopes import own_scopes
from kgrow.growth.gates import gates_of
from kgrow.growth.layer_state import stateful_layer
from kgrow.growth.lowering.abstract_model import stage_model
from kgrow.growth.prepared.batch_form import arrays_as_traced, form_of
from kgrow.growth.prepared.preparation import Preparation
from kgrow.growth.prepared.program_store import ProgramStore
from kgrow.growth.trainable_choice import Choice
from kgrow.growth.transaction import growth_seed
from kgrow.strategies.base import Strategy

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


class PreparedGrowth(keras.Model):
    """The part of `GrowableModel` that compiles ahead."""

    _programs: ProgramStore

    def prepare(
        self,
        target_config: Config,
        strategy: str | Strategy = "net2net",
        *,
        data: Any = None,
        seed: int | None = None,
        trainable: Choice | None = None,
        learning_rate: str | None = None,
    ) -> Preparation:
        """Compiles the steps of a later growth while this model trains.

        The grown network is built without values and its training step is
        compiled in a separate thread, so that `grow()` with the same arguments
        does not wait for the compiler. Weights, random states and results are
        the same with and without it. If the step is not ready at the growth,
        or anything that it depends on has changed, it is compiled then, and a
        message says why. On torch, where nothing is compiled, this does
        nothing.

        Args:
            target_config: see `grow()`.
            strategy: see `grow()`.
            data: optional batch `(x, y)` or `(x, y, sample_weight)`, of which
                only shapes and dtypes are read. Defaults to the shapes of the
                batches that the model has trained and validated on.
            seed: see `grow()`.
            trainable: see `grow()`.
            learning_rate: see `grow()`.

        Returns:
            `Preparation`, whose `wait()` returns when all is compiled.

        Raises:
            GrowthError: the model is not compiled, has not been trained and no
                data is given, or the growth cannot be prepared.

        Example:

        >>> import kgrow, numpy as np
        >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
        ...     intermediate_dim=8, num_layers=1)
        >>> model.compile("adam", "mse")
        >>> batch = np.zeros((8, 2), "float32"), np.zeros((8, 1), "float32")
        >>> model.prepare({"hidden_dim": 6}, data=batch).wait()
        True
        >>> receipt = model.grow({"hidden_dim": 6})
        """
        if data is None:
            batches = dict(self._programs.seen)
        else:
            batch = arrays_as_traced(data)
            rows = len(keras.tree.flatten(data)[0])
            batches = {("train", form_of(batch)): (batch, rows)}
        if not batches and backend.compiles:
            raise GrowthError(
                "What is compiled depends on the batches, and this model has "
                "seen none. Give one: prepare(..., data=(x, y)). Received: "
                "data=None"
            )
        preparation = begin_preparation(
            cast("GrowableModel", self),
            target_config,
            strategy,
            seed,
            trainable,
            learning_rate,
        )
        for (kind, form), (batch, rows) in batches.items():
            preparation.ask(kind, form, batch, rows)
        return preparation


def begin_preparation(
    model: GrowableModel,
    target_config: Config,
    strategy: str | Strategy,
    seed: int | None = None,
    trainable: Choice | None = None,
    learning_rate: str | None = None,
    training_options: Config | None = None,
    finish: Callable[[GrowableModel], Any] | None = None,
    verbose: bool = True,
) -> Preparation:
    """Starts a `Preparation` and cancels the model's former one.

    Args:
        model: compiled `GrowableModel`.
        target_config: see `grow()`.
        strategy: see `grow()`.
        seed: see `grow()`.
        trainable: see `grow()`.
        learning_rate: see `grow()`.
        training_options: optional dict, set right after the growth.
        finish: optional function of the model without values, which makes
            the changes that the grown model gets before it trains.
        verbose: see `Preparation`.

    Raises:
        GrowthError: see `GrowableModel.prepare()`.
    """
    if not model.compiled:
        raise GrowthError(
            "A step is compiled for a loss and an optimizer. Call `compile()` "
            f"first. Received: {model.name!r}, not compiled"
        )
    strategy = strategies.get(strategy)
    sizes = model.architecture.check(target_config)

    def stage():
        made = stage_model(
            model,
            target_config,
            strategy,
            training_options=training_options,
            trainable=trainable,
            learning_rate=learning_rate,
            seed=growth_seed(model, seed),
        )
        if finish is not None:
            finish(made)
        return made

    models = []
    if backend.compiles:
        # A rate is read off the optimizer.
        backend.sync(model)
        _check_layers(model.network)
        # Not in the thread: Keras seeds layers from one generator of the
        # process, and the order of draws must not depend on threads.
        with (
            own_scopes(),
            global_attribute("object_name_uids", None),
            backend.scope(model),
        ):
            models.append(stage())
            gates = gates_of(models[0].network)
            if gates is not None and gates.active_gates:
                # The network without gates, for when they are open.
                models.append(stage())
                plain = gates_of(models[1].network)
                assert plain is not None  # as in the same stage with gates
                plain.set_active_gates([])
    preparation = Preparation(sizes, models, verbose)
    model._programs.begin(preparation, model.growth_config)
    return preparation


def _check_layers(network):
    layer = stateful_layer(network)
    if layer is not None:
        raise GrowthError(
            "A layer keeps state beside its weights, such as a vocabulary or "
            "the statistics of `adapt()`, which is a part of the compiled "
            "step and has no value before the growth. Received: "
            f"{layer.name!r} (of type {type(layer).__name__})"
        )
