"""The plain networks: names, files, dtypes, masks and checked arguments."""

import json

import keras
import numpy as np
import pytest
from keras import ops

from kgrow.algebra.rounding import tolerance
from kgrow.layers import TransformerBlock
from kgrow.models.bert import BERTNetwork
from kgrow.models.gpt2 import GPT2Network
from kgrow.models.mlp import MLPNetwork

pytestmark = pytest.mark.compiles

TEXT = dict(
    vocabulary_size=50,
    num_layers=2,
    num_heads=2,
    hidden_dim=8,
    intermediate_dim=32,
    max_sequence_length=16,
)
MLP = dict(
    input_dim=4, output_dim=3, hidden_dim=8, intermediate_dim=16, num_layers=2
)
NETWORKS = {
    "gpt2": (GPT2Network, TEXT),
    "bert": (BERTNetwork, TEXT),
    "mlp": (MLPNetwork, MLP),
}
FAMILIES = pytest.mark.parametrize("family", NETWORKS)

BLOCK_PATHS = [
    "self_attention/query/kernel",
    "self_attention/query/bias",
    "self_attention/key/kernel",
    "self_attention/key/bias",
    "self_attention/value/kernel",
    "self_attention/value/bias",
    "self_attention/attention_output/kernel",
    "self_attention/attention_output/bias",
    "self_attention_layer_norm/gamma",
    "self_attention_layer_norm/beta",
    "feedforward_intermediate_dense/kernel",
    "feedforward_intermediate_dense/bias",
    "feedforward_output_dense/kernel",
    "feedforward_output_dense/bias",
    "feedforward_layer_norm/gamma",
    "feedforward_layer_norm/beta",
]
BLOCKS = [
    f"transformer_layer_{i}/{path}" for i in range(2) for path in BLOCK_PATHS
]
PATHS = {
    "gpt2": [
        "token_embedding/embeddings",
        "position_embedding/embeddings",
        *BLOCKS,
        "layer_norm/gamma",
        "layer_norm/beta",
    ],
    "bert": [
        "token_embedding/embeddings",
        "position_embedding/embeddings",
        "segment_embedding/embeddings",
        "embeddings_layer_norm/gamma",
        "embeddings_layer_norm/beta",
        *BLOCKS,
        "mlm_dense/kernel",
        "mlm_dense/bias",
        "mlm_layer_norm/gamma",
        "mlm_layer_norm/beta",
        "mlm_bias/bias",
    ],
    "mlp": [
        "input_dense/kernel",
        "input_dense/bias",
        *(
            f"layer_{i}/{layer}/{name}"
            for i in range(2)
            for layer in ("intermediate_dense", "output_dense")
            for name in ("kernel", "bias")
        ),
        "output_dense/kernel",
        "output_dense/bias",
    ],
}


def make(family, **overrides):
    cls, config = NETWORKS[family]
    return cls(**{**config, "dropout": 0.0, **overrides})


def make_inputs(family, batch=2, length=7):
    rng = np.random.default_rng(0)
    if family == "mlp":
        return rng.normal(size=(batch, MLP["input_dim"])).astype("float32")
    return rng.integers(50, size=(batch, length), dtype="int32")


def make_targets(family, inputs):
    classes = 3 if family == "mlp" else 50
    shape = inputs.shape[:1] if family == "mlp" else inputs.shape
    return np.random.default_rng(1).integers(classes, size=shape)


def relative_paths(network, variables):
    prefix = network.path + "/"
    assert all(v.path.startswith(prefix) for v in variables)
    return [v.path.removeprefix(prefix) for v in variables]


def add_noise(model, scale=0.3):
    """Biases, gains and offsets that are not the neutral ones."""
    rng = np.random.default_rng(2)
    for v in model.trainable_variables:
        value = ops.convert_to_numpy(v)
        v.assign(value + scale * rng.normal(size=v.shape) / v.shape[0] ** 0.5)


def assert_close(actual, expected, dtype, fan_in, depth):
    actual, expected = (ops.convert_to_numpy(x) for x in (actual, expected))
    bound = tolerance(dtype, fan_in, depth) * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


@FAMILIES
def test_paths_are_a_contract(family):
    with keras.StatelessScope(initialize_variables=False):
        network = make(family, dropout=0.1, name="anything")
        again = make(family, dropout=0.1)
    assert relative_paths(network, network.trainable_variables) == PATHS[family]
    paths = relative_paths(network, network.variables)
    assert len(set(paths)) == len(paths)
    assert relative_paths(again, again.variables) == paths


@FAMILIES
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_config_rebuilds_the_network(family, policy):
    cls = NETWORKS[family][0]
    with keras.StatelessScope(initialize_variables=False):
        network = make(family, dropout=0.1, dtype=policy, name="grown")
        config = json.loads(json.dumps(network.get_config()))
        twin = cls.from_config(config)
    assert twin.get_config() == config == network.get_config()
    assert [(v.path, v.shape, v.dtype) for v in twin.variables] == [
        (v.path, v.shape, v.dtype) for v in network.variables
    ]


@pytest.mark.compiles
@FAMILIES
def test_file_rebuilds_the_network(family, tmp_path):
    network = make(family, dropout=0.1)
    add_noise(network)
    network.save(tmp_path / "network.keras")
    loaded = keras.saving.load_model(tmp_path / "network.keras")
    inputs = make_inputs(family)
    np.testing.assert_array_equal(
        ops.convert_to_numpy(loaded(inputs)),
        ops.convert_to_numpy(network(inputs)),
    )


