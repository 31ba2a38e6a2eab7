"""Fitting a learned operator by an ordinary Keras `fit`.

In every step the operator expands the small network's weights, and the grown
network runs with the expanded tensors in place of its variables, which never
get values. The optimizer trains the operator's parameters alone.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from typing import Any, cast

import keras
import numpy as np
from keras import ops

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.algebra.types import Array, Values
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.flops import training_flops
from kgrow.backend.keras_internals import set_untracked
from kgrow.backend.lazy_variables import give_value, without_values
from kgrow.growth.batches import Data
from kgrow.strategies.learned_operator import Learned


class OperatorModel(keras.Model):
    """A network whose weights an operator computes from smaller ones.

    Args:
        parameters: dict from names to arrays, the operator's initial values.
        make_plan: function from such a dict, of tensors, to a `Plan`.
        values: dict from paths to arrays, the small network's weights; or to
            its variables, of which only shapes and layouts are used, for a
            step that is lowered and not run.
        network: the grown network; its weights need no values.
        loss_with: function, see `NetworkTraining.loss_with()`.
        tune_small: bool, whether the small network's weights train as well.
    """

    def __init__(
        self,
        parameters: Values,
        make_plan: Callable[[Values], Plan],
        values: Values,
        network: keras.Model,
        loss_with: Callable[..., Array],
        tune_small: bool = False,
    ) -> None:
        super().__init__(name="operator", dtype=network.dtype_policy)
        self._make_plan = make_plan
        self._loss_with = loss_with
        # The network's penalties, kept from the forward pass for the loss.
        set_untracked(self, "_penalties", [])
        weights = {id(w) for w in grown_weights(network)}
        states = [v for v in network.variables if id(v) not in weights]
        # Untracked: its variables are not variables of this model.
        self._held = _Held(network, states)
        self._operator = {
            name: self._variable(f"operator/{name}", value)
            for name, value in parameters.items()
        }
        self._small = {
            path: self._variable(f"small/{path}", value, tune_small)
            for path, value in values.items()
        }
        self._states = [
            self._variable(f"state/{i}", _initial(v), False)
            for i, v in enumerate(states)
        ]
        self.built = True

    def _variable(self, name, value, trainable=True):
        # A copy: a backend may use the host memory without copying, and
        # training must not change the small network's weights.
        name = re.sub(r"\W", "_", name)
        is_shape = isinstance(value, keras.Variable)
        if is_shape or backend.is_spread(value):
            with without_values():
                variable = self.add_weight(
                    name=name,
                    shape=value.shape,
                    dtype=str(value.dtype),
                    trainable=trainable,
                    autocast=False,
                )
            if is_shape:
                variable._layout = value._layout
                return variable
            variable._layout = value.sharding
            give_value(variable, backend.pieces.copy_of(value))
            return variable
        value = np.array(value)
        return self.add_weight(
            name=name,
            shape=value.shape,
            dtype=str(value.dtype),
            initializer=lambda shape, dtype: ops.convert_to_tensor(
                value, dtype
            ),
            trainable=trainable,
            autocast=False,
        )

    def build(self, input_shape: Any = None) -> None:
        del input_shape

    def operator_values(self) -> dict[str, Array]:
        """The parameters of the operator as they are now, as arrays."""
        return {n: _array(v) for n, v in self._operator.items()}

    def small_values(self) -> dict[str, Array]:
        """The small network's weights as they are now, on their devices."""
        return {p: _copy(v) for p, v in self._small.items()}

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        network = self._held.network
        with backend.exact_products():
            grown = self._grown()
        mapping = [
            (
                w,
                backend.with_sharding_constraint(
                    grown[relative_path(network, w)], w
                ),
            )
            for w in grown_weights(network)
        ]
        states = list(zip(self._held.states, self._states, strict=True))
        mapping += [(s, ops.convert_to_tensor(v)) for s, v in states]
        with keras.StatelessScope(
            state_mapping=mapping, collect_losses=True
        ) as scope:
            outputs = network(inputs, training=training)
            set_untracked(self, "_penalties", network.losses)
        if training:
            for theirs, ours in states:
                ours.assign(scope.get_current_value(theirs))
        return outputs

    def _grown(self):
        """The grown network's weights, as the operator computes them now."""
        plan = self._make_plan(
            {n: ops.convert_to_tensor(v) for n, v in self._operator.items()}
        )
        small = {p: ops.convert_to_tensor(v) for p, v in self._small.items()}
        return plan.apply(small)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Array:
        # Metrics inside the compiled loss must not count these batches.
        penalties = self._penalties
        set_untracked(self, "_penalties", [])
        with keras.StatelessScope():
            return self._loss_with(
                self._held.network,
                x,
                y,
                y_pred,
                sample_weight,
                training=training,
                penalties=penalties,
            )


class _Held:
    """Holds a network that Keras must not track as a sublayer."""

    def __init__(self, network, states):
        self.network = network
        self.states = states


