"""Models with everything that a file has to bring back, and the files."""

import contextlib
import copy
import hashlib
import json
import warnings

import keras
import numpy as np
import pytest

import kgrow
from helpers.training import (
    BACKEND,
    At,
    assert_same_state,
    compiled,
    mlp,
    state,
    train,
)
from kgrow.callbacks import Growth
from kgrow.growth.saving.growth_state import state_of
from kgrow.schedules import Asymmetric, Constant, GrowthSchedule, Rewarm, Stage
from kgrow.schedules.learning_rate import apply_policies

# On torch Keras draws dropout from a global generator, which no file holds.
DROPOUT = 0.0 if BACKEND == "torch" else 0.1


@keras.saving.register_keras_serializable("kgrow_tests")
def two_dense(units):
    """What the `ModelBuilder` builds."""
    return keras.Sequential(
        [
            keras.Input((5,)),
            keras.layers.Dense(units, activation="relu", name="inner"),
            keras.layers.Dropout(DROPOUT, name="dropout"),
            keras.layers.Dense(3, name="outer"),
        ],
        name="network",
    )


@keras.saving.register_keras_serializable("kgrow_tests")
class OwnModel(keras.Model):
    """A user's own class, whose axes nobody has written down."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.inner = keras.layers.Dense(units, activation="relu")
        self.dropout = keras.layers.Dropout(DROPOUT)
        self.outer = keras.layers.Dense(3)
        self.build((None, 5))

    def build(self, input_shape):
        self.inner.build(input_shape)
        self.outer.build((None, self.units))
        self.built = True

    def call(self, x, training=None):
        return self.outer(self.dropout(self.inner(x), training=training))

    def example_inputs(self, batch_size, seed=0):
        rng = np.random.default_rng(seed)
        return rng.standard_normal((batch_size, 5)).astype("float32")

    def get_config(self):
        return {**super().get_config(), "units": self.units}


def _derived():
    return kgrow.GrowableModel(OwnModel(4))


def _blueprint():
    axes = {
        "inner/kernel": "_ -> units",
        "inner/bias": "-> units",
        "outer/kernel": "units -> _",
        "outer/bias": "-> _",
    }
    blueprint = kgrow.ModelBuilder(two_dense, {"units": 4})
    return kgrow.GrowableModel(blueprint, axes)


def _task():
    import keras_hub

    backbone = keras_hub.models.ViTBackbone(
        image_shape=(4, 4, 3),
        patch_size=2,
        num_layers=1,
        num_heads=2,
        hidden_dim=4,
        mlp_dim=6,
    )
    return kgrow.GrowableModel(
        keras_hub.models.ViTImageClassifier(backbone, num_classes=3)
    )


# The constructor call alone, which a resuming process knows.
MAKERS = {
    "family": lambda: mlp(dropout=DROPOUT),
    "derived": _derived,
    "blueprint": _blueprint,
    "task": _task,
}
# Deriving axes takes its time, above all in a process of its own.
SLOW = {"task"} if BACKEND == "jax" else {"task", "derived"}
KINDS = [
    pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW))
    for kind in MAKERS
]
LARGER = {
    "family": {"hidden_dim": 7, "num_layers": 3},
    "derived": {"units": 7},
    "blueprint": {"units": 7},
    "task": {"num_layers": 2, "mlp_dim": 9},
}


def make(kind):
    """A small model that nobody has trained, compiled."""
    keras.utils.set_random_seed(0)
    optimizer = keras.optimizers.Adam(Constant(0.01))
    if kind != "task":
        return compiled(MAKERS[kind](), optimizer)
    model = MAKERS[kind]()
    model.compile(
        optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    return model


def fit(kind, model, places=(), epochs=2, offset=0, **arguments):
    """Trains on fixed data, the same for the same `offset`."""
    if kind != "task":
        return train(model, places, epochs, offset=offset, **arguments)
    rng = np.random.default_rng(offset)
    x = rng.standard_normal((4, 4, 4, 3)).astype("float32")
    callbacks = [At(places), *arguments.pop("callbacks", ())]
    return model.fit(
        x,
        np.arange(4) % 3,
        batch_size=4,
        epochs=epochs,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
        **arguments,
    )


def grow(kind, model):
    """Makes it larger."""
    model.grow(LARGER[kind], seed=1)


def rich():
    """A model in the middle of everything that a growth may begin: a ramp, a
    schedule, entries that rest, layers that were frozen by hand, entries at
    another pace, a bent learning rate, a training option."""
    model = make("family")
    model.network.output_dense.trainable = False
    stages = [
        Stage(2, {"num_layers": 2}),
        Stage(
            4,
            {"intermediate_dim": 9},
            kgrow.strategies.MSG(ramp=50),
            learning_rate=[Rewarm(10), Asymmetric(old=0.5, steps=20)],
        ),
        Stage(
            99,
            {"num_layers": 3},
            "stack",
            trainable="new",
            training_options={"dropout": 2 * DROPOUT},
        ),
    ]
    with warnings.catch_warnings():
        # The ramp goes on through the next growth, as it is meant to.
        warnings.simplefilter("ignore", UserWarning)
        growth = Growth(GrowthSchedule(stages), verbose=0)
        train(model, epochs=2, callbacks=[growth])
    architecture = model.architecture
    assert (
        model.active_gates
        and architecture.frozen
        and architecture.update_scales
    )
    assert len(model.growth_history) == 2 and model.callback_state
    return model


def taught():
    """A model that a small one teaches."""
    model = make("family")
    train(model, epochs=1)
    model.grow(
        {"hidden_dim": 7},
        kgrow.strategies.KnowledgeInheritance(steps=20),
        seed=1,
    )
    train(model, epochs=1)
    assert model.teacher is not None
    return model


def fresh_for(model):
    """What a process has that knows only the constructor call."""
    small = make("family")
    small.network.output_dense.trainable = model.network.output_dense.trainable
    return small


def assert_same_model(left, right):
    """Two models agree in everything that a file is to hold."""
    one, other = state_of(left), state_of(right)
    for each in (one, other):
        # Their names may be ones that Keras makes up.
        each["seeds"] = list(each["seeds"].values())
    for key in one:
        assert one[key] == other[key], key
    assert_same_state(left, right)
    assert type(left) is type(right)


def digest(model):
    """A hash of all that `assert_same_model()` compares, for a model of
    another process."""
    found = state_of(model)
    found["seeds"] = list(found["seeds"].values())
    made = hashlib.sha256(json.dumps(found, sort_keys=True).encode())
    for value in state(model).values():
        made.update(f"{value.dtype} {value.shape}".encode())
        made.update(np.ascontiguousarray(value).tobytes())
    return made.hexdigest()


def assert_trains_on_alike(kind, *models):
    """They go on to the same weights, random states and schedules alike."""
    for model in models:
        apply_policies.restore(model)
        fit(kind, model, epochs=1, offset=50)
    for model in models[1:]:
        assert_same_state(models[0], model)


@contextlib.contextmanager
def assert_unchanged(model):
    """Context after which a model is what it was, to the bit: values and the
    variables that hold them, state, and the functions that are compiled."""
    before, plain = state(model), copy.deepcopy(state_of(model))
    config = copy.deepcopy(model.get_config())
    same = _identities(model)
    yield
    assert _identities(model) == same
    assert_same_state(model, before)
    assert state_of(model) == plain
    assert model.get_config() == config


def _identities(model):
    optimizer = model.optimizer
    held = [
        model.network,
        model.optimizer,
        model.callback_state,
        model.train_function,
        model.test_function,
        model.predict_function,
        *model.variables,
        *optimizer.variables,
        *(v for v in model.variables if v.trainable),
    ]
    names = [name for name in vars(optimizer) if "load" in name]
    return [id(each) for each in held], names


def save_orbax(model, folder, **options):
    """What the callback writes at the end of an epoch."""
    callback = keras.callbacks.OrbaxCheckpoint(
        folder, save_on_background=False, **options
    )
    callback.set_model(model)
    callback.on_epoch_end(0)
    callback.on_train_end()
    return folder
