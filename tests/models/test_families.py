"""Every family trains, grows in width and depth, trains on, saves and loads."""

import keras
import numpy as np
import pytest
from helpers.toy import array, make_inputs, relative_difference

import kgrow
from kgrow.algebra import tolerance
from kgrow.models import registered

# Sums of this many terms, this many layers deep.
ROUNDING = tolerance("float32", 64, 16)


# Those that are built alike, or are grown by many other tests, wait for a
# compiler in the long mode alone.
ALIKE = ("BERT", "CaiT", "DeiT", "GPT2", "Llama", "RoBERTa")


@pytest.mark.grid
@pytest.mark.parametrize(
    "family",
    [
        pytest.param(n, marks=[pytest.mark.compiles] * (n in ALIKE))
        for n in registered()
    ],
)
def test_it_trains_grows_trains_on_saves_and_loads(tmp_path, family):
    cls = registered()[family]
    model = cls.small()
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    x = make_inputs(model)
    y = np.ones(array(model(x)).shape, "float32")

    def train():
        loss = model.fit(x, y, epochs=2, verbose=0).history["loss"]
        assert np.isfinite(loss).all() and loss[1] < loss[0]

    train()
    before = array(model(x))
    assert model.grow(cls.example.exact, seed=0).exact
    assert relative_difference(array(model(x)), before) <= ROUNDING
    train()
    before = array(model(x))
    strategy = kgrow.strategies.MSG(ramp=2)
    assert model.grow(cls.example.gated, strategy, seed=0).exact
    assert relative_difference(array(model(x)), before) <= ROUNDING
    model.fit(x, y, epochs=4, verbose=0)
    assert not model.active_gates
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.growth_config == model.growth_config
    np.testing.assert_array_equal(array(loaded(x)), array(model(x)))
    step = int(model.optimizer.iterations)
    loaded.fit(x, y, verbose=0)
    assert int(loaded.optimizer.iterations) == step + 1


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("name", registered())
def test_it_learns_how_to_grow(name):
    cls = registered()[name]
    model = cls.small()
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    x = make_inputs(model)
    y = np.zeros(array(model(x)).shape, "float32")
    strategy = kgrow.strategies.LiGO(steps=2, verbose=0)
    target = cls.example.exact
    receipt = model.grow(target, strategy, data=(x, y), seed=0)
    assert np.isfinite(receipt.loss_after)
    model.fit(x, y, verbose=0)
