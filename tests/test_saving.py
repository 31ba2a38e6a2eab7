"""Grown models go to disk and come back, optimizer and history included."""

import keras
import numpy as np
import pytest
from fit_helpers import (
    MODELS,
    TARGETS,
    assert_same_state,
    batch,
    compiled,
    train,
)


# Without dropout: Keras' files do not hold the states of random generators.
FAMILIES = ["mlp", "gpt2"]


def make(family, seed=0):
    return compiled(MODELS[family](seed, dropout=0.0))


def grown(family):
    model = make(family)
    grow = {("epoch", 0): lambda m: m.grow(TARGETS[family], seed=1)}
    train(model, grow)
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_keras_file_holds_the_grown_model(family, tmp_path):
    model = grown(family)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.growth_config == model.growth_config
    assert loaded.growth_history == model.growth_history
    x, _ = batch(model, 0)
    assert np.array_equal(
        loaded.predict(x, verbose=0), model.predict(x, verbose=0)
    )
    # The same steps from here on: the optimizer went along.
    train(model, offset=7)
    train(loaded, offset=7)
    assert_same_values(loaded, model)


def assert_same_values(left, right):
    for a, b in zip(left.network.weights, right.network.weights, strict=True):
        a, b = map(keras.ops.convert_to_numpy, (a, b))
        assert np.array_equal(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_of_a_grown_model_make_a_small_one_grow(family, tmp_path):
    model = grown(family)
    model.save_weights(tmp_path / "grown.weights.h5")
    small = make(family, seed=9)
    train(small, epochs=1)
    small.load_weights(tmp_path / "grown.weights.h5")
    assert small.growth_config == model.growth_config
    assert small.growth_history == model.growth_history
    assert_same_values(small, model)
    train(small, epochs=1)
    assert small.growth_config == model.growth_config


def test_a_loaded_model_grows_on(tmp_path):
    model = grown("mlp")
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for m in (model, loaded):
        m.grow({"hidden_dim": 10}, seed=2)
    assert len(loaded.growth_history) == 2
    assert_same_values(loaded, model)


class Killed(Exception):
    """Stands for the end of the process."""


class KillAt(keras.callbacks.Callback):
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.epoch:
            raise Killed


class Grow(keras.callbacks.Callback):
    """Grows at the end of an epoch, once."""

    def __init__(self, epoch, target):
        super().__init__()
        self.epoch, self.target = epoch, target

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            self.model.grow(self.target, seed=1)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_a_killed_run_resumes_across_the_growth(family, killed_at, tmp_path):
    """`BackupAndRestore`, in a model that only was built small."""

    def run(model, *callbacks):
        # The backup stands last, so that it holds what the growth made.
        grow = Grow(1, TARGETS[family])
        return train(model, callbacks=[grow, *callbacks], epochs=4)

    whole = make(family)
    run(whole)
    backup = tmp_path / "backup"
    with pytest.raises(Killed):
        run(
            make(family),
            keras.callbacks.BackupAndRestore(backup),
            KillAt(killed_at),
        )
    resumed = make(family, seed=5)
    run(resumed, keras.callbacks.BackupAndRestore(backup))
    assert resumed.growth_config == whole.growth_config
    assert resumed.growth_history[0].step == whole.growth_history[0].step
    assert_same_state(resumed, whole)
