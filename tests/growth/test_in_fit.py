"""Growth at every place in a run, against an oracle without a running `fit`.

The oracle stops at the event, grows there, builds a new model of the target
size, copies weights, optimizer state and random states into it, and trains on
with the same batches. Equal bits leave nothing to hide in.
"""

import gc
import weakref

import keras
import numpy as np
import pytest
from helpers.training import (
    BACKEND,
    BATCH,
    MODELS,
    STEPS,
    TARGETS,
    At,
    assert_same_state,
    batch,
    copy_state,
    dense_batch,
    mlp,
    state,
    train,
    with_optimizer,
)

from kgrow.algebra.rounding import tolerance

pytestmark = pytest.mark.compiles

WIDER = {"hidden_dim": 7, "intermediate_dim": 9}
DEEPER = {"num_layers": 4}
BOTH = TARGETS["mlp"]
EPOCHS = 2
VALIDATION = dense_batch(100)
# On torch, dropout draws from a global generator, and so does every epoch of
# `fit`, but not the oracle. That growth draws nothing has a law of its own.
CONFIG = {"dropout": 0.0} if BACKEND == "torch" else {}


def oracle(family, growths, name="Adam", config=None, **arguments):
    """The run without a running `fit`: `(model, logs of every step)`.

    Args:
        growths: list of `(steps done, target)`.
        name: of the optimizer.
        config: dict, what is built differently from the family's defaults.
        **arguments: of `compile()`.
    """
    make, config = MODELS[family], {**CONFIG, **(config or {})}
    model = with_optimizer(make(**config), name, **arguments)
    logs, growths = [], list(growths)
    for step in range(STEPS * EPOCHS):
        x, y = batch(model, step % STEPS)
        logs.append(model.train_on_batch(x, y, return_dict=True))
        while growths and growths[0][0] == step + 1:
            model.grow(growths.pop(0)[1], seed=1)
            large = make(**{**config, **model.growth_config})
            with_optimizer(large, name, **arguments)
            copy_state(model, large)
            model = large
    model.optimizer.finalize_variable_values(model.trainable_variables)
    return model, logs


def steps_done(place):
    """After how many steps a callback is called there."""
    kind, index = place
    return (index + 1) * (STEPS if kind == "epoch" else 1)


def growing(target):
    return lambda model: model.grow(target, seed=1)


def assert_follows_oracle(
    family, places, name="Adam", config=None, fit=None, **arguments
):
    """A `fit` with growths ends as the oracle does, logs and all."""
    growths = [(steps_done(p), target) for p, target in places.items()]
    model = MODELS[family](**{**CONFIG, **(config or {})})
    with_optimizer(model, name, **arguments)
    places = {p: growing(target) for p, target in places.items()}
    history = train(model, places, epochs=EPOCHS, **(fit or {})).history
    # `train_on_batch` is one step.
    arguments.pop("steps_per_execution", None)
    expected, logs = oracle(family, growths, name, config, **arguments)
    assert len(model.growth_history) == len(places)
    assert_same_state(model, expected)
    rounding = tolerance("float32", fan_in=STEPS * BATCH)
    for key in logs[0]:
        steps = np.reshape([log[key] for log in logs], (EPOCHS, STEPS))
        means = steps.mean(axis=1)
        assert np.all(abs(history[key] - means) <= rounding * abs(means))
    return model, history


PLACES = {
    "batch end": {("batch", 1): BOTH},
    "epoch end": {("epoch", 0): BOTH},
    "last batch of an epoch": {("batch", STEPS - 1): BOTH},
    "first batch": {("batch", 0): BOTH},
    "last batch of all": {("batch", EPOCHS * STEPS - 1): BOTH},
    "end of the last epoch": {("epoch", EPOCHS - 1): BOTH},
    "width, then depth": {("batch", 1): WIDER, ("batch", 3): DEEPER},
    "depth, then width at once": {
        ("batch", STEPS - 1): DEEPER,
        ("epoch", 0): WIDER,
    },
    "every step": {("batch", i): {"intermediate_dim": 7 + i} for i in range(4)},
}


@pytest.mark.grid
@pytest.mark.parametrize("name", PLACES)
def test_growth_at_every_place(name):
    assert_follows_oracle("mlp", PLACES[name])