class _Watch(keras.callbacks.Callback):
    """Ends the fit when the loss is not finite, or no longer falls."""

    def __init__(self, patience):
        super().__init__()
        self.patience = patience
        self.taken, self.best, self.waited = 0, math.inf, 0
        self.fault = None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.taken += 1
        if not math.isfinite(float(logs["loss"])):
            self.fault = self.taken
            self._stop()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if self.patience is None or self.fault:
            return
        if logs["loss"] < self.best:
            self.best, self.waited = logs["loss"], 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self._stop()

    def _stop(self):
        cast(keras.Model, self.model).stop_training = True


def fit_operator(
    model: OperatorModel,
    before: Values,
    data: Data,
    settings: Learned,
    seed: int = 0,
) -> dict[str, Any]:
    """Fits an `OperatorModel`.

    Args:
        model: `OperatorModel`.
        before: dict of arrays, the parameters that it was made with.
        data: `Data`.
        settings: the learned strategy, of which `steps`, `batch_size`,
            `patience`, `verbose`, `callbacks` and `make_optimizer()` are
            used.
        seed: int, shuffles the data.

    Returns:
        dict with the loss before, during and after, the steps taken, how far
        each part of the operator moved, and the seconds and FLOPs spent.

    Raises:
        GrowthError: the loss is no finite number.
    """
    start = time.perf_counter()
    model.compile(optimizer=settings.make_optimizer())
    loss_before = _loss_on(model, data.first)
    # Epochs for the curve of the loss, which has about ten points.
    per_epoch = max(1, settings.steps // 10)
    watch = _Watch(settings.patience)
    history = keras.callbacks.History()
    epochs, rest = divmod(settings.steps, per_epoch)
    inputs = []
    batches = _watched(data.batches(settings.batch_size, seed), inputs)
    options: dict[str, Any] = dict(
        verbose=settings.verbose,
        shuffle=False,
        callbacks=[history, watch, *settings.callbacks],
    )
    try:
        model.fit(batches, epochs=epochs, steps_per_epoch=per_epoch, **options)
        if rest and not model.stop_training:
            model.fit(
                batches,
                epochs=epochs + 1,
                initial_epoch=epochs,
                steps_per_epoch=rest,
                **options,
            )
    finally:
        batches.close()
    loss_after = math.nan if watch.fault else _loss_on(model, data.first)
    if watch.fault or not math.isfinite(loss_after):
        raise GrowthError(
            "The loss is no number any more at step "
            f"{watch.fault or watch.taken} of the operator's training. Lower "
            "its rate, or clip: LiGO(optimizer=keras.optimizers.Adam(1e-4, "
            f"clipnorm=1.0)). Received: learning_rate="
            f"{settings.learning_rate}, losses {history.history['loss']}"
        )
    return {
        "steps": watch.taken,
        "loss_before": loss_before,
        "losses": [float(v) for v in history.history["loss"]],
        "loss_after": loss_after,
        "moved": {
            name: _relative(value, before[name])
            for name, value in model.operator_values().items()
        },
        "seconds": time.perf_counter() - start,
        "flops": watch.taken * training_flops(model, inputs[0]),
    }


def _watched(batches, inputs):
    """Passes batches on, and keeps the shapes of the first one's inputs."""
    try:
        for batch in batches:
            if not inputs:
                inputs.append(_shapes(batch))
            yield batch
    finally:
        batches.close()


def _shapes(batch):
    """Shapes of a batch's inputs, the same in all batches."""
    inputs = keras.utils.unpack_x_y_sample_weight(batch)[0]
    return keras.tree.map_structure(
        lambda x: keras.KerasTensor(
            tuple(x.shape), keras.backend.standardize_dtype(x.dtype)
        ),
        inputs,
    )


def _loss_on(model, batch):
    x, y, weights = keras.utils.unpack_x_y_sample_weight(batch)
    logs = model.test_on_batch(x, y, weights, return_dict=True)
    return float(logs["loss"])


def _relative(after, before):
    """Norm of `after - before`, relative to that of `before`."""
    size = float(np.linalg.norm(before))
    moved = float(np.linalg.norm(after - before))
    return moved / size if size else moved


def _array(variable):
    """A value on the host, unless it lies in pieces on several devices."""
    value = backend.storage(variable)
    if backend.is_spread(value) and value.is_fully_replicated:
        return np.array(backend.to_numpy(variable))
    return _copy(variable)


def _copy(variable):
    # The variable's memory is freed after the fit.
    value = backend.storage(variable)
    if backend.is_spread(value):
        return backend.pieces.copy_of(value)
    return np.array(backend.to_numpy(variable))


def _initial(variable):
    """The value of a state variable, or its initial value."""
    if variable._value is not None:
        return _array(variable)
    value = variable._initializer(variable.shape, dtype=variable.dtype)
    return np.array(backend.to_numpy(value))
