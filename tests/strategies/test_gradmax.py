"""GradMax: hidden units anywhere, measured over all of the data."""

import itertools

import keras
import numpy as np
import pytest
from helpers.toy import (
    assert_close,
    assert_same,
    make_inputs,
    make_model,
    randomize,
    snapshot,
    values_of,
)

import kgrow
from kgrow import GrowthError
from kgrow.algebra.axis_map import AxisMap
from kgrow.growth.batches import Data
from kgrow.strategies import GradMax
from kgrow.strategies.hidden_units import hidden_units

pytestmark = pytest.mark.once

# More than a batch, and no multiple of one.
ROWS = 70


def mlp(units, second, activation):
    """The network of the paper's experiments, of two hidden layers."""
    return keras.Sequential(
        [
            keras.Input((6,), dtype="float64"),
            keras.layers.Dense(units, activation, name="first"),
            keras.layers.Dense(second, activation, name="second"),
            keras.layers.Dense(4, name="head"),
        ]
    )


def convolutions(units):
    return keras.Sequential(
        [
            keras.Input((5, 5, 2)),
            keras.layers.Conv2D(units, 3, activation="gelu", name="first"),
            keras.layers.Conv2D(3, 2, name="second"),
        ]
    )


MLP_AXES = AxisMap(
    {
        "first/kernel": "_ -> units",
        "first/bias": "-> units",
        "second/kernel": "units -> second",
        "second/bias": "-> second",
        "head/kernel": "second -> _",
        "head/bias": "-> _",
    }
)


def make(activation="gelu"):
    """A model whose hidden units lie in no block, and its data."""
    config = {"units": 8, "second": 5, "activation": activation}
    network = kgrow.ModelBuilder(mlp, config).make()
    model = randomize(kgrow.GrowableModel(network, MLP_AXES))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(3)
    return model, rng.standard_normal((ROWS, 6)), rng.standard_normal((ROWS, 4))


def gelu(x):
    return keras.ops.convert_to_numpy(keras.activations.gelu(x))


def slope_of_gelu(x, step=1e-5):
    return (gelu(x + step) - gelu(x - step)) / (2 * step)


def slopes(model, x, y):
    """`M` of both hidden layers by its formula: inputs times gradients."""
    v = values_of(model)
    first = x @ v["first/kernel"] + v["first/bias"]
    second = gelu(first) @ v["second/kernel"] + v["second/bias"]
    out = gelu(second) @ v["head/kernel"] + v["head/bias"]
    delta = 2 * (out - y) / out.size
    inner = (delta @ v["head/kernel"].T) * slope_of_gelu(second)
    return x.T @ inner, gelu(first).T @ delta


def test_units_outside_blocks_follow_the_gradient_over_all_data(float64):
    model, x, y = make()
    wanted = slopes(model, x, y)
    before = values_of(model)
    receipt = model.grow(
        {"units": 10, "second": 7}, GradMax(scale=2.0), data=(x, y), seed=0
    )
    after = values_of(model)
    assert receipt.exact
    assert "gradient" in receipt.claims["units"]
    for name, old, m in (
        ("second/kernel", before["second/kernel"], wanted[0]),
        ("head/kernel", before["head/kernel"], wanted[1]),
    ):
        _, _, rows = np.linalg.svd(m)
        length = np.linalg.norm(old, axis=1).mean()
        new = after[name][len(old) :, : old.shape[1]]
        # Keras takes the loss in float32.
        found = np.abs(new @ rows[:2].T)
        assert_close(found, 2.0 * length * np.eye(2), "float32")
        np.testing.assert_array_equal(
            after[name][: len(old), : old.shape[1]], old
        )
    # New units of one layer do not read new ones of the layer before.
    assert not after["second/kernel"][:, 5:].any()
    assert not after["first/kernel"][:, 8:].any()


@pytest.mark.parametrize("kind", ["batches", "iterator"])
def test_all_examples_count_whatever_holds_them(kind, float64):
    grown = {}
    for data_kind in ("arrays", kind):
        model, x, y = make()
        batches = [(x[i : i + 9], y[i : i + 9]) for i in range(0, ROWS, 9)]
        data = {"arrays": (x, y), "batches": batches, "iterator": iter(batches)}
        # An iterator is asked for as many as it has.
        steps = len(batches) if data_kind == "iterator" else None
        model.grow(
            {"units": 9}, GradMax(steps=steps), data=data[data_kind], seed=0
        )
        grown[data_kind] = np.abs(values_of(model)["second/kernel"][8:])
    assert_close(grown[kind], grown["arrays"], "float32")


def test_few_batches_can_be_asked_for(float64):
    model, x, y = make()
    model.grow(
        {"units": 9}, GradMax(batch_size=7, steps=2), data=(x, y), seed=0
    )
    other, _, _ = make()
    other.grow({"units": 9}, "gradmax", data=(x[:14], y[:14]), seed=0)
    found, wanted = (
        np.abs(values_of(m)["second/kernel"]) for m in (model, other)
    )
    assert_close(found, wanted, "float32")


