"""Masked structural growth: nothing jumps, gates open, a plain model stays."""

import keras
import numpy as np
import pytest
from helpers.toy import (
    RESIDUAL,
    array,
    assert_close,
    assert_same,
    make_inputs,
    make_model,
    outputs,
)
from helpers.training import BACKEND
from hypothesis import given, settings
from hypothesis import strategies as st

from kgrow import GrowthError, strategies
from kgrow.algebra.ramp import Ramp
from kgrow.growth.gates import gates_of
from kgrow.strategies import MSG

pytestmark = pytest.mark.compiles

DIMS = ("hidden_dim", "intermediate_dim", "num_heads", "num_layers")
TRANSFORMERS = ["GPT2", "BERT"]
# Each compiles several programs of two transformers.
LONG = [
    pytest.param(f, marks=[] if f == "MLP" else [pytest.mark.compiles])
    for f in RESIDUAL
]


def larger(model, extra):
    """Every size that the family has of the four, larger by some."""
    config = model.growth_config
    pairs = zip(DIMS, extra, strict=True)
    return {f: config[f] + n for f, n in pairs if f in config}


# --- the moment of growth -----------------------------------------------------


@pytest.mark.sample
@pytest.mark.grid
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("initializer", ["normal", "layer", "net2net"])
@pytest.mark.parametrize("family", RESIDUAL)
def test_no_jump_in_four_dimensions_at_once(
    float64, family, initializer, dtype
):
    model = make_model(family, dtype=dtype)
    strategy = MSG(100, initializer)
    receipt = model.grow(larger(model, (3, 5, 2, 3)), strategy, seed=1)
    assert receipt.exact and receipt.relative_diff <= receipt.tolerance
    assert set(receipt.claims.values()) == {
        "exact: what is new is behind a gate"
    }


@settings(max_examples=4)
@given(extra=st.tuples(*[st.integers(0, 9)] * 4), seed=st.integers(0, 99))
@pytest.mark.parametrize("family", TRANSFORMERS)
def test_no_jump_for_any_size(family, extra, seed):
    model = make_model(family)
    receipt = model.grow(larger(model, extra), MSG(9), seed=seed)
    assert receipt.exact
    assert len(model.active_gates) == (any(extra))


@pytest.mark.sample
@pytest.mark.parametrize("depth", ["stack", "interpolate", "top", [0, None, 1]])
@pytest.mark.parametrize("family", RESIDUAL)
def test_new_blocks_may_stand_anywhere(family, depth):
    target = 3 if isinstance(depth, list) else 4
    model = make_model(family)
    assert model.grow({"num_layers": target}, MSG(9, depth=depth)).exact


def test_old_blocks_keep_their_order():
    model = make_model("GPT2")
    with pytest.raises(GrowthError, match="in their order. Choose another"):
        model.grow({"num_layers": 3}, MSG(9, depth=[1, 0, 1]))
    with pytest.raises(GrowthError, match="in their order. Choose another"):
        model.grow({"num_layers": 3}, MSG(9, depth=[0, 0, 0]))
    assert model.growth_history == []


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_a_head_grows_too(family):
    model = make_model(family)
    assert model.grow({"head_dim": 7, "num_heads": 4}, MSG(9)).exact


def test_no_mask_is_no_mask():
    """The paper's ablation: the same weights, and nothing in front of them."""
    masked, bare = make_model("GPT2"), make_model("GPT2")
    target = larger(masked, (3, 5, 2, 3))
    masked.grow(target, MSG(5), seed=1)
    receipt = bare.grow(target, MSG(0), seed=1)
    assert not receipt.exact and bare.active_gates == []
    masked.force_open_gates()
    x = make_inputs(bare)
    assert_same(outputs(masked.network, x), outputs(bare.network, x))


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_new_weights_are_normal_and_the_rest_the_layers_own(family):
    """Sec. 3.2.2; the public code leaves gains at 1 and biases at 0."""
    model = make_model(family)
    model.grow({"hidden_dim": 200, "intermediate_dim": 300}, MSG(9), seed=2)
    block = model.network.transformer_layers[0]
    new = array(block.feedforward_intermediate_dense.kernel)[8:, 10:]
    assert new.std() == pytest.approx(0.02, rel=0.02)
    assert abs(new.mean()) < 0.001
    norm = block.self_attention_layer_norm
    assert (array(norm.gamma)[8:] == 1).all()
    assert (array(norm.beta)[8:] == 0).all()


def test_a_network_without_gates_is_refused():
    from helpers.training import sequential

    model = sequential()
    with pytest.raises(GrowthError, match="needs a network with gates"):
        model.grow({"units": 6}, "msg")
    assert model.growth_config == {"units": 4}


