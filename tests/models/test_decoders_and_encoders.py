"""Llama and RoBERTa: what they compute, and that they grow like the others."""

import json

import keras
import numpy as np
import pytest
from helpers.toy import (
    DEPTH,
    FAN_IN,
    array,
    give_zeros,
    make_inputs,
    make_model,
    outputs,
    randomize,
    relative_difference,
    values_of,
)
from keras import ops

import kgrow
from kgrow import GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.growth.gates import carry_gates
from kgrow.layers import LlamaBlock, RotaryAttention, RotaryEmbedding
from kgrow.models.llama import LlamaNetwork
from kgrow.models.roberta import RoBERTaNetwork

# Mostly compilation; `test_families` runs each family on every backend.
pytestmark = pytest.mark.compiles

LLAMA = dict(
    vocabulary_size=50,
    num_layers=2,
    num_query_heads=4,
    num_key_value_heads=2,
    hidden_dim=16,
    intermediate_dim=24,
)
ROBERTA = dict(
    vocabulary_size=50,
    num_layers=2,
    num_heads=2,
    hidden_dim=8,
    intermediate_dim=32,
    max_sequence_length=16,
    dropout=0.0,
)
NETWORKS = {
    "llama": (LlamaNetwork, LLAMA),
    "tied": (LlamaNetwork, {**LLAMA, "tie_embeddings": True}),
    "roberta": (RoBERTaNetwork, ROBERTA),
}
EVERY = pytest.mark.parametrize("kind", NETWORKS)
TIED = pytest.mark.parametrize("tied", [False, True])


def make(kind, **overrides):
    cls, config = NETWORKS[kind]
    return cls(**{**config, **overrides})


def token_ids(length=7):
    return np.random.default_rng(0).integers(
        50, size=(2, length), dtype="int32"
    )


def assert_close(actual, expected, dtype):
    actual, expected = array(actual), array(expected)
    bound = tolerance(dtype, 50, 20) * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def paths(network):
    return [relative_path(network, v) for v in network.trainable_variables]


# --- the networks -------------------------------------------------------------


def test_paths_are_a_contract():
    block = [
        "self_attention/query/kernel",
        "self_attention/key/kernel",
        "self_attention/value/kernel",
        "self_attention/attention_output/kernel",
        "self_attention_layernorm/scale",
        "feedforward_intermediate_dense/kernel",
        "feedforward_gate_dense/kernel",
        "feedforward_output_dense/kernel",
        "feedforward_layernorm/scale",
    ]
    blocks = [
        f"transformer_layer_{i}/{path}" for i in range(2) for path in block
    ]
    assert paths(make("llama")) == [
        "token_embedding/embeddings",
        "token_embedding/reverse_embeddings",
        *blocks,
        "sequence_output_layernorm/scale",
    ]
    assert paths(make("tied")) == [
        "token_embedding/embeddings",
        *blocks,
        "sequence_output_layernorm/scale",
    ]
    found = paths(make("roberta"))
    assert found[:4] == [
        "token_embedding/embeddings",
        "position_embedding/embeddings",
        "embeddings_layer_norm/gamma",
        "embeddings_layer_norm/beta",
    ]
    assert found[4].startswith("transformer_layer_0/self_attention/query")
    assert found[-5:] == [
        "mlm_dense/kernel",
        "mlm_dense/bias",
        "mlm_layer_norm/gamma",
        "mlm_layer_norm/beta",
        "mlm_bias/bias",
    ]


@EVERY
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_config_rebuilds_the_network(kind, policy):
    with keras.StatelessScope(initialize_variables=False):
        network = make(kind, dropout=0.1, dtype=policy, name="grown")
        config = json.loads(json.dumps(network.get_config()))
        twin = type(network).from_config(config)
    assert twin.get_config() == config == network.get_config()
    assert [(v.path, v.shape, v.dtype) for v in twin.variables] == [
        (v.path, v.shape, v.dtype) for v in network.variables
    ]


@EVERY
def test_every_argument_is_a_field(kind):
    """What the constructor takes is kept, and what is kept is used."""
    network = make(kind, layer_drop=0.25, layer_norm_epsilon=0.5, head_dim=6)
    config = network.get_config()
    assert config["layer_drop"] == 0.25 and config["head_dim"] == 6
    assert network.drop_settings.layer_drop == 0.25
    x = token_ids()
    loose = array(network(x))
    tight = make(kind, layer_norm_epsilon=1e-6, head_dim=6)
    for ours, theirs in zip(tight.weights, network.weights, strict=True):
        ours.assign(theirs)
    assert relative_difference(array(tight(x)), loose) > 1e-3


