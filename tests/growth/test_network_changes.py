"""A network that was changed since it was wrapped is refused by the cause."""

import numpy as np
import pytest
from helpers.zoo import CASES, FEATURES

from kgrow import GrowableModel, GrowthError

X = np.zeros((2, FEATURES), "float32")


def lora(model):
    model.get_layer("inner").enable_lora(2)


def int8(model):
    model.quantize("int8")


def bias(model):
    layer = model.get_layer("outer")
    layer._tracker.unlock()
    layer.extra = layer.add_weight((3,), name="extra")


CHANGES = {
    lora: ["LoRA is enabled on 'inner'", "Merge or disable LoRA first"],
    int8: ["'inner', 'outer' are quantised", "model.strip().save"],
    bias: ["added were 'outer/extra'", "Wrap it again"],
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_growing_and_saving_say_why_not(change, tmp_path):
    model = GrowableModel(CASES["functional"].make(), CASES["functional"].axes)
    good = tmp_path / "good.weights.h5"
    model.save_weights(good)
    written = good.read_bytes()
    change(model)
    outputs = model.predict(X, verbose=0)
    actions = {
        "Growing": lambda: model.grow({"units": 9}, "stack"),
        "Saving": lambda: model.save_weights(good),
        "Saving is": lambda: model.save(tmp_path / "model.keras"),
    }
    for action, attempt in actions.items():
        with pytest.raises(GrowthError, match=action) as caught:
            attempt()
        for part in CHANGES[change]:
            assert part in str(caught.value)
    assert good.read_bytes() == written
    assert not (tmp_path / "model.keras").exists()
    # It goes on computing what the changed network computes.
    assert np.array_equal(model.predict(X, verbose=0), outputs)
    assert model.growth_config == {"units": 6}


def test_a_growth_to_the_same_sizes_says_that_nothing_grew():
    model = GrowableModel(CASES["functional"].make(), CASES["functional"].axes)
    for target in ({}, {"units": 6}):
        assert "nothing grew" in str(model.grow(target))
    assert "nothing grew" not in str(model.grow({"units": 7}))