@pytest.mark.grid
@pytest.mark.parametrize("family", MODELS)
def test_growth_of_every_kind_of_model(family):
    assert_follows_oracle(family, {("batch", 1): TARGETS[family]})


# After an odd number of steps: in the middle of accumulating gradients.
@pytest.mark.compiles
@pytest.mark.parametrize(
    "name",
    [
        "Adam accumulating",
        "Adam ema",
        "Adam schedule",
        "AdamW names excluded",
        "LossScaleOptimizer",
        "MultiOptimizer function",
        "MultiOptimizer map",
        "Adafactor",
        "Muon",
        "Nadam",
        "ScheduleFreeAdamW",
        "Foreign",
    ],
)
def test_growth_with_every_kind_of_optimizer(name):
    assert_follows_oracle("mlp", {("batch", 2): BOTH}, name)


SETTINGS = {
    "metrics": dict(metrics=["mae"]),
    "eager": dict(run_eagerly=True),
    "not jitted": dict(jit_compile=False),
    "several steps per execution": dict(steps_per_execution=2),
    "validation": dict(fit={"validation_data": VALIDATION}),
    "mixed_bfloat16": dict(config={"dtype": "mixed_bfloat16"}),
    "mixed_float16": dict(config={"dtype": "mixed_float16"}),
    "jitted": dict(jit_compile=True),
}
NOT_IN_KERAS = {
    ("torch", "several steps per execution"): "Keras refuses it on torch",
    ("jax", "mixed_float16"): "XLA has no float16 products on CPU",
}

# Torch's compilers, of Python and of C++, run for a minute and a half.
LONG = {("torch", "jitted")}


@pytest.mark.grid
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.slow] * ((BACKEND, n) in LONG))
        for n in SETTINGS
    ],
)
def test_growth_under_every_setting(name):
    if (BACKEND, name) in NOT_IN_KERAS:
        pytest.skip(NOT_IN_KERAS[BACKEND, name])
    _, history = assert_follows_oracle(
        "mlp", {("batch", 1): BOTH}, **SETTINGS[name]
    )
    lengths = {key: len(values) for key, values in history.items()}
    assert set(lengths.values()) == {EPOCHS}, lengths


@pytest.mark.compiles
@pytest.mark.parametrize("shuffled", [True, False])
def test_data_in_arrays_keep_their_order(shuffled):
    """Growth draws nothing from what shuffles the data or drops units."""
    x, y = map(
        np.concatenate, zip(*map(dense_batch, range(STEPS)), strict=True)
    )
    runs = []
    for places in ({}, {("batch", 1): lambda model: model.grow({})}):
        model = with_optimizer(mlp(), "Adam")
        history = model.fit(
            x,
            y,
            batch_size=BATCH,
            epochs=EPOCHS,
            shuffle=shuffled,
            callbacks=[At(places)],
            verbose=0,
        )
        runs.append((state(model), history.history["loss"]))
    assert_same_state(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]


def test_dropout_is_active_in_fit():
    losses = []
    for rate in (0.0, 0.5):
        model = with_optimizer(mlp(), "SGD")
        for layer in model.network.residual_layers:
            layer.output_dropout.rate = rate
        losses.append(train(model, epochs=1).history["loss"])
    assert losses[0] != losses[1]


OUTSIDE = {
    "before compile": lambda model, grow: (
        grow(model),
        with_optimizer(model, "Adam"),
        train(model),
    ),
    "before the first fit": lambda model, grow: (
        with_optimizer(model, "Adam"),
        grow(model),
        train(model),
    ),
    "with a built optimizer": lambda model, grow: (
        with_optimizer(model, "Adam"),
        model.optimizer.build(model.trainable_variables),
        grow(model),
        train(model),
    ),
    "at the start of fit": lambda model, grow: (
        with_optimizer(model, "Adam"),
        train(model, callbacks=[Starting(grow)]),
    ),
}


class Starting(keras.callbacks.Callback):
    """Calls an action before the first step."""

    def __init__(self, action):
        super().__init__()
        self.action = action

    def on_train_begin(self, logs=None):
        self.action(self.model)