@EVERY
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float64"])
def test_trains_under_every_dtype_policy(kind, policy, request):
    if policy == "float64":
        request.getfixturevalue("float64")
    network = make(kind, num_layers=1, dtype=policy)
    x = token_ids()
    logits = network(x)
    dtype = keras.backend.standardize_dtype(logits.dtype)
    assert dtype == network.compute_dtype
    network.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    history = network.fit(x, x, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]


@TIED
def test_llama_equals_keras_hub(tied):
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.LlamaBackbone(**LLAMA, tie_word_embeddings=tied)
    randomize(backbone)
    network = make("tied" if tied else "llama")
    values = {v.path: array(v) for v in backbone.trainable_variables}
    for v in network.trainable_variables:
        v.assign(values.pop(relative_path(network, v)))
    assert not values
    ids = token_ids()
    x = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    assert_close(network.encode(ids), x, "float32")
    logits = backbone.token_embedding(x, reverse=True)
    assert_close(network(ids), logits, "float32")


def test_roberta_equals_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.RobertaBackbone(**ROBERTA)
    masked_lm = keras_hub.models.RobertaMaskedLM(backbone)
    # KerasHub's head has the default epsilon of another layer, not RoBERTa's.
    head = masked_lm.masked_lm_head
    head._intermediate_layer_norm.epsilon = 1e-5
    randomize(masked_lm)
    network = make("roberta")
    names = {
        "embeddings/token_embedding": "token_embedding",
        "embeddings/position_embedding": "position_embedding",
        "self_attention_layer/": "self_attention/",
        "mlm_head/intermediate_dense": "mlm_dense",
        "mlm_head/intermediate_layer_norm": "mlm_layer_norm",
        "mlm_head/output_bias": "mlm_bias/bias",
    }
    values = {}
    for v in masked_lm.trainable_variables:
        path = v.path
        for theirs, ours in names.items():
            path = path.replace(theirs, ours)
        values[path] = array(v)
    for v in network.trainable_variables:
        v.assign(values.pop(relative_path(network, v)))
    assert not values
    inputs = {
        "token_ids": token_ids(),
        "padding_mask": np.array([[1] * 7, [1] * 5 + [0] * 2], "int32"),
    }
    assert_close(network.encode(inputs), backbone(inputs), "float32")
    positions = np.tile(np.arange(7, dtype="int32"), (2, 1))
    logits = masked_lm({**inputs, "mask_positions": positions})
    assert_close(network(inputs), logits, "float32")


# --- what Llama computes, with nothing of Keras in it -------------------------


def turned(x, wavelength):
    pairs = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * wavelength ** (
        -np.arange(pairs) / pairs
    )
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    first, second = x[..., :pairs], x[..., pairs:]
    return np.concatenate(
        [first * cos - second * sin, second * cos + first * sin], axis=-1
    )


def numpy_attention(x, layer):
    q = turned(np.einsum("btm,muh->btuh", x, array(layer.query.kernel)), 100.0)
    k = turned(np.einsum("btm,mvh->btvh", x, array(layer.key.kernel)), 100.0)
    v = np.einsum("btm,mvh->btvh", x, array(layer.value.kernel))
    heads = []
    for u in range(layer.num_query_heads):
        shared = u // layer.group_size
        scores = np.einsum("bth,bsh->bts", q[:, :, u], k[:, :, shared])
        scores = scores / np.sqrt(q.shape[-1])
        causal = np.tril(np.ones(scores.shape[1:], bool))
        scores = np.where(causal, scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        heads.append(weights @ v[:, :, shared])
    kernel = array(layer.attention_output.kernel)
    return np.einsum("btuh,uhm->btm", np.stack(heads, axis=2), kernel)


def rms_norm(x, layer):
    x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + layer.epsilon)
    return x * array(layer.scale)


def test_float64_llama(float64):
    network = randomize(make("llama", rope_max_wavelength=100.0))
    ids = token_ids(9)
    x = array(network.token_embedding.embeddings)[ids]
    for block in network.transformer_layers:
        y = rms_norm(x, block.self_attention_layernorm)
        x = x + numpy_attention(y, block.self_attention)
        y = rms_norm(x, block.feedforward_layernorm)
        gate = y @ array(block.feedforward_gate_dense.kernel)
        y = y @ array(block.feedforward_intermediate_dense.kernel)
        y = y * gate / (1 + np.exp(-gate))
        x = x + y @ array(block.feedforward_output_dense.kernel)
    x = rms_norm(x, network.layer_norm)
    expected = x @ array(network.token_embedding.reverse_embeddings)
    assert_close(network(ids), expected, "float64")


