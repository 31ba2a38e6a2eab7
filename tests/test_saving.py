"""Files of grown models, and runs that go on from them."""

import keras
import numpy as np
import pytest
from fit_helpers import (
    MODELS,
    STEPS,
    TARGETS,
    assert_same_state,
    mlp,
    state,
    train,
    values,
    with_optimizer,
)

# Without dropout: Keras' files do not hold the states of random generators.
CONFIG = {"dropout": 0.0}
WIDER = {"hidden_dim": 7, "intermediate_dim": 9}


def grown(family="mlp", name="Adam", target=None):
    """A model that grew between two epochs."""
    model = with_optimizer(MODELS[family](**CONFIG), name)
    target = target or TARGETS[family]
    train(model, {("epoch", 0): lambda m: m.grow(target, seed=1)})
    return model


def assert_trains_on_alike(left, right):
    train(left, epochs=1, offset=50)
    train(right, epochs=1, offset=50)
    assert_same_state(left, right)


@pytest.mark.parametrize("family", MODELS)
def test_a_grown_model_is_a_keras_file(family, tmp_path):
    model = grown(family)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.growth_config == model.growth_config
    assert loaded.growth_history == model.growth_history
    assert_same_state(loaded, model)
    assert_trains_on_alike(loaded, model)


def test_a_loaded_model_grows_on(tmp_path):
    model = grown()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.grow({"hidden_dim": 10}, seed=2)
    assert len(loaded.growth_history) == 2
    assert_trains_on_alike(loaded, model)


RESUMED = [
    "Adam",
    "Adam accumulating",
    "Adam ema",
    "Adam schedule",
    "Adafactor",
    "AdamW variables excluded",
    "Foreign",
    "LossScaleOptimizer",
    "MultiOptimizer map",
    "MultiOptimizer function",
    "Nadam",
    "ScheduleFreeAdamW",
]


# Not with averages: Keras on JAX cannot train on after a `fit` that ended in
# them, as weights and averages then share their arrays.
@pytest.mark.parametrize("name", [n for n in RESUMED if n != "Adam ema"])
def test_weights_make_a_small_model_large(name, tmp_path):
    model = grown(name=name)
    model.save_weights(tmp_path / "large.weights.h5")
    fresh = with_optimizer(mlp(**CONFIG), name)
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(tmp_path / "large.weights.h5")
    assert fresh.growth_config == model.growth_config
    assert fresh.growth_history == model.growth_history
    assert_same_state(fresh, model)
    assert_trains_on_alike(fresh, model)


def test_weights_load_without_an_optimizer(tmp_path):
    model = grown()
    model.save_weights(tmp_path / "large.weights.h5")
    fresh = mlp(**CONFIG)
    fresh.load_weights(tmp_path / "large.weights.h5")
    assert fresh.growth_config == model.growth_config
    for left, right in zip(
        values(fresh.variables), values(model.variables), strict=True
    ):
        np.testing.assert_array_equal(left, right)


def test_weights_of_before_bring_back_the_small_model(tmp_path):
    path = tmp_path / "small.weights.h5"
    model = with_optimizer(mlp(**CONFIG), "Adam")
    train(model, epochs=1)
    small = state(model)
    model.save_weights(path)
    model.grow(TARGETS["mlp"])
    train(model, epochs=1)
    model.load_weights(path)
    assert model.growth_config == mlp().growth_config
    assert not model.growth_history
    assert_same_state(model, small)


class Killed(Exception):
    """What ends a run in the middle."""


def kill(model):
    raise Killed


@pytest.mark.parametrize("died", [1, 3])
@pytest.mark.parametrize("name", RESUMED)
def test_a_killed_run_goes_on(name, died, tmp_path):
    """Killed in the epoch before the growth is due, or in one after it."""
    growth = {("epoch", 1): lambda model: model.grow(WIDER, seed=1)}
    death = {("batch", died * STEPS): kill}

    def run(places):
        model = with_optimizer(mlp(**CONFIG), name)
        # Callbacks run in order: what is kept is the grown model.
        backup = keras.callbacks.BackupAndRestore(tmp_path)
        train(model, places, epochs=4, callbacks=[backup])
        return model

    with pytest.raises(Killed):
        run({**growth, **death})
    resumed = run(growth)
    expected = with_optimizer(mlp(**CONFIG), name)
    train(expected, growth, epochs=4)
    assert_same_state(resumed, expected)
    assert len(resumed.growth_history) == 1