def test_data_without_end_need_a_number_of_steps():
    class Endless(keras.utils.PyDataset):
        @property
        def num_batches(self):
            return None

        def __getitem__(self, index):
            return np.zeros((2, 1)), np.zeros(2)

    batch = np.zeros((2, 1)), np.zeros(2)
    for endless in (Endless(), itertools.repeat(batch)):
        data = Data(endless)
        with pytest.raises(GrowthError, match="have no end. Say how many"):
            next(data.once(2))
        assert len(list(data.once(2, steps=3))) == 3


def test_an_activation_without_a_slope_is_refused_outside_blocks_too():
    model, x, y = make("relu")
    before = values_of(model)
    with pytest.raises(GrowthError, match="no slope there"):
        model.grow({"units": 10}, "gradmax", data=(x, y))
    assert_same(values_of(model), before)


def test_kernels_may_have_any_number_of_axes():
    network = kgrow.ModelBuilder(convolutions, {"units": 3}).make()
    axes = AxisMap(
        {
            "first/kernel": "_ _ _ -> units",
            "first/bias": "-> units",
            "second/kernel": "_ _ units -> _",
            "second/bias": "-> _",
        }
    )
    model = randomize(kgrow.GrowableModel(network, axes))
    model.compile("sgd", "mse")
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((5, 5, 5, 2)), rng.standard_normal((5, 2, 2, 3))
    receipt = model.grow({"units": 5}, "gradmax", data=(x, y), seed=0)
    assert receipt.exact
    new = values_of(model)["second/kernel"][:, :, 3:].reshape(4, 2, 3)
    new = np.moveaxis(new, 1, 0).reshape(2, 12)
    # Singular vectors are orthogonal.
    length = np.linalg.norm(new[0])
    assert length > 0.1
    assert_close(new @ new.T / length**2, np.eye(2), "float32")


def test_new_units_of_silent_blocks_are_read_too():
    model = make_model("MLP", activation="gelu")
    model.compile("sgd", "mse")
    x = make_inputs(model, 16)
    target = {"intermediate_dim": 12, "num_layers": 4}
    receipt = model.grow(target, "gradmax", data=(x, np.ones((16, 7))), seed=0)
    assert receipt.exact
    for block in range(4):
        kernel = values_of(model)[f"layer_{block}/output_dense/kernel"]
        assert np.linalg.norm(kernel[10:], axis=1).min() > 0


# --- what it leaves to its base ----------------------------------------------


def test_a_growth_without_hidden_units_is_refused():
    model = make_model("MLP", activation="gelu")
    model.compile("sgd", "mse")
    x = make_inputs(model, 16)
    before = snapshot(model)
    with pytest.raises(GrowthError, match=r"\['hidden_dim'\]. Use 'lemon'"):
        model.grow(
            {"hidden_dim": 16}, GradMax("lemon"), data=(x, np.ones((16, 7)))
        )
    assert_same(snapshot(model), before)


@pytest.mark.parametrize("base", ["aki", "staged", "ki", "msg"])
def test_a_base_must_be_one_matrix_per_dimension(base):
    model = make_model("MLP", activation="gelu")
    target = {"hidden_dim": 16, "intermediate_dim": 20}
    source = model.architecture
    _, spec = source.build(source.check(target))
    with pytest.raises(GrowthError, match=f"base='{base}', whose plan"):
        GradMax(base).plan(source.spec, spec)


def test_what_the_base_says_holds():
    strategy = GradMax(base="llama_pro")
    assert strategy.default_trainable == "new"
    assert strategy.grows == {"depth"}
    assert strategy.needs_data


# --- which dimensions are hidden units ---------------------------------------


@pytest.mark.parametrize(
    "rules, found",
    [
        ({"a": "_ -> u", "b": "-> u", "c": "u -> _"}, {"u"}),
        ({"a": "_ _ _ -> u", "c": "_ _ u -> w"}, {"u"}),
        ({"a": "_ -> u", "s": "-> u | scale", "c": "u -> _"}, set()),
        ({"a": "_ -> u", "gate": "_ -> u", "c": "u -> _"}, set()),
        ({"a": "_ -> (2 u)", "c": "u -> _"}, set()),
        ({"a": "_ -> u", "c": "u -> _", "d": "u -> _"}, set()),
        ({"a": "u -> u"}, set()),
        ({"a": "_ -> u w", "c": "u w -> _"}, set()),
    ],
)
def test_hidden_units_are_made_once_and_read_once(rules, found):
    axes, sizes = AxisMap(rules), {"u": 2, "w": 2}
    shapes = [
        (path, one.shape(sizes, (3,) * len(one)))
        for path, one in axes.rules.items()
    ]
    assert set(hidden_units(axes.spec(shapes, sizes))) == found


def test_units_of_a_block_have_a_kernel_in_each():
    spec = make_model("GPT2").architecture.spec
    units = hidden_units(spec)["ffn"]
    assert len(units.makes) == len(units.reads) == spec.depths["layers"]