@pytest.mark.each
@FAMILIES
def test_no_value_exists_in_a_stateless_scope(family):
    reference = make(family, dropout=0.1)
    with keras.StatelessScope(initialize_variables=False):
        network = make(family, dropout=0.1)
    assert network.built
    assert [v.shape for v in network.variables] == [
        v.shape for v in reference.variables
    ]
    assert all(v._value is None for v in network.variables)


@pytest.mark.grid
@FAMILIES
@pytest.mark.parametrize(
    "policy, dropout",
    [
        ("float32", 0.1),
        ("mixed_bfloat16", 0.0),
        pytest.param("mixed_float16", 0.0, marks=pytest.mark.slow),
        pytest.param("float64", 0.0, marks=pytest.mark.slow),
    ],
)
def test_trains_under_every_dtype_policy(family, policy, dropout, request):
    if policy == "float64":
        request.getfixturevalue("float64")
    if policy == "mixed_float16" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float16 matrix product on CPU")
    network = make(family, num_layers=1, dropout=dropout, dtype=policy)
    inputs = make_inputs(family)
    assert network(keras.Input(inputs.shape[1:], dtype=inputs.dtype)).shape == (
        None,
        *network(inputs).shape[1:],
    )
    outputs = network(inputs)
    dtype = keras.backend.standardize_dtype(outputs.dtype)
    assert dtype == network.compute_dtype
    network.compile(
        optimizer=keras.optimizers.Adam(1e-2),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    targets = make_targets(family, inputs)
    history = network.fit(inputs, targets, epochs=5, verbose=0).history["loss"]
    assert history[-1] < history[0]


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_head_dim_is_a_field_of_its_own(family):
    assert make(family).get_config()["head_dim"] == 4
    network = make(family, num_heads=3, head_dim=5)
    query = network.transformer_layers[0].self_attention.query_dense.kernel
    assert tuple(query.shape) == (8, 3, 5)
    with pytest.raises(ValueError, match="Received: hidden_dim=8, num_heads=3"):
        make(family, num_heads=3)


@pytest.mark.parametrize(
    "overrides, message",
    [
        ({"hidden_dim": 0}, "`hidden_dim` must be an integer of at least 1"),
        ({"num_layers": 1.5}, "num_layers=1.5 .of type float"),
        ({"dropout": 1.0}, "`dropout` must be a number from 0 to less than 1"),
    ],
)
@FAMILIES
def test_arguments_are_checked(family, overrides, message):
    with pytest.raises(ValueError, match=message):
        make(family, **overrides)


@FAMILIES
def test_a_network_may_have_no_blocks(family):
    network = make(family, num_layers=0)
    assert network(make_inputs(family)).shape[0] == 2


@pytest.mark.parametrize("family", ["gpt2", "bert"])
def test_inputs_that_are_too_long_are_refused(family):
    with pytest.raises(ValueError, match="length 17, max_sequence_length=16"):
        make(family)(make_inputs(family, length=17))


@pytest.mark.parametrize(
    "norm, variables", [("layer", ["gamma", "beta"]), ("rms", ["scale"])]
)
def test_the_norm_of_a_block_is_chosen_and_kept(norm, variables):
    block = TransformerBlock(2, 4, 16, norm=norm, name="block")
    block.build((None, None, 8))
    config = json.loads(json.dumps(block.get_config()))
    twin = TransformerBlock.from_config(config)
    twin.build((None, None, 8))
    assert twin.get_config() == config
    paths = [v.path for v in block.trainable_variables]
    assert [v.path for v in twin.trainable_variables] == paths
    assert [p for p in paths if "_layer_norm/" in p] == [
        f"block/{branch}_layer_norm/{variable}"
        for branch in ("self_attention", "feedforward")
        for variable in variables
    ]


def test_a_block_says_which_norms_there_are():
    with pytest.raises(ValueError, match="Received: norm='batch'"):
        TransformerBlock(2, 4, 16, norm="batch")


@pytest.mark.each
def test_gpt2_does_not_look_ahead():
    network = make("gpt2")
    add_noise(network)
    inputs = make_inputs("gpt2")
    changed = inputs.copy()
    changed[:, 4:] = 1 - changed[:, 4:] % 2
    before, after = network(inputs), network(changed)
    assert_close(after[:, :4], before[:, :4], "float32", 32, 8)
    with pytest.raises(AssertionError, match="Mismatched elements"):
        assert_close(after[:, 4:], before[:, 4:], "float32", 32, 8)


def test_bert_ignores_padding_and_fills_in_what_is_missing():
    network = make("bert")
    add_noise(network)
    token_ids = make_inputs("bert")
    ones, zeros = np.ones_like(token_ids), np.zeros_like(token_ids)
    full = {"token_ids": token_ids, "segment_ids": zeros, "padding_mask": ones}
    expected = network(full)
    assert_close(network(token_ids), expected, "float32", 32, 8)
    mask = ones.copy()
    mask[:, 4:] = 0
    changed = token_ids.copy()
    changed[:, 4:] = 1
    padded = [
        network({"token_ids": ids, "padding_mask": mask})[:, :4]
        for ids in (token_ids, changed)
    ]
    assert_close(padded[0], padded[1], "float32", 32, 8)
    with pytest.raises(ValueError, match=r"Received: .*\['ids'\]"):
        network({"ids": token_ids})
