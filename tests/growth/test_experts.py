"""Models with experts, grown while they train."""

import keras
import numpy as np
import pytest
from helpers.routed import RULES, routed

import kgrow
from kgrow import AxisMap, Dim
from kgrow.strategies import HyperCloning

pytestmark = pytest.mark.once

INPUTS = np.random.default_rng(0).standard_normal((8, 4)).astype("float32")
TARGETS = np.random.default_rng(1).standard_normal((8, 2)).astype("float32")
MORE = {"experts": 8, "top_k": 4}


def trained(scores="all"):
    """A model after two steps of Adam, which divide by no epsilon to speak
    of."""
    keras.utils.set_random_seed(0)
    axes = AxisMap(RULES, [Dim("experts", norm="softmax", top_k="top_k")])
    builder = kgrow.ModelBuilder(
        routed, {"experts": 4, "top_k": 2, "units": 3, "scores": scores}
    )
    model = kgrow.GrowableModel(builder, axes)
    model.compile(keras.optimizers.Adam(1e-2, epsilon=1e-12), "mse")
    step(model, 2)
    return model


def step(model, number=1):
    for _ in range(number):
        model.train_on_batch(INPUTS, TARGETS)


@pytest.mark.parametrize("scores", ["all", "taken"])
@pytest.mark.parametrize("name", ["net2net", "lemon", "hypercloning"])
def test_more_experts_compute_the_same(name, scores):
    model = trained(scores)
    receipt = model.grow({**MORE, "units": 6}, name)
    assert receipt.exact and receipt.relative_diff <= receipt.tolerance
    assert {**MORE, "units": 6}.items() <= model.growth_config.items()
    before = model.predict(INPUTS, verbose=0)
    step(model)
    assert np.abs(model.predict(INPUTS, verbose=0) - before).max() > 1e-4


def test_the_optimizer_s_state_goes_along():
    """Copies with their history take the step that the old experts take."""
    small, large = trained(), trained()
    large.grow(MORE, HyperCloning(snr=None))
    for model in (small, large):
        step(model, 3)
    np.testing.assert_allclose(
        large.predict(INPUTS, verbose=0),
        small.predict(INPUTS, verbose=0),
        rtol=1e-4,
        atol=1e-5,
    )


def test_experts_of_one_ancestor_part():
    """Copies that are read in unequal shares learn different things."""
    model = trained()
    model.grow(MORE, "net2net")
    step(model, 3)
    inner = next(w for w in model.weights if w.path.endswith("moe/inner"))
    inner = keras.ops.convert_to_numpy(inner)
    pairs = [np.abs(a - b).max() for a in inner for b in inner]
    assert np.sum(np.array(pairs) < 1e-6) == len(inner)


@pytest.mark.parametrize("target", [{"experts": 8}, {"top_k": 4}])
def test_other_experts_than_before_are_not_claimed(target):
    receipt = trained().grow(target, "net2net")
    assert not receipt.exact
    assert "has to grow by the same factor" in receipt.claims["experts"]


def test_a_file_knows_how_many_experts_are_taken(tmp_path):
    model = trained()
    model.grow(MORE, "net2net")
    model.save_weights(tmp_path / "grown.weights.h5")
    fresh = trained()
    fresh.load_weights(tmp_path / "grown.weights.h5")
    assert fresh.growth_config == model.growth_config
    np.testing.assert_array_equal(
        fresh.predict(INPUTS, verbose=0), model.predict(INPUTS, verbose=0)
    )
