"""What a network leaves out while it trains, and how that changes."""

import keras
import numpy as np
import pytest
from helpers.toy import (
    array,
    assert_close,
    assert_same,
    make_inputs,
    make_model,
    outputs,
    snapshot,
)
from helpers.training import BACKEND
from keras import ops

from kgrow import GrowthError
from kgrow.layers.blocks.block_stack import DropSettings, run_blocks
from kgrow.layers.blocks.layer_drop import keep_probability
from kgrow.layers.blocks.token_drop import (
    choose_tokens,
    gather_tokens,
    scatter_tokens,
)
from kgrow.layers.embeddings.token_pooling import pool_tokens
from kgrow.strategies import MSG

pytestmark = pytest.mark.compiles


def compiled(family, **overrides):
    model = make_model(family, **overrides)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", "mse" if family == "MLP" else loss)
    return model


def fit(model, batches=2):
    x = np.tile(make_inputs(model), (batches, 1))
    y = x if x.dtype.kind == "i" else np.ones((len(x), 7))
    model.fit(x, y, batch_size=4, verbose=0, shuffle=False)


# --- changing them ------------------------------------------------------------


@pytest.mark.compiles
@pytest.mark.parametrize("family", ["GPT2", "MLP"])
def test_weights_and_slots_stay_to_the_bit(family):
    model = compiled(family)
    fit(model)
    before = snapshot(model)
    model.set_training_options(dropout=0.25)
    assert model.training_options["dropout"] == 0.25
    after = snapshot(model)
    after["weights"] = {p: after["weights"][p] for p in before["weights"]}
    before["network"] = after["network"]
    # With dropout Keras takes another way through attention.
    assert_close(after.pop("outputs"), before.pop("outputs"), "float32")
    assert_same(after, before)
    fit(model)
    model.set_training_options(dropout=0.0)
    fit(model)


def test_training_goes_on_as_if_it_had_been_so_before():
    """A training option that is put on and taken off again changes nothing."""
    one, other = compiled("GPT2"), compiled("GPT2")
    fit(one), fit(other)
    one.set_training_options(layer_drop=0.5)
    one.set_training_options(layer_drop=0.0)
    fit(one), fit(other)
    for a, b in zip(one.network.weights, other.network.weights, strict=True):
        assert_same(array(a), array(b))


def test_an_unknown_treatment_is_refused():
    model = compiled("GPT2")
    with pytest.raises(GrowthError, match=r"no training option \['pooling'\]"):
        model.set_training_options(pooling=2)
    with pytest.raises(ValueError, match="`layer_drop` must be a number"):
        model.set_training_options(layer_drop=1.5)
    with pytest.raises(GrowthError, match="until the network has three"):
        model.set_training_options(token_drop=0.5)
    assert model.training_options == {
        "dropout": 0.0,
        "layer_drop": 0.0,
        "token_drop": 0.0,
    }


@pytest.mark.compiles
def test_treatments_are_saved_and_grow_along(tmp_path):
    model = compiled("GPT2", num_layers=3)
    # Keras' dropout draws from torch's global generator there.
    dropout = 0.0 if BACKEND == "torch" else 0.125
    model.set_training_options(layer_drop=0.5, token_drop=0.5, dropout=dropout)
    fit(model)
    model.grow({"num_layers": 4, "hidden_dim": 11}, MSG(3))
    fit(model)
    model.save_weights(tmp_path / "m.weights.h5")
    model.save(tmp_path / "m.keras")
    fresh = compiled("GPT2", num_layers=3)
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(tmp_path / "m.weights.h5")
    loaded = keras.models.load_model(tmp_path / "m.keras")
    fit(model)
    for other in (fresh, loaded):
        assert other.training_options == model.training_options
        fit(other)
        for a, b in zip(model.variables, other.variables, strict=True):
            assert_same(array(a), array(b))


# --- layers -------------------------------------------------------------------