@pytest.mark.parametrize("when", OUTSIDE)
def test_growth_before_training(when):
    model = mlp(**CONFIG)
    OUTSIDE[when](model, growing(BOTH))
    small, large = mlp(**CONFIG), mlp(**CONFIG, **BOTH)
    small.grow(BOTH, seed=1)
    for old, new in zip(small.variables, large.variables, strict=True):
        new.assign(keras.ops.copy(old.value))
    train(with_optimizer(large, "Adam"))
    assert_same_state(model, large)


def test_growth_between_fits():
    expected, _ = oracle("mlp", [(STEPS, BOTH)])
    model = with_optimizer(mlp(**CONFIG), "Adam")
    train(model, epochs=1)
    model.grow(BOTH, seed=1)
    train(model, epochs=1)
    assert_same_state(model, expected)


@pytest.mark.each
def test_evaluate_and_predict_see_the_grown_model():
    model = with_optimizer(mlp(**CONFIG), "Adam")
    x, y = VALIDATION
    before = model.predict(x, verbose=0)
    loss = model.evaluate(x, y, verbose=0)
    model.grow(BOTH, data=VALIDATION, seed=1)
    rounding = tolerance("float32", fan_in=BOTH["intermediate_dim"], depth=4)
    close = rounding * np.abs(before).max()
    assert np.abs(model.predict(x, verbose=0) - before).max() <= close
    assert abs(model.evaluate(x, y, verbose=0) - loss) <= 2 * rounding * loss
    model.grow({"hidden_dim": 8}, "random", seed=1)
    after = model.predict(x, verbose=0)
    network = keras.ops.convert_to_numpy(model.network(x))
    assert np.abs(after - network).max() <= rounding * np.abs(network).max()
    assert np.abs(after - before).max() > close


@pytest.mark.each
def test_counters_and_rates_go_on():
    seen = []

    def look(model):
        optimizer = model.optimizer
        rate = keras.ops.convert_to_numpy(optimizer.learning_rate)
        seen.append((int(optimizer.iterations), float(rate)))

    def grow(model):
        look(model)
        model.grow(BOTH)
        look(model)

    model = with_optimizer(mlp(), "Adam", rate=0.25)
    history = train(model, {("batch", 1): grow, ("epoch", 1): look})
    assert seen == [(2, 0.25), (2, 0.25), (STEPS * EPOCHS, 0.25)]
    assert history.epoch == list(range(EPOCHS))
    assert history.model is model


def test_a_callback_list_is_a_list_of_callbacks():
    model = with_optimizer(mlp(), "Adam")
    callbacks = keras.callbacks.CallbackList(
        [At({("epoch", 0): growing(BOTH)})], add_history=True, model=model
    )
    history = model.fit(
        *VALIDATION, epochs=EPOCHS, callbacks=callbacks, verbose=0
    )
    assert history.history["growths"] == [1, 1]


@pytest.mark.each
@pytest.mark.skipif(BACKEND != "jax", reason="others count references")
def test_old_buffers_are_given_back():
    """Also while the loop of `fit` still refers to them."""
    old = []

    def grow(model):
        model.jax_state_sync()
        slots = model.optimizer.variables[2:]
        old.extend(v.value for v in [*model.network.weights, *slots])
        model.grow(BOTH)
        assert all(array.is_deleted() for array in old)

    train(with_optimizer(mlp(), "Adam"), {("batch", 1): grow})
    assert old


@pytest.mark.each
def test_the_old_network_is_forgotten():
    model = with_optimizer(mlp(), "Adam")
    old = []

    def grow(model):
        old.append(weakref.ref(model.network))
        old.extend(weakref.ref(w) for w in model.network.weights)
        old.extend(weakref.ref(v) for v in model.optimizer.variables[2:])
        model.grow(BOTH)

    train(model, {("batch", 1): grow})
    gc.collect()
    assert old and not [ref() for ref in old if ref() is not None]


@pytest.mark.skipif(BACKEND != "torch", reason="modules are torch's")
def test_parameters_are_those_of_the_grown_network():
    model = with_optimizer(mlp(), "Adam")
    train(model, {("batch", 1): growing(BOTH)})
    parameters = {id(p) for p in model.parameters()}
    assert parameters == {id(v.value) for v in model.variables}
