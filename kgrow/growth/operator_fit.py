"""Fitting a learned operator: an ordinary Keras `fit` of a model whose weights
are the operator's.

The model expands the small network's weights by the operator, in every step
anew, and computes with the grown network what that would have computed: its
own variables are replaced by the expanded tensors and never get values. What
the optimizer sees is the operator alone.
"""

import math
import re
import time

import keras
import numpy as np
from keras import ops

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.backend.flops import training_flops
from kgrow.backend.keras_internals import set_untracked
from kgrow.backend.lazy_variables import give_value, without_values


class OperatorModel(keras.Model):
    """A network whose weights are made by an operator from smaller ones.

    Args:
        parameters: dict from names to arrays, the operator's initial values.
        make_plan: function from such a dict, of tensors, to a `Plan`.
        values: dict from paths to arrays, the small network's weights; or to
            its variables, of which only shapes and places are taken, for a
            step that is lowered and not run.
        network: the grown network; its weights need no values.
        loss_with: function, see `NetworkTraining.loss_with()`.
        tune_small: bool, whether the small network's weights train as well.
    """

    def __init__(
        self,
        parameters,
        make_plan,
        values,
        network,
        loss_with,
        tune_small=False,
    ):
        super().__init__(name="operator", dtype=network.dtype_policy)
        self._make_plan = make_plan
        self._loss_with = loss_with
        # The network's penalties, from a forward pass to the loss of it.
        set_untracked(self, "_penalties", [])
        weights = {id(w) for w in grown_weights(network)}
        states = [v for v in network.variables if id(v) not in weights]
        # The network is used, its variables are not ours.
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
        # A copy: a backend may take host memory over as it is, and what is
        # trained here must not be what the model holds.
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

    def build(self, input_shape=None):
        del input_shape

    def operator_values(self):
        """The operator's values now, as arrays."""
        return {n: _array(v) for n, v in self._operator.items()}

    def small_values(self):
        """The small network's weights now, each where it lies."""
        return {p: _copy(v) for p, v in self._small.items()}

    def call(self, inputs, training=None):
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
        """The grown network's weights, as the operator makes them now."""
        plan = self._make_plan(
            {n: ops.convert_to_tensor(v) for n, v in self._operator.items()}
        )
        small = {p: ops.convert_to_tensor(v) for p, v in self._small.items()}
        return plan.apply(small)

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        # Trackers inside the compiled loss must not see these batches.
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
    """Keeps a network from being tracked as a part of what holds it."""

    def __init__(self, network, states):
        self.network = network
        self.states = states


class _Watch(keras.callbacks.Callback):
    """Ends the fit when the loss is no number, or no longer falls."""

    def __init__(self, patience):
        super().__init__()
        self.patience = patience
        self.taken, self.best, self.waited = 0, math.inf, 0
        self.fault = None

    def on_train_batch_end(self, batch, logs=None):
        self.taken += 1
        if not math.isfinite(float(logs["loss"])):
            self.fault = self.taken
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        if self.patience is None or self.fault:
            return
        if logs["loss"] < self.best:
            self.best, self.waited = logs["loss"], 0
            return
        self.waited += 1
        if self.waited >= self.patience:
            self.model.stop_training = True


def fit_operator(model, before, data, settings, seed=0):
    """Fits an `OperatorModel`.

    Args:
        model: `OperatorModel`.
        before: dict of arrays, the parameters that it was made with.
        data: `Data`.
        settings: what says how: `steps`, `batch_size`, `patience`,
            `verbose`, `callbacks` and `make_optimizer()`, as a strategy that
            learns has them.
        seed: int, of the order of the data.

    Returns:
        dict with the loss before, during and after, the steps taken, how far
        each part of the operator moved, and the seconds and FLOPs spent.

    Raises:
        GrowthError: the loss is no finite number.
    """
    start = time.perf_counter()
    model.compile(optimizer=settings.make_optimizer())
    loss_before = _loss_on(model, data.first)
    # Ten figures are enough of a curve.
    per_epoch = max(1, settings.steps // 10)
    watch = _Watch(settings.patience)
    history = keras.callbacks.History()
    epochs, rest = divmod(settings.steps, per_epoch)
    inputs = []
    batches = _watched(data.batches(settings.batch_size, seed), inputs)
    options = dict(
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
    """The batches, the first one's inputs noted down as shapes."""
    try:
        for batch in batches:
            if not inputs:
                inputs.append(_shapes(batch))
            yield batch
    finally:
        batches.close()


def _shapes(batch):
    """What a batch's inputs look like; all batches are as large."""
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
    """Length of the step from `before`, relative to it."""
    size = float(np.linalg.norm(before))
    moved = float(np.linalg.norm(after - before))
    return moved / size if size else moved


def _array(variable):
    """A value on the host, unless no device has the whole of it."""
    value = backend.storage(variable)
    if backend.is_spread(value) and value.is_fully_replicated:
        return np.array(ops.convert_to_numpy(variable))
    return _copy(variable)


def _copy(variable):
    # The variable's memory is given back after the fit.
    value = backend.storage(variable)
    if backend.is_spread(value):
        return backend.pieces.copy_of(value)
    return np.array(ops.convert_to_numpy(variable))


def _initial(variable):
    """The initial value of a state that may have none yet."""
    if variable._value is not None:
        return _array(variable)
    value = variable._initializer(variable.shape, dtype=variable.dtype)
    return np.array(ops.convert_to_numpy(value))
