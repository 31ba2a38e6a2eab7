"""Networks of every kind that Keras knows, with data, and names of axes.

Each is small, trains in a few milliseconds, and gives axes for all of its
variables, so that nothing has to be derived.
"""

import dataclasses

import keras
import numpy as np
from keras import layers, ops

from kgrow import AxisMap, Dim

BACKEND = keras.backend.backend()
ROWS, FEATURES, UNITS, OUTPUTS = 8, 4, 6, 3


@dataclasses.dataclass
class Case:
    """A network and how it is trained.

    Args:
        make: function to a built network.
        axes: dict of rules, or an `AxisMap`.
        data: function to `(x, y)`.
        compile: function to the arguments of `compile()`.
    """

    make: object
    axes: object
    data: object = None
    compile: object = None

    def batch(self):
        return (self.data or rows)()

    def compiled(self, model):
        arguments = (self.compile or plain)()
        model.compile(keras.optimizers.Adam(0.01), **arguments)
        return model


CASES = {}


def _case(axes, **options):
    def register(make):
        CASES[make.__name__] = Case(make, axes, **options)
        return make

    return register


def plain():
    return {"loss": "mse"}


def rows():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, FEATURES)).astype("float32")
    return x, np.tanh(x[:, :OUTPUTS] - x[:, 1:])


def sequences():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 5, FEATURES)).astype("float32")
    return x, x[:, -1, :OUTPUTS]


def images():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 6, 6, 2)).astype("float32")
    return x, x[:, 0, :3, 0]


def shifted():
    x, y = rows()
    return 100 + 10 * x, y


def two_inputs():
    x, y = rows()
    return {"left": x, "right": x[::-1].copy()}, y


def two_outputs():
    x, y = rows()
    return x, {"mean": y, "sign": (y[:, :1] > 0).astype("float32")}


def losses_by_name():
    return {
        "loss": {"mean": "mse", "sign": "binary_crossentropy"},
        "loss_weights": {"mean": 1.0, "sign": 0.5},
        "metrics": {"mean": ["mae"], "sign": ["accuracy", "auc"]},
    }


def with_metrics():
    return {
        "loss": "mse",
        "metrics": ["mae", keras.metrics.R2Score()],
        "weighted_metrics": ["mape"],
    }


DENSE = {
    "inner/kernel": "_ -> units",
    "inner/bias": "-> units",
    "outer/kernel": "units -> _",
    "outer/bias": "-> _",
}


def _input():
    return keras.Input((FEATURES,), name="rows")


def _inner(x, **options):
    return layers.Dense(UNITS, "tanh", name="inner", **options)(x)


def _outer(x, **options):
    return layers.Dense(OUTPUTS, name="outer", **options)(x)


@_case(DENSE)
def functional():
    x = _input()
    return keras.Model(x, _outer(_inner(x)))


@_case(DENSE, compile=with_metrics)
def sequential():
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(UNITS, "tanh", name="inner"),
            layers.Dense(OUTPUTS, name="outer"),
        ]
    )


@keras.saving.register_keras_serializable("kgrow_tests")
class Subclass(keras.Model):
    """Two layers, built at once."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = layers.Dense(units, "tanh", name="inner")
        self.outer = layers.Dense(OUTPUTS, name="outer")
        self.build((None, FEATURES))

    def build(self, input_shape):
        self.inner.build(input_shape)
        self.outer.build((None, self.units))
        self.built = True

    def call(self, x):
        return self.outer(self.inner(x))

    def example_inputs(self, batch_size, seed=0):
        rng = np.random.default_rng(seed)
        return rng.standard_normal((batch_size, FEATURES)).astype("float32")

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@_case(DENSE)
def subclassed():
    return Subclass(UNITS)


@_case({**DENSE, **{f"body/{k}": v for k, v in DENSE.items() if "in" in k}})
def nested():
    x = _input()
    body = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(UNITS, "tanh", name="inner"),
        ],
        name="body",
    )
    return keras.Model(x, _outer(body(x)))


@_case(
    {
        "left_dense/kernel": "_ -> units",
        "left_dense/bias": "-> units",
        "right_dense/kernel": "_ -> units",
        "right_dense/bias": "-> units",
        "outer/kernel": "units -> _",
        "outer/bias": "-> _",
    },
    data=two_inputs,
)
def multi_input():
    inputs = {n: keras.Input((FEATURES,), name=n) for n in ("left", "right")}
    branches = [
        layers.Dense(UNITS, "tanh", name=f"{n}_dense")(x)
        for n, x in inputs.items()
    ]
    return keras.Model(inputs, _outer(layers.Add()(branches)))


@_case(
    {
        "inner/kernel": "_ -> units",
        "inner/bias": "-> units",
        "mean/kernel": "units -> _",
        "mean/bias": "-> _",
        "sign/kernel": "units -> _",
        "sign/bias": "-> _",
    },
    data=two_outputs,
    compile=losses_by_name,
)
def multi_output():
    x = _input()
    y = _inner(x)
    return keras.Model(
        x,
        {
            "mean": layers.Dense(OUTPUTS, name="mean")(y),
            "sign": layers.Dense(1, "sigmoid", name="sign")(y),
        },
    )


@keras.saving.register_keras_serializable("kgrow_tests")
class OwnLoss(keras.Model):
    """A Functional subclass whose loss is its own."""

    def compute_loss(
        self, x=None, y=None, y_pred=None, sample_weight=None, training=True
    ):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        return loss + 1000.0


@_case(DENSE)
def own_loss():
    x = _input()
    return OwnLoss(x, _outer(_inner(x)))


@keras.saving.register_keras_serializable("kgrow_tests")
class OwnMetrics(keras.Model):
    """A Functional subclass that counts and reports on its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.size = keras.metrics.Mean(name="size")

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        self.size.update_state(ops.mean(ops.abs(y_pred)))
        result = super().compute_metrics(x, y, y_pred, sample_weight)
        return {**result, "twice": 2 * self.size.result()}


