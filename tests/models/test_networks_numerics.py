"""What the networks compute, against NumPy in float64 and against KerasHub."""

import math

import keras
import numpy as np
import pytest
from keras import ops

from kgrow.algebra.rounding import tolerance
from kgrow.layers import TransformerBlock
from kgrow.layers.gelu import gelu_approximate, gelu_exact
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
    dropout=0.0,
)
MLP = dict(
    input_dim=4, output_dim=3, hidden_dim=8, intermediate_dim=16, num_layers=2
)
FAN_IN = 50
DEPTH = 20


def array(tensor):
    return ops.convert_to_numpy(tensor)


def token_ids():
    return np.random.default_rng(0).integers(50, size=(2, 7), dtype="int32")


def add_noise(model):
    """Biases, gains and offsets that are not the neutral ones."""
    rng = np.random.default_rng(2)
    for v in model.trainable_variables:
        v.assign(array(v) + 0.3 * rng.normal(size=v.shape) / v.shape[0] ** 0.5)


def assert_close(actual, expected, dtype):
    actual, expected = array(actual), array(expected)
    bound = tolerance(dtype, FAN_IN, DEPTH) * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, rtol=0, atol=bound)


def rms_norm(x, layer):
    x = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + layer.epsilon)
    return x * array(layer.scale)


def layer_norm(x, layer):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    x = (x - mean) / np.sqrt(variance + layer.epsilon)
    return x * array(layer.gamma) + array(layer.beta)


def dense(x, layer, equation="...i,io->...o"):
    return np.einsum(equation, x, array(layer.kernel)) + array(layer.bias)


def attention(x, layer, mask):
    q, k, v = (
        dense(x, projection, "btd,dnh->btnh")
        for projection in (
            layer.query_dense,
            layer.key_dense,
            layer.value_dense,
        )
    )
    scores = np.einsum("btnh,bsnh->bnts", q, k) / np.sqrt(q.shape[-1])
    scores = np.where(mask, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    context = np.einsum("bnts,bsnh->btnh", weights, v)
    return dense(context, layer.output_dense, "btnh,nhd->btd")


def numpy_gelu_approximate(x):
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + np.tanh(inner))


def numpy_gelu_exact(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / np.sqrt(2)))


def numpy_block(x, block, mask):
    """The published block, with nothing of Keras in it."""

    def attend(x):
        return attention(x, block.self_attention, mask)

    def feedforward(x):
        x = dense(x, block.feedforward_intermediate_dense)
        return dense(numpy_gelu_approximate(x), block.feedforward_output_dense)

    normalise = rms_norm if block.norm == "rms" else layer_norm
    norms = block.self_attention_layer_norm, block.feedforward_layer_norm
    for branch, norm in zip((attend, feedforward), norms, strict=True):
        if block.norm_first:
            x = x + branch(normalise(x, norm))
        else:
            x = normalise(x + branch(x), norm)
    return x


@pytest.mark.grid
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_float64_block(float64, norm, norm_first, causal, padded):
    block = TransformerBlock(
        num_heads=3,
        head_dim=4,
        intermediate_dim=16,
        activation=gelu_approximate,
        norm_first=norm_first,
        causal=causal,
        norm=norm,
    )
    x = 3 * np.random.default_rng(3).normal(size=(2, 5, 8))
    block.build(x.shape)
    add_noise(block)
    mask = np.tril(np.ones((5, 5), bool)) if causal else np.ones((5, 5), bool)
    padding_mask = None
    if padded:
        padding_mask = np.array([[1, 1, 1, 1, 0], [1, 1, 1, 0, 0]], bool)
        mask = mask & padding_mask[:, None, None, :]
    outputs = block(ops.convert_to_tensor(x), padding_mask=padding_mask)
    assert keras.backend.standardize_dtype(outputs.dtype) == "float64"
    assert_close(outputs, numpy_block(x, block, mask), "float64")


@pytest.mark.each
def test_float64_mlp(float64):
    network = MLPNetwork(**MLP)
    add_noise(network)
    inputs = np.random.default_rng(0).normal(size=(2, 4))
    x = dense(inputs, network.input_dense)
    for layer in network.residual_layers:
        hidden = np.maximum(dense(x, layer.intermediate_dense), 0)
        x = x + dense(hidden, layer.output_dense)
    outputs = network(ops.convert_to_tensor(inputs))
    assert_close(outputs, dense(x, network.output_dense), "float64")


