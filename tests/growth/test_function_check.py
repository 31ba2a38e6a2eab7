"""What a claim to keep the function rests on, and what it leaves out."""

import keras
import numpy as np
import pytest
from helpers.zoo import CASES, DENSE, FEATURES, OUTPUTS
from keras import layers

from kgrow import (
    AxisMap,
    BlockStack,
    GrowableModel,
    GrowthError,
    ModelBuilder,
)
from kgrow.architecture import function_check

X = np.random.default_rng(0).standard_normal((4, FEATURES)).astype("float32")


def dense(axes=DENSE, head=None, **options):
    network = keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.Dense(6, "relu", name="inner"),
            head or layers.Dense(OUTPUTS, name="outer", **options),
        ]
    )
    return GrowableModel(network, axes)


@pytest.mark.parametrize(
    "given",
    [{"probe": X[:0]}, {"data": (X[:0], X[:0, :OUTPUTS])}],
    ids=["probe", "data"],
)
def test_nothing_to_compare_is_refused(given):
    with pytest.raises(GrowthError, match="at least one"):
        dense().grow({"units": 9}, **given)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_is_compared_in_that_of_the_weights(policy):
    keras.config.set_dtype_policy(policy)
    model = dense()
    receipt = model.grow({"units": 9}, probe=X)
    assert receipt.exact and receipt.tolerance < 1e-4
    assert model.compute_dtype == policy.removeprefix("mixed_")
    assert all(x.compute_dtype == model.compute_dtype for x in model.layers)


def test_wrong_axes_do_not_pass_in_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    wrong = {**DENSE, "outer/kernel": "-> units _"}
    with pytest.raises(GrowthError, match="Check the axes that you gave"):
        dense(wrong).grow({"units": 12}, probe=X)


def test_axes_are_blamed_where_a_user_gave_some():
    case = CASES["functional"]
    wrong = {**case.axes, "outer/kernel": "-> units _"}
    model = GrowableModel(case.make(), wrong)
    model.axes_given = False
    with pytest.raises(GrowthError) as caught:
        model.grow({"units": 12})
    assert "that you gave" not in str(caught.value)


def test_outputs_of_zeros_show_nothing():
    receipt = dense(kernel_initializer="zeros").grow({"units": 9})
    assert "all outputs are zero" in receipt.claims["probe"]
    assert "all outputs are zero" in str(receipt)


def test_a_weak_comparison_says_so():
    keras.config.set_dtype_policy("bfloat16")
    receipt = dense().grow({"units": 9}, probe=X)
    assert "the comparison is weak" in receipt.claims["precision"]


def test_a_softmax_over_outputs_that_grow_is_not_kept():
    head = layers.Dense(OUTPUTS, "softmax", name="outer")
    axes = {
        **DENSE,
        "outer/kernel": "units -> classes",
        "outer/bias": "-> classes",
    }
    model = dense(AxisMap(axes, outputs="_ -> classes"), head)
    receipt = model.grow({"classes": 5})
    assert not receipt.exact and "softmax" in receipt.claims["outputs"]


@keras.saving.register_keras_serializable("kgrow_tests")
def spectral(units):
    inner = layers.Dense(units, "relu", name="inner")
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            layers.SpectralNormalization(inner, name="spectral"),
            layers.Dense(OUTPUTS, name="outer"),
        ]
    )


def test_spectral_normalisation_is_kept_at_inference_only():
    builder = ModelBuilder(spectral, {"units": 6})
    network = builder.make()
    paths = [v.path.removeprefix(f"{network.name}/") for v in network.weights]
    inner = {
        "kernel": "_ -> units",
        "bias": "-> units",
        "vector_u": "_ -> units",
    }
    axes = {p: inner[p.split("/")[-1]] for p in paths if "outer" not in p}
    axes.update({k: v for k, v in DENSE.items() if "outer" in k})
    receipt = GrowableModel(builder, axes).grow({"units": 9})
    assert "inference" in receipt.claims["training"]


@keras.saving.register_keras_serializable("kgrow_tests")
class Chain(keras.Model):
    """Blocks without a residual branch and without a norm."""

    def __init__(self, num_layers, activation, **kwargs):
        super().__init__(**kwargs)
        self.num_layers = num_layers
        self.activation = activation
        self.blocks = [
            layers.Dense(FEATURES, activation, name=f"block_{i}")
            for i in range(num_layers)
        ]
        for block in self.blocks:
            block.build((None, FEATURES))
        self.built = True

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return x

    def get_config(self):
        return {
            **super().get_config(),
            "num_layers": self.num_layers,
            "activation": self.activation,
        }


def chain(activation):
    """A growable chain, its axes, and the receipt of two blocks more."""
    axes = AxisMap(
        {"block_{layers}/kernel": "_ -> _", "block_{layers}/bias": "-> _"},
        stacks=[BlockStack("layers", field="num_layers")],
    )
    model = GrowableModel(Chain(2, activation), axes)
    return model.grow({"num_layers": 4}, "identity", probe=X)


def test_without_a_residual_branch_new_blocks_are_identity_matrices():
    receipt = chain("relu")
    assert receipt.relative_diff == 0
    # Which activation runs between the blocks is not in the axes.
    assert not receipt.exact
    assert "identity matrices" in receipt.claims["layers"]
    assert 0 < chain("tanh").relative_diff < 0.9


def test_a_head_outside_of_the_network_is_compared():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=11,
        num_layers=1,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=6,
        max_sequence_length=5,
    )
    before = np.ones((1, 2, 4))
    difference = function_check._head_difference
    assert difference(backbone, backbone, [before], [before]) == 0.0
    assert difference(backbone, backbone, [before], [2 * before]) == 1.0