# --- the ramp -----------------------------------------------------------------


def compiled(family, optimizer="sgd", **options):
    model = make_model(family, num_layers=1)
    model.compile(optimizer, _loss(family), **options)
    return model


def _loss(family):
    if family == "MLP":
        return "mse"
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def fit(model, batches, **options):
    x = np.tile(make_inputs(model), (batches, 1))
    y = x if x.ndim == 2 and x.dtype.kind == "i" else np.ones((len(x), 7))
    return model.fit(x, y, batch_size=4, verbose=0, shuffle=False, **options)


@pytest.mark.each
@pytest.mark.parametrize("family", LONG)
def test_what_is_new_rests_while_the_gate_is_shut(family):
    """In the first step old weights move as without growth, new ones not."""
    grown, alone = compiled(family), compiled(family)
    fit(grown, 1), fit(alone, 1)
    grown.grow(larger(grown, (3, 5, 2, 1)), MSG(10), seed=1)
    before = {w.path: array(w) for w in grown.network.weights}
    fit(grown, 1), fit(alone, 1)
    after = {w.path: array(w) for w in grown.network.weights}
    for weight in alone.network.trainable_weights:
        corner = tuple(slice(0, n) for n in weight.shape)
        found, start = after[weight.path], before[weight.path]
        assert_close(found[corner], array(weight), "float32")
        new = np.ones(found.shape, bool)
        new[corner] = False
        assert_same(found[new], start[new])
    ((_, steps),) = grown.active_gates
    assert steps == 1


@pytest.mark.each
@pytest.mark.parametrize("family", LONG)
def test_gates_open_within_their_ramps_and_go(family):
    model = compiled(family)
    model.grow({"intermediate_dim": 15}, MSG(5))
    fit(model, 2)
    model.grow({"hidden_dim": 11, "num_layers": 4}, MSG(2, depth="interpolate"))
    assert [steps for _, steps in model.active_gates] == [2, 0]
    fit(model, 1)
    assert [steps for _, steps in model.active_gates] == [3, 1]
    fit(model, 1)
    assert [steps for _, steps in model.active_gates] == [4]
    fit(model, 3)
    assert model.active_gates == []
    assert all("steps" not in w.path for w in model.network.weights)


def test_a_growth_moves_the_blocks_behind_earlier_gates():
    model = compiled("GPT2")
    model.grow({"num_layers": 2}, MSG(50))
    model.grow({"num_layers": 4}, MSG(50, depth=[0, 0, 1, 1]))
    assert [o.blocks["layers"] for o, _ in model.active_gates] == [(2,), (1, 3)]


@pytest.mark.parametrize("family", TRANSFORMERS)
def test_the_loss_does_not_jump_when_gates_go(family):
    """What a gate that is open computes, and what follows it."""
    model = compiled(family)
    model.grow(larger(model, (3, 5, 2, 1)), MSG(2))
    fit(model, 1)
    x = make_inputs(model)
    gates = gates_of(model.network)
    gates.counters[0].assign(2)
    before = outputs(model.network, x)
    plain = model.strip()
    assert plain is model.network and model.active_gates == []
    assert_close(outputs(plain, x), before, "float32")


def test_a_gate_that_is_still_opening_is_not_stripped():
    model = compiled("GPT2")
    model.grow({"hidden_dim": 11}, MSG(7))
    fit(model, 3)
    with pytest.raises(GrowthError, match="Train on for 4 batches"):
        model.strip()
    model.force_open_gates()
    assert model.strip() is model.network


def test_another_strategy_waits_for_the_gate():
    """Along its dimension; others are free to grow as they like."""
    model = compiled("GPT2")
    model.grow({"hidden_dim": 16, "num_layers": 3}, MSG(50))
    for target, strategy in (
        ({"hidden_dim": 32}, "net2net"),
        ({"num_layers": 6}, "stack"),
    ):
        with pytest.raises(GrowthError, match="still opening"):
            model.grow(target, strategy)
    assert model.grow({"intermediate_dim": 20}, "net2net").exact
    assert len(model.active_gates) == 1


@pytest.mark.parametrize("shape", ["cosine", "sqrt"])
def test_a_ramp_may_have_any_shape(shape):
    model = compiled("GPT2")
    model.grow({"hidden_dim": 11}, MSG(Ramp(4, shape)))
    fit(model, 5)
    assert model.active_gates == []


