"""A model that grew goes back, and states what that costs."""

import keras
import numpy as np
import pytest
from helpers.toy import (
    array,
    assert_close,
    assert_same,
    make_inputs,
    make_model,
    make_targets,
    snapshot,
)

import kgrow
from kgrow import GrowthError

pytestmark = pytest.mark.once

GROWN = {"hidden_dim": 16, "num_layers": 4}


def trained(family="GPT2", **options):
    model = make_model(family)
    model.compile(keras.optimizers.Adam(1e-2), "mse", **options)
    x = make_inputs(model)
    y = make_targets(model, x)
    model.fit(x, y, epochs=2, verbose=0)
    return model, (x, y)


def assert_like(model, expected):
    found = snapshot(model)
    assert found["config"] == expected["config"]
    assert list(found["weights"]) == list(expected["weights"])
    for path, value in expected["weights"].items():
        if value.size and value.dtype.kind == "f":
            assert_close(found["weights"][path], value, "float32")
    for one, other in zip(
        found["optimizer"], expected["optimizer"], strict=True
    ):
        if other[1].size and other[1].dtype.kind == "f":
            assert_close(one[1], other[1], "float32")
    assert_close(found["outputs"], expected["outputs"], "float32")


@pytest.mark.parametrize("strategy", ["net2net", "lemon", "msg", "staged"])
def test_a_growth_and_its_way_back_change_nothing(strategy):
    """Weights, moments and outputs; behind closed gates too."""
    model, data = trained()
    before = snapshot(model)
    model.grow(GROWN, strategy, seed=0)
    receipt = model.project(data=data)
    assert_like(model, before)
    assert model.active_gates == []
    assert receipt.parameters_after < receipt.parameters_before
    if strategy != "staged":  # its depth operator changes the function
        assert receipt.relative_diff <= receipt.tolerance
    assert str(receipt).startswith("projected by the way back of")


@pytest.mark.each
def test_training_goes_on_after_a_way_back_that_states_its_loss():
    model, (x, y) = trained("MLP")
    model.grow({"hidden_dim": 12}, seed=0)
    model.fit(x, y, epochs=2, verbose=0)
    receipt = model.project(data=(x, y))
    assert receipt.relative_diff > receipt.tolerance and not receipt.exact
    loss = model.evaluate(x, y, verbose=0)
    assert loss == pytest.approx(receipt.loss_after, rel=1e-5)
    steps = int(model.optimizer.iterations)
    model.fit(x, y, epochs=1, verbose=0)
    assert int(model.optimizer.iterations) > steps


def test_several_growths_go_back_one_by_one():
    model, _ = trained("MLP")
    sizes = [model.growth_config]
    for target in ({"hidden_dim": 12}, {"num_layers": 3}):
        model.grow(target, seed=0)
        sizes.append(model.growth_config)
    for config in reversed(sizes[:-1]):
        model.project()
        assert model.growth_config == config
    assert len(model.growth_history) == 4
    with pytest.raises(GrowthError, match="no plan of a growth"):
        model.project()


def test_a_loaded_model_goes_back_by_the_growth_that_its_receipt_names(
    tmp_path,
):
    model, _ = trained("MLP")
    small, before = model.growth_config, snapshot(model)
    model.grow({"hidden_dim": 12}, "net2net", seed=5)
    model.save(tmp_path / "grown.keras")
    loaded = keras.models.load_model(tmp_path / "grown.keras")
    with pytest.raises(GrowthError, match="loaded from a file"):
        loaded.project()
    # The seed is that of the last receipt.
    loaded.project({"hidden_dim": small["hidden_dim"]}, "net2net")
    assert_like(loaded, before)
    loaded.save(tmp_path / "small.keras")
    again = keras.models.load_model(tmp_path / "small.keras")
    assert_same(again.growth_config, small)
    assert len(again.growth_history) == 2


def test_a_smaller_vocabulary_is_compared_on_inputs_that_both_take():
    model = make_model("GPT2")
    before = snapshot(model)
    model.grow({"vocabulary_size": 40, "max_sequence_length": 9}, seed=0)
    model.project()
    assert_like(model, before)


def test_a_model_that_never_was_small_can_be_projected():
    model = make_model("MLP")
    receipt = model.project({"hidden_dim": 4}, "net2net", seed=0)
    assert model.growth_config["hidden_dim"] == 4
    assert np.all(np.isfinite(array(model(make_inputs(model)))))
    assert receipt.relative_diff > receipt.tolerance


def frozen(model):
    model.grow({"num_layers": 3}, "llama_pro")


def half_open(model):
    model.grow({"intermediate_dim": 16}, kgrow.strategies.MSG(ramp=4))
    model.grow({"intermediate_dim": 20}, "msg")


@pytest.mark.parametrize(
    "prepare, arguments, message",
    [
        (None, {}, "no plan of a growth"),
        (None, {"target_config": {"hidden_dim": 4}}, "sizes before it and its"),
        (None, {"strategy": "net2net"}, "sizes before it and its"),
        (
            None,
            {"target_config": {"hidden_dim": 99}, "strategy": "net2net"},
            "cannot grow in a projection",
        ),
        (
            None,
            {"target_config": {"hidden_dim": 4}, "strategy": "ligo"},
            "learned its maps from data",
        ),
        (
            None,
            {"target_config": {"hidden_dim": 4}, "strategy": "ki"},
            "nothing of",
        ),
        (frozen, {}, r"Call `unfreeze\(\)` first"),
        (
            half_open,
            {"target_config": {"intermediate_dim": 10}, "strategy": "net2net"},
            "still opening",
        ),
    ],
)
def test_a_refusal_changes_nothing(prepare, arguments, message):
    model = make_model("MLP")
    if prepare is not None:
        prepare(model)
    before = snapshot(model)
    with pytest.raises(GrowthError, match=message):
        model.project(**arguments)
    assert_same(snapshot(model), before)


def test_units_behind_an_older_gate_stay_behind_it():
    model = make_model("MLP")
    half_open(model)
    model.project()
    ((gate, _),) = model.active_gates
    assert gate.units["ffn"][1] == 16