@pytest.mark.compiles
def test_float64_gpt2(float64):
    network = GPT2Network(**TEXT)
    add_noise(network)
    ids = token_ids()
    table = array(network.token_embedding.embeddings)
    x = table[ids] + array(network.position_embedding.embeddings)[:7]
    for block in network.transformer_layers:
        x = numpy_block(x, block, np.tril(np.ones((7, 7), bool)))
    expected = layer_norm(x, network.layer_norm) @ table.T
    assert_close(network(ids), expected, "float64")


@pytest.mark.compiles
def test_float64_bert(float64):
    network = BERTNetwork(**TEXT)
    add_noise(network)
    ids = token_ids()
    segments = ids % 2
    table = array(network.token_embedding.embeddings)
    x = table[ids] + array(network.position_embedding.embeddings)[:7]
    x = x + array(network.segment_embedding.embeddings)[segments]
    x = layer_norm(x, network.embeddings_layer_norm)
    for block in network.transformer_layers:
        x = numpy_block(x, block, np.ones((7, 7), bool))
    x = numpy_gelu_exact(dense(x, network.mlm_dense))
    x = layer_norm(x, network.mlm_layer_norm)
    expected = x @ table.T + array(network.mlm_bias.bias)
    outputs = network({"token_ids": ids, "segment_ids": segments})
    assert_close(outputs, expected, "float64")


@pytest.mark.each
@pytest.mark.parametrize(
    "ours, theirs",
    [
        (gelu_approximate, numpy_gelu_approximate),
        (gelu_exact, numpy_gelu_exact),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu(float64, ours, theirs, dtype):
    x = np.linspace(-5, 5, 101).astype(dtype)
    outputs = ours(ops.convert_to_tensor(x))
    assert keras.backend.standardize_dtype(outputs.dtype) == dtype
    assert_close(outputs, theirs(x.astype("float64")), dtype)


def copy_by_path(source, target, rename):
    """Fills `target` from variables of the same path; returns those left."""
    values = {rename(v.path): array(v) for v in source.trainable_variables}
    for v in target.trainable_variables:
        v.assign(values.pop(v.path.removeprefix(target.path + "/")))
    return set(values)


def test_gpt2_equals_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.GPT2Backbone(**TEXT)
    add_noise(backbone)
    network = GPT2Network(**TEXT)
    assert not copy_by_path(backbone, network, lambda path: path)
    ids = token_ids()
    x = backbone({"token_ids": ids, "padding_mask": np.ones_like(ids)})
    assert_close(network.encode(ids), x, "float32")
    logits = backbone.token_embedding(x, reverse=True)
    assert_close(network(ids), logits, "float32")


def test_bert_equals_keras_hub():
    keras_hub = pytest.importorskip("keras_hub")
    backbone = keras_hub.models.BertBackbone(**TEXT)
    masked_lm = keras_hub.models.BertMaskedLM(backbone)
    # KerasHub's head has the default epsilon of another layer, not BERT's.
    head = masked_lm.masked_lm_head
    head._intermediate_layer_norm.epsilon = 1e-12
    add_noise(masked_lm)
    network = BERTNetwork(**TEXT)
    names = {
        "self_attention_layer/": "self_attention/",
        "mlm_head/intermediate_dense": "mlm_dense",
        "mlm_head/intermediate_layer_norm": "mlm_layer_norm",
        "mlm_head/output_bias": "mlm_bias/bias",
    }

    def rename(path):
        for theirs, ours in names.items():
            path = path.replace(theirs, ours)
        return path

    left = copy_by_path(masked_lm, network, rename)
    assert left <= {"pooled_dense/kernel", "pooled_dense/bias"}
    ids = token_ids()
    inputs = {
        "token_ids": ids,
        "segment_ids": ids % 2,
        "padding_mask": np.array([[1] * 7, [1] * 5 + [0] * 2], "int32"),
    }
    hidden = backbone(inputs)["sequence_output"]
    assert_close(network.encode(inputs), hidden, "float32")
    positions = np.tile(np.arange(7, dtype="int32"), (2, 1))
    logits = masked_lm({**inputs, "mask_positions": positions})
    assert_close(network(inputs), logits, "float32")