class Adds(keras.layers.Layer):
    """Adds one where it is run, and counts how often that was."""

    def build(self, input_shape=None):
        self.runs = self.add_weight(
            name="runs", shape=(), dtype="int32", trainable=False
        )

    def call(self, x, training=None):
        self.runs.assign_add(1)
        return x + 1.0


@pytest.mark.compiles
def test_deeper_blocks_are_skipped_more_often():
    blocks = [Adds(name=f"adds_{i}") for i in range(3)]
    for block in blocks:
        block.build()
    drop_settings = DropSettings(
        layer_drop=0.6, seed=keras.random.SeedGenerator(1)
    )
    times, through = 200, 0.0
    for _ in range(times):
        x = run_blocks(
            blocks,
            ops.zeros((1, 2, 1)),
            training=True,
            drop_settings=drop_settings,
        )
        through += float(array(x)[0, 0, 0])
    runs = [int(array(block.runs)) for block in blocks]
    # What leaves a branch is what was done in it.
    assert through == sum(runs)
    for i, count in enumerate(runs):
        expected = keep_probability(i, 3, 0.6)
        spread = (expected * (1 - expected) / times) ** 0.5
        assert abs(count / times - expected) < 4 * spread
    x = run_blocks(blocks, ops.zeros((1, 2, 1)), drop_settings=drop_settings)
    assert float(array(x)[0, 0, 0]) == 3.0


@pytest.mark.each
@pytest.mark.skipif(BACKEND != "jax", reason="programs are read from JAX")
def test_a_skipped_block_is_not_computed():
    import jax

    model = compiled("GPT2")
    model.set_training_options(layer_drop=0.5)

    def call(values, x):
        pairs = list(zip(model.network.variables, values, strict=True))
        with keras.StatelessScope(state_mapping=pairs):
            return model.network(x, training=True)

    values = [v.value for v in model.network.variables]
    program = jax.make_jaxpr(call)(values, make_inputs(model))
    conditions = [e for e in program.eqns if e.primitive.name == "cond"]
    assert len(conditions) == 2
    assert "dot_general" in str(conditions[0].params["branches"])
    outside = [e for e in program.eqns if e.primitive.name == "dot_general"]
    assert len(outside) == 1  # the logits


# --- tokens -------------------------------------------------------------------


@pytest.mark.each
def test_tokens_go_past_the_middle_in_their_places():
    blocks = [Adds(name=f"adds_{i}") for i in range(4)]
    for block in blocks:
        block.build()
    drop_settings = DropSettings(
        token_drop=0.5, seed=keras.random.SeedGenerator(1)
    )
    x = ops.zeros((3, 8, 2))
    out = array(
        run_blocks(blocks, x, training=True, drop_settings=drop_settings)
    )
    assert sorted(set(out.ravel().tolist())) == [2.0, 4.0]
    assert ((out == 4).sum(axis=(1, 2)) == 2 * 4).all()
    plain = array(run_blocks(blocks, x, drop_settings=drop_settings))
    assert (plain == 4).all()


def test_padding_is_left_out_first():
    mask = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1]])
    seed = keras.random.SeedGenerator(3)
    for _ in range(5):
        x = ops.ones((2, 6, 1))
        chosen = choose_tokens(x, 0.5, seed, ops.convert_to_tensor(mask))
        assert array(chosen)[0].tolist() == [0, 1, 2]
        assert (np.diff(array(chosen), axis=1) > 0).all()


def test_what_is_taken_is_put_back():
    rng = np.random.default_rng(0)
    x = ops.convert_to_tensor(rng.standard_normal((2, 7, 3)))
    chosen = ops.convert_to_tensor([[0, 3, 4], [1, 2, 6]])
    there = scatter_tokens(ops.zeros_like(x), gather_tokens(x, chosen), chosen)
    expected = np.zeros((2, 7, 3))
    for row, places in enumerate(array(chosen)):
        expected[row, places] = array(x)[row, places]
    assert_same(array(there), expected.astype(array(there).dtype))


