"""Files of grown models, and runs that go on from them."""

import keras
import numpy as np
import pytest
from helpers.saved_models import (
    KINDS,
    assert_same_model,
    assert_trains_on_alike,
    fit,
    fresh_for,
    grow,
    make,
    rich,
    taught,
)
from helpers.training import (
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

pytestmark = pytest.mark.compiles

# Without dropout, which torch draws from a generator that no file holds.
CONFIG = {"dropout": 0.0}
WIDER = {"hidden_dim": 7, "intermediate_dim": 9}


def grown(family="mlp", name="Adam", target=None):
    """A model that grew between two epochs."""
    model = with_optimizer(MODELS[family](**CONFIG), name)
    target = target or TARGETS[family]
    train(model, {("epoch", 0): lambda m: m.grow(target, seed=1)})
    return model


@pytest.mark.parametrize("family", MODELS)
def test_a_grown_model_is_a_keras_file(family, tmp_path):
    model = grown(family)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert loaded.growth_config == model.growth_config
    assert loaded.growth_history == model.growth_history
    assert_same_state(loaded, model)
    assert_trains_on_alike("family", loaded, model)


def test_a_loaded_model_grows_on(tmp_path):
    model = grown()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for each in (model, loaded):
        each.grow({"hidden_dim": 10}, seed=2)
    assert len(loaded.growth_history) == 2
    assert_trains_on_alike("family", loaded, model)


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
@pytest.mark.compiles
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
    assert_trains_on_alike("family", fresh, model)


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


@pytest.mark.each
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


@pytest.mark.sample
@pytest.mark.grid
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


@pytest.mark.grid
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_comes_back(kind, tmp_path):
    model = make(kind)
    fit(kind, model, {("epoch", 0): lambda model: grow(kind, model)})
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_model(loaded, model)
    # As small as it was made, its optimizer not even built.
    fresh = make(kind)
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert_same_model(fresh, model)
    assert_trains_on_alike(kind, model, fresh)


@pytest.mark.grid
@pytest.mark.parametrize("state_of_things", [rich, taught])
def test_everything_that_is_under_way_comes_back(state_of_things, tmp_path):
    model = state_of_things()
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_same_model(loaded, model)
    fresh = fresh_for(model)
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert_same_model(fresh, model)
    assert_trains_on_alike("family", model, fresh)


def test_weights_in_parts_come_back(tmp_path):
    model = grown()
    model.save_weights(tmp_path / "model.weights.json", max_shard_size=2e-6)
    assert len(list(tmp_path.iterdir())) > 2
    fresh = with_optimizer(mlp(**CONFIG), "Adam")
    fresh.load_weights(tmp_path / "model.weights.json")
    assert_same_model(fresh, model)


def test_layers_frozen_by_hand_stay_frozen_where_a_file_has_them_train(
    tmp_path,
):
    model = grown()
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = mlp(**CONFIG)
    fresh.network.input_dense.trainable = False
    fresh.load_weights(tmp_path / "model.weights.h5")
    assert not fresh.network.input_dense.trainable
    assert fresh.network.output_dense.trainable


def test_another_optimizer_is_left_as_it_is(tmp_path):
    model = grown()
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = with_optimizer(mlp(**CONFIG), "SGD")
    with pytest.warns(UserWarning, match="Skipping variable loading"):
        fresh.load_weights(tmp_path / "model.weights.h5")
    assert fresh.growth_config == model.growth_config
    assert int(fresh.optimizer.iterations) == 0