@_case(DENSE, compile=with_metrics)
def own_metrics():
    x = _input()
    return OwnMetrics(x, _outer(_inner(x)))


@keras.saving.register_keras_serializable("kgrow_tests")
class OwnStep(Subclass):
    """A step as Keras' guides write one for each backend."""

    def build(self, input_shape):
        self.tracker = keras.metrics.Mean(name="own")
        super().build(input_shape)

    @property
    def metrics(self):
        return [self.tracker]

    def _own_loss(self, y, y_pred):
        return ops.mean(ops.abs(ops.subtract(y, y_pred))) + 7.0

    if BACKEND == "torch":

        def train_step(self, data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            self.zero_grad()
            loss = self._own_loss(y, self(x, training=True))
            loss.backward()
            weights = self.trainable_weights
            import torch

            with torch.no_grad():
                self.optimizer.apply([w.value.grad for w in weights], weights)
            self.tracker.update_state(loss)
            return {"own": self.tracker.result()}

        def test_step(self, data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            self.tracker.update_state(self._own_loss(y, self(x)))
            return {"own": self.tracker.result()}

    elif BACKEND == "tensorflow":

        def train_step(self, data):
            import tensorflow as tf

            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            with tf.GradientTape() as tape:
                loss = self._own_loss(y, self(x, training=True))
            weights = self.trainable_weights
            self.optimizer.apply(tape.gradient(loss, weights), weights)
            self.tracker.update_state(loss)
            return {"own": self.tracker.result()}

        def test_step(self, data):
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            self.tracker.update_state(self._own_loss(y, self(x)))
            return {"own": self.tracker.result()}

    else:

        def _stateless_loss(self, trainable, others, x, y):
            y_pred, others = self.stateless_call(trainable, others, x)
            return self._own_loss(y, y_pred), others

        def train_step(self, state, data):
            import jax

            trainable, others, optimizer, metrics = state
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            grad = jax.value_and_grad(self._stateless_loss, has_aux=True)
            (loss, others), grads = grad(trainable, others, x, y)
            trainable, optimizer = self.optimizer.stateless_apply(
                optimizer, grads, trainable
            )
            metrics = self.tracker.stateless_update_state(metrics, loss)
            logs = {"own": self.tracker.stateless_result(metrics)}
            return logs, (trainable, others, optimizer, metrics)

        def test_step(self, state, data):
            trainable, others, metrics = state
            x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
            loss, others = self._stateless_loss(trainable, others, x, y)
            metrics = self.tracker.stateless_update_state(metrics, loss)
            logs = {"own": self.tracker.stateless_result(metrics)}
            return logs, (trainable, others, metrics)


@_case(DENSE)
def own_step():
    return OwnStep(UNITS)


@_case(DENSE)
def regularised():
    x = _input()
    y = _inner(
        x,
        kernel_regularizer=keras.regularizers.L2(0.1),
        activity_regularizer=keras.regularizers.L1(0.01),
    )
    return keras.Model(x, _outer(y, bias_regularizer="l2"))


@_case(
    {
        "adapted/mean": "-> _",
        "adapted/variance": "-> _",
        "adapted/count": "->",
        **DENSE,
    },
    data=shifted,
)
def adapted():
    norm = layers.Normalization(name="adapted")
    norm.adapt(shifted()[0])
    x = _input()
    return keras.Model(x, _outer(_inner(norm(x))))


@_case(DENSE)
def seeded():
    x = _input()
    y = layers.Dropout(0.3, seed=3, name="dropout")(_inner(x))
    return keras.Model(x, _outer(layers.GaussianNoise(0.1, seed=5)(y)))


@_case(
    {
        "inner/kernel": "_ -> units",
        "inner/bias": "-> units",
        "norm/gamma": "-> units | scale",
        "norm/beta": "-> units",
        "norm/moving_mean": "-> units",
        "norm/moving_variance": "-> units",
        "outer/kernel": "units -> _",
        "outer/bias": "-> _",
    },
    compile=with_metrics,
)
def batch_normalised():
    x = _input()
    y = layers.BatchNormalization(name="norm", momentum=0.5)(_inner(x))
    return keras.Model(x, _outer(y))


@_case(
    {
        "gru/gru_cell/kernel": "_ -> _",
        "gru/gru_cell/recurrent_kernel": "_ -> _",
        "gru/gru_cell/bias": "_ -> _",
        "outer/kernel": "_ -> _",
        "outer/bias": "-> _",
    },
    data=sequences,
)
def recurrent():
    x = keras.Input((None, FEATURES))
    return keras.Model(x, _outer(layers.GRU(UNITS, name="gru")(x)))


@_case(
    {
        "conv/kernel": "_ _ _ -> channels",
        "conv/bias": "-> channels",
        "outer/kernel": "channels -> _",
        "outer/bias": "-> _",
    },
    data=images,
)
def convolutional():
    x = keras.Input((6, 6, 2))
    y = layers.Conv2D(UNITS, 3, activation="relu", name="conv")(x)
    return keras.Model(x, _outer(layers.GlobalAveragePooling2D()(y)))


@_case(
    AxisMap(
        {
            "inner/kernel": "_ -> units",
            "inner/bias": "-> units",
            "shared/kernel": "units -> units",
            "shared/bias": "-> units",
            "outer/kernel": "units -> _",
            "outer/bias": "-> _",
        },
        dims=[Dim("units")],
    )
)
def shared():
    x = _input()
    layer = layers.Dense(UNITS, "tanh", name="shared")
    return keras.Model(x, _outer(layer(layer(_inner(x)))))