@pytest.mark.compiles
@pytest.mark.parametrize("family", ["GPT2", "BERT"])
def test_a_model_trains_on_fewer_tokens(family):
    model = compiled(family, num_layers=3)
    x = make_inputs(model)
    before = outputs(model.network, x)
    model.set_training_options(token_drop=0.4, layer_drop=0.3, dropout=0.1)
    # Nothing is left out where it counts.
    assert_close(outputs(model.network, x), before, "float32")
    fit(model)


# --- length -------------------------------------------------------------------


def test_neighbours_are_pooled_and_the_first_is_not():
    x = ops.convert_to_tensor(np.arange(1.0, 9.0).reshape(1, 8, 1))
    pooled, mask = pool_tokens(x, 3)
    assert array(pooled)[0, :, 0].tolist() == [1.0, 3.0, 6.0, 8.0]
    assert array(mask).all()
    padding = ops.convert_to_tensor([[1, 1, 1, 1, 1, 0, 0, 0]])
    pooled, mask = pool_tokens(x, 3, padding)
    assert array(pooled)[0, :, 0].tolist() == [1.0, 3.0, 5.0, 0.0]
    assert array(mask).tolist() == [[True, True, True, False]]


def masked(batch=4, length=8, predictions=3, seed=0):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 11, (batch, length))
    places = np.sort(
        rng.permuted(np.tile(np.arange(length), (batch, 1)), axis=1)
    )
    places = places[:, :predictions]
    x = {
        "token_ids": tokens,
        "padding_mask": np.arange(length) < np.array([[8], [6], [8], [7]]),
        "masked_positions": places,
    }
    return x, np.take_along_axis(tokens, places, axis=1)


def bert(**overrides):
    return compiled("BERT", max_sequence_length=8, **overrides)


def test_what_is_predicted_can_be_asked_for():
    model = bert()
    x, _ = masked()
    some = array(model.network(x))
    whole = array(model.network({k: v for k, v in x.items() if "pos" not in k}))
    places = x["masked_positions"][..., None]
    assert_close(some, np.take_along_axis(whole, places, axis=1), "float32")


def test_pooling_is_removed_by_an_event():
    """Sec. 3.1: the small stage sees all text, at a lower resolution; what
    follows has the same weights."""
    model = bert()
    x, y = masked()
    model.set_training_options(pooling=2)
    shapes = []
    block = model.network.transformer_layers[1]
    call = block.call
    block.call = lambda x, **kw: shapes.append(tuple(x.shape)) or call(x, **kw)
    assert model.network(x).shape == (4, 3, 11)
    # One alone, four pools of two, and three that are predicted.
    assert shapes == [(4, 1 + 4 + 3, 8)]
    block.call = call
    model.fit(x, y, batch_size=2, verbose=0)
    weights = [array(w) for w in model.network.weights]
    assert model.grow({"intermediate_dim": 12}, "direct").exact
    weights = [array(w) for w in model.network.weights]
    model.set_training_options(pooling=1)
    for before, weight in zip(weights, model.network.weights, strict=True):
        assert_same(array(weight), before)
    model.grow({"num_layers": 3}, "stack", probe=x)
    model.fit(x, y, batch_size=2, verbose=0)


def test_a_pool_of_one_pools_nothing():
    """The targets behind the sequence are copies of what stands in it."""
    model = bert(num_layers=1)
    x, _ = masked()
    del x["padding_mask"]
    plain = array(model.network(x))
    model.network.pooling = 1 + 1e-9
    pool = pool_tokens
    import kgrow.models.encoder as module

    module.pool_tokens = lambda x, size, mask: pool(x, 1, mask)
    try:
        assert_close(array(model.network(x)), plain, "float32")
    finally:
        module.pool_tokens = pool


def test_pooling_needs_to_know_what_is_predicted():
    model = bert()
    model.set_training_options(pooling=2)
    x, _ = masked()
    del x["masked_positions"]
    with pytest.raises(ValueError, match='key "masked_positions"'):
        model.network(x)