@pytest.mark.each
@pytest.mark.skipif(BACKEND == "torch", reason="Keras refuses it on torch")
def test_several_steps_in_one_call():
    model = compiled("GPT2", steps_per_execution=2)
    model.grow({"hidden_dim": 11}, MSG(3))
    fit(model, 2)
    assert [steps for _, steps in model.active_gates] == [2]
    fit(model, 2)
    assert model.active_gates == []


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.skipif(BACKEND != "jax", reason="programs are read from JAX")
@pytest.mark.parametrize(
    "family", ["GPT2", pytest.param("BERT", marks=[pytest.mark.slow])]
)
def test_then_the_program_is_that_of_a_plain_model(family):
    import jax

    def program(model):
        def call(trainable, rest, x):
            return model.network.stateless_call(
                trainable, rest, x, training=True
            )

        network = model.network
        values = [
            [v.value for v in variables]
            for variables in (
                network.trainable_variables,
                network.non_trainable_variables,
            )
        ]
        return str(jax.make_jaxpr(call)(*values, make_inputs(model)))

    model = compiled(family)
    model.grow(larger(model, (3, 5, 2, 1)), MSG(2))
    gated = program(model)
    fit(model, 3)
    plain = make_model(family, **model.growth_config)
    assert program(model) == program(plain) != gated


@pytest.mark.compiles
def test_masks_stay_behind_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = make_model("GPT2", dtype="mixed_bfloat16")
    model.compile("adam", _loss("GPT2"))
    model.grow(larger(model, (3, 5, 2, 1)), MSG(3))
    history = fit(model, 5).history
    assert np.isfinite(history["loss"][0]) and model.active_gates == []


# --- files --------------------------------------------------------------------


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("family", LONG)
@pytest.mark.parametrize("kind", ["model.keras", "model.weights.h5"])
def test_saving_in_the_middle_and_going_on_is_exact(tmp_path, family, kind):
    model, path = compiled(family, "adam"), tmp_path / kind
    fit(model, 1)
    model.grow({"hidden_dim": 11, "num_layers": 3}, MSG(6), seed=1)
    fit(model, 2)
    model.grow({"intermediate_dim": 15}, MSG(9), seed=2)
    fit(model, 1)
    if kind.endswith("keras"):
        model.save(path)
        loaded = keras.models.load_model(path)
    else:
        model.save_weights(path)
        loaded = compiled(family, "adam")
        # Keras loads into an optimizer that is built, and skips another.
        loaded.optimizer.build(loaded.trainable_variables)
        loaded.load_weights(path)
    assert loaded.active_gates == model.active_gates
    assert [steps for _, steps in loaded.active_gates] == [3, 1]
    fit(model, 4), fit(loaded, 4)
    assert [steps for _, steps in loaded.active_gates] == [5]
    for one, other in zip(model.variables, loaded.variables, strict=True):
        assert_same(array(one), array(other))


def test_a_model_without_gates_loads_into_one_with_gates(tmp_path):
    plain, gated = compiled("GPT2"), compiled("GPT2")
    plain.save_weights(tmp_path / "plain.weights.h5")
    gated.grow({"hidden_dim": 11}, MSG(6))
    plain.grow({"hidden_dim": 11}, MSG(0))
    plain.save_weights(tmp_path / "plain.weights.h5")
    gated.load_weights(tmp_path / "plain.weights.h5")
    assert gated.active_gates == []


def test_a_smaller_file_loads_into_a_model_with_gates(tmp_path):
    """Its gates would lie beyond the sizes that were saved."""
    small, gated = compiled("GPT2"), compiled("GPT2")
    small.save_weights(tmp_path / "small.weights.h5")
    gated.grow({"hidden_dim": 11}, MSG(6))
    gated.load_weights(tmp_path / "small.weights.h5")
    assert gated.active_gates == [] and gated.growth_config["hidden_dim"] == 8


def test_it_needs_data_if_its_initializer_learns():
    assert MSG(initializer="ligo").needs_data
    assert not MSG(initializer="net2net").needs_data
    assert not MSG().needs_data


def test_the_strategy_is_data():
    for strategy in (
        MSG(),
        MSG(Ramp(7, "cosine"), "layer", [0, 0, 1]),
        MSG(3, "lemon", "interpolate"),
    ):
        again = strategies.get(strategies.serialize(strategy))
        assert again == strategy and repr(again) == repr(strategy)


def test_copies_go_on_from_what_is_new():
    """A clone made from the config has the gates, shut as at the growth."""
    model = compiled("BERT")
    model.grow(larger(model, (3, 5, 2, 1)), MSG(7))
    clone = type(model).from_config(model.get_config())
    assert [o for o, _ in clone.active_gates] == [
        o for o, _ in model.active_gates
    ]