def test_both_ways_through_attention_are_one():
    """With dropout Keras' fused attention is not used."""
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")
    one = RotaryAttention(4, 2, 4)
    other = RotaryAttention(4, 2, 4, dropout=0.5)
    for layer in (one, other):
        layer.build(x.shape)
        randomize(layer)
    assert_close(other(x), one(x), "float32")
    dropped = array(other(x, training=True))
    assert relative_difference(dropped, array(one(x))) > 0.01


def test_rotary_products_depend_on_distance_alone():
    rng = np.random.default_rng(0)
    layer = RotaryEmbedding(max_wavelength=50)
    q, k = (
        np.tile(rng.standard_normal((1, 1, 1, 6)), (1, 9, 1, 1)).astype(
            "float32"
        )
        for _ in range(2)
    )
    products = array(layer(q))[0, :, 0] @ array(layer(k))[0, :, 0].T
    assert_close(products[1:, 1:], products[:-1, :-1], "float32")
    twin = RotaryEmbedding.from_config(layer.get_config())
    assert_close(twin(q), layer(q), "float32")


def test_llama_does_not_look_ahead():
    network = randomize(make("llama"))
    ids = token_ids()
    changed = ids.copy()
    changed[:, 4:] = 1 - changed[:, 4:] % 2
    before, after = array(network(ids)), array(network(changed))
    assert_close(after[:, :4], before[:, :4], "float32")
    assert relative_difference(after[:, 4:], before[:, 4:]) > 0.01


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"num_query_heads": 5, "head_dim": 4}, "as a multiple of"),
        ({"head_dim": 5}, "`head_dim` must be even"),
        ({"num_query_heads": 6}, "Received: hidden_dim=16, num_query_heads=6"),
        ({"num_key_value_heads": 0}, "integer of at least 1"),
        ({"rope_max_wavelength": 0}, "must be a number above 0"),
        ({"tie_embeddings": "no"}, "Received: tie_embeddings='no'"),
        ({"dropout": 1.0}, "`dropout` must be a number"),
        ({"layer_drop": 1.0}, "`layer_drop` must be a number"),
    ],
)
def test_arguments_are_checked(overrides, message):
    with pytest.raises(GrowthError, match=message):
        make("llama", **overrides)


def test_roberta_has_no_segments():
    ids = token_ids()
    with pytest.raises(ValueError, match="Received: a dict with the keys"):
        make("roberta")({"token_ids": ids, "segment_ids": ids})


def test_layers_are_made_again_from_their_configs():
    x = np.random.default_rng(0).standard_normal((2, 6, 8)).astype("float32")
    for layer in (
        RotaryAttention(4, 2, 4, max_wavelength=7, name="a"),
        LlamaBlock(4, 2, 4, 12, max_wavelength=7, dropout=0.2, name="b"),
    ):
        layer.build(x.shape)
        config = json.loads(json.dumps(layer.get_config()))
        twin = type(layer).from_config(config)
        twin.build(x.shape)
        assert twin.get_config() == config
        randomize(layer), randomize(twin)
        assert_close(twin(x), layer(x), "float32")


@EVERY
def test_treatments_are_put_on_and_taken_off(kind):
    family = kgrow.models.RoBERTa if kind == "roberta" else kgrow.models.Llama
    model = family(**NETWORKS[kind][1])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(True))
    x = token_ids()
    model.set_training_options(layer_drop=0.5, dropout=0.25)
    model.fit(x, x, verbose=0)
    assert model.training_options["layer_drop"] == 0.5
    model.set_training_options(layer_drop=0.0, dropout=0.0)
    model.fit(x, x, verbose=0)


# --- growing them -------------------------------------------------------------

GROWN = {
    "Llama": {
        "hidden_dim": 16,
        "intermediate_dim": 20,
        "num_query_heads": 18,
        "num_key_value_heads": 6,
        "num_layers": 3,
    },
    "RoBERTa": {
        "hidden_dim": 16,
        "intermediate_dim": 20,
        "num_heads": 6,
        "num_layers": 3,
    },
}


def strategy_for(name):
    """A strategy that grows depth as well."""
    if name == "hypercloning":
        return strategies.Combine("hypercloning", "identity")
    if name == "ligo":
        return strategies.LiGO(init="lemon", steps=2, verbose=0)
    return strategies.MSG(ramp=4) if name == "msg" else strategies.get(name)


def compiled(model):
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


