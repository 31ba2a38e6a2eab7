"""Every family trains, grows in width and depth, trains on, saves and loads."""

import keras
import numpy as np
import pytest
from helpers.toy import SIZES, array, make_inputs, relative_difference

import kgrow
from kgrow.algebra import tolerance

IMAGES = {"image_size": 4, "patch_size": 2, "num_channels": 3, "num_classes": 7}
TRANSFORMER = {
    name: SIZES[name]
    for name in (
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "head_dim",
        "dropout",
    )
}
TEXT = {**TRANSFORMER, "vocabulary_size": 11, "max_sequence_length": 5}
LLAMA = {**TEXT, "num_query_heads": 6, "num_key_value_heads": 3}
del LLAMA["num_heads"], LLAMA["max_sequence_length"]
WIDER = {"hidden_dim": 16, "intermediate_dim": 14}
DEEPER = {"num_layers": 3}
# Sizes, a growth that net2net does exactly, and one for gates.
CASES = {
    "BERT": (TEXT, WIDER, {"hidden_dim": 19, **DEEPER}),
    "CaiT": (
        {**TRANSFORMER, **IMAGES, "num_class_layers": 2},
        WIDER,
        {"hidden_dim": 19, "num_class_layers": 3},
    ),
    "DeiT": ({**TRANSFORMER, **IMAGES}, {**WIDER, **DEEPER}, {"num_heads": 4}),
    "GPT2": (TEXT, {**WIDER, **DEEPER}, {"hidden_dim": 19}),
    "Llama": (LLAMA, {**WIDER, **DEEPER}, {"num_query_heads": 9}),
    "MLP": (
        {
            "input_dim": 6,
            "output_dim": 7,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "num_layers": 2,
        },
        {"hidden_dim": 11, **DEEPER},
        {"intermediate_dim": 13},
    ),
    "ResNet": (
        {
            "num_classes": 7,
            "filters": [4, 6],
            "depths": [2, 3],
            "inner_filters": [3, 5],
            "stem": "small",
            "image_size": 6,
        },
        {"filters": [5, 8], "depths": [3, 3]},
        {"inner_filters": [4, 5]},
    ),
    "RoBERTa": (TEXT, WIDER, {"num_heads": 4, **DEEPER}),
    "Swin": (
        {
            "num_classes": 7,
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [2, 3],
            "window_size": 2,
            "image_size": 8,
            "patch_size": 2,
            "head_dim": [4, 5],
            "intermediate_dim": [10, 14],
        },
        {"embed_dim": 16, "depths": [2, 4]},
        {"intermediate_dim": [13, 14]},
    ),
    "ViT": (
        {**TRANSFORMER, **IMAGES},
        {**WIDER, **DEEPER},
        {"num_heads": 4, "hidden_dim": 19},
    ),
}
# Sums of this many terms, this many layers deep.
ROUNDING = tolerance("float32", 64, 16)


def test_every_family_is_here():
    assert sorted(CASES) == sorted(kgrow.models.__all__)


# Those that are built alike wait for a compiler in the long mode alone.
ALIKE = ("CaiT", "DeiT", "Llama", "RoBERTa")


@pytest.mark.grid
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=[pytest.mark.compiles] * (n in ALIKE))
        for n in CASES
    ],
)
def test_it_trains_grows_trains_on_saves_and_loads(tmp_path, name):
    sizes, exactly, gated = CASES[name]
    model = getattr(kgrow.models, name)(**sizes)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    x = make_inputs(model)
    y = np.ones(array(model(x)).shape, "float32")

    def train():
        loss = model.fit(x, y, epochs=2, verbose=0).history["loss"]
        assert np.isfinite(loss).all() and loss[1] < loss[0]

    train()
    before = array(model(x))
    assert model.grow(exactly, seed=0).exact
    assert relative_difference(array(model(x)), before) <= ROUNDING
    train()
    before = array(model(x))
    strategy = kgrow.strategies.MSG(ramp=2)
    assert model.grow(gated, strategy, seed=0).exact
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


@pytest.mark.compiles
@pytest.mark.parametrize("name", CASES)
def test_it_learns_how_to_grow(name):
    sizes, exactly, _ = CASES[name]
    model = getattr(kgrow.models, name)(**sizes)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    x = make_inputs(model)
    y = np.zeros(array(model(x)).shape, "float32")
    strategy = kgrow.strategies.LiGO(steps=2, verbose=0)
    receipt = model.grow(exactly, strategy, data=(x, y), seed=0)
    assert np.isfinite(receipt.loss_after)
    model.fit(x, y, verbose=0)