@pytest.mark.sample
@pytest.mark.parametrize(
    "name", ["net2net", "lemon", "hypercloning", "msg", "ligo"]
)
@pytest.mark.parametrize("family", ["Llama", "Llama-tied", "RoBERTa"])
def test_width_and_depth_grow_while_it_trains(family, name, tmp_path):
    family, _, tied = family.partition("-")
    options = {"tie_embeddings": True} if tied else {}
    model = compiled(make_model(family, **options))
    x = make_inputs(model)
    model.fit(x, x, verbose=0)
    receipt = model.grow(GROWN[family], strategy_for(name), data=(x, x), seed=0)
    if name == "ligo":
        assert not receipt.exact
    else:
        assert receipt.exact and receipt.relative_diff <= receipt.tolerance
    assert model.growth_config == {**model.growth_config, **GROWN[family]}
    model.fit(x, x, epochs=3, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.growth_config == model.growth_config
    assert_close(loaded(x), model(x), "float32")
    loaded.fit(x, x, verbose=0)


@pytest.mark.sample
@TIED
@pytest.mark.parametrize(
    "target, group, kv",
    [
        ({"num_query_heads": 18}, 6, 3),
        ({"num_query_heads": 15}, 5, 3),
        ({"num_query_heads": 12, "num_key_value_heads": 4}, 3, 4),
        ({"num_query_heads": 40, "num_key_value_heads": 5}, 8, 5),
        ({"head_dim": 8}, 3, 3),
        ({"head_dim": 12, "hidden_dim": 24}, 3, 3),
    ],
)
@pytest.mark.parametrize("name", ["net2net", "lemon", "msg", "direct"])
def test_groups_of_heads_grow_exactly(float64, tied, target, group, kv, name):
    model = make_model("Llama", dtype="float64", tie_embeddings=tied)
    if name == "direct" and "hidden_dim" in target:
        return
    x = make_inputs(model)
    before = array(model(x))
    receipt = model.grow(target, strategy_for(name), seed=1)
    sizes = model.architecture.spec.sizes
    assert (sizes["group"], sizes["kv"]) == (group, kv)
    assert sizes["value"] == 2 * sizes["pairs"] == model.network.head_dim
    assert receipt.exact
    bound = tolerance("float64", FAN_IN, DEPTH)
    assert relative_difference(array(model(x)), before) <= bound


@pytest.mark.sample
@pytest.mark.parametrize("name", strategies.names(aliases=False))
def test_a_tied_llama_claims_what_is_measured(float64, name):
    """As `test_preservation` does for the families as they are."""
    model = make_model("Llama", dtype="float64", tie_embeddings=True)
    x = make_inputs(model)
    before = outputs(model.network, x)
    for target in ({"hidden_dim": 16}, {"hidden_dim": 11}):
        source = model.architecture
        network, spec = source.build(source.check(target))
        give_zeros(network)
        try:
            strategy = strategies.get(name)
            plan = strategy.plan(source.spec, spec, seed=3)
        except GrowthError as error:
            assert "Combine" in str(error) or "Choose" in str(error)
            continue
        grown = plan.apply(values_of(model))
        carry_gates(network, model.network, plan)
        for weight in grown_weights(network):
            weight.assign(grown[relative_path(network, weight)])
        relative = relative_difference(outputs(network, x), before)
        exact = all(claim.exact for claim in strategy.claims(plan))
        assert exact == (relative <= tolerance("float64", FAN_IN, DEPTH))


def test_msg_gates_what_is_new_in_a_llama():
    model = compiled(make_model("Llama"))
    x = make_inputs(model)
    target = {
        "hidden_dim": 11,
        "intermediate_dim": 13,
        "num_query_heads": 20,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "num_layers": 3,
    }
    receipt = model.grow(target, strategies.MSG(ramp=3), seed=0)
    (gate,) = model.network.gates.active_gates
    assert set(gate.units) == {"hidden", "ffn", "kv", "group", "value"}
    assert receipt.exact and set(gate.blocks) == {"layers"}
    for _ in range(4):
        model.fit(x, x, verbose=0)
    assert not model.active_gates


def test_groups_do_not_get_smaller():
    model = make_model("Llama")
    with pytest.raises(GrowthError, match="as a multiple of"):
        model.grow({"num_key_value_heads": 6})
    with pytest.raises(GrowthError, match="cannot shrink"):
        model.grow({"num_key_value_heads": 9})
    with pytest.raises(GrowthError, match="another multiple"):
        model.grow({"head_dim": 6})


@pytest.mark.parametrize("family", ["Llama", "RoBERTa"])
def test_a_network_may_have_no_blocks_yet(family):
    model = make_model(family, num_layers=0)
    x = make_inputs(model)
    before = array(model(x))
    receipt = model.grow({"num_layers": 2}, strategies.MSG(ramp=3), seed=0)
    assert receipt.exact
    np.testing.assert_allclose(array(model(x)), before, rtol=1e-5, atol=1e-5)
    assert ops.shape(model(x))[-1] == 11
