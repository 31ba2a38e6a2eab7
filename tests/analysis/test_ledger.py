import math

import keras
import numpy as np
import pytest
from keras import layers

import kgrow
from kgrow.algebra.errors import GrowthError
from kgrow.analysis.ledger import (
    Comparison,
    CostRecord,
    StageCost,
    cost,
    cost_to_reach,
)
from kgrow.backend.flops import forward_flops, training_flops

pytestmark = pytest.mark.once

BATCH, LENGTH, HIDDEN, HEADS, FFN, VOCAB = 4, 32, 128, 4, 256, 64


def _transformer(dropout=0.0):
    """One pre-norm block between a tied embedding and its reverse."""
    ids = keras.Input((LENGTH,), dtype="int32")
    embedding = layers.ReversibleEmbedding(VOCAB, HIDDEN)
    x = embedding(ids)
    y = layers.LayerNormalization()(x)
    x += layers.MultiHeadAttention(HEADS, HIDDEN // HEADS, dropout=dropout)(
        y, y, use_causal_mask=True
    )
    y = layers.LayerNormalization()(x)
    y = layers.Dense(FFN, activation="gelu")(y)
    x += layers.EinsumDense("btf,fd->btd", (None, HIDDEN), bias_axes="d")(y)
    return keras.Model(ids, embedding(x, reverse=True))


def _transformer_flops():
    per_token = 4 * HIDDEN**2 + 2 * HIDDEN * FFN + HIDDEN * VOCAB
    return 2 * BATCH * LENGTH * (per_token + 2 * LENGTH * HIDDEN)


def test_transformer_by_hand():
    assert (
        forward_flops(_transformer(), (BATCH, LENGTH)) == _transformer_flops()
    )


def test_training_is_three_passes():
    network = _transformer()
    assert training_flops(network, (BATCH, LENGTH)) == 3 * _transformer_flops()


class TiedHead(keras.Model):
    """Contracts in `call`, without a layer to show for it."""

    def __init__(self):
        super().__init__()
        self.embedding = layers.Embedding(VOCAB, HIDDEN)

    def build(self, input_shape):
        self.embedding.build()

    def call(self, ids):
        x = self.embedding(ids)
        return keras.ops.matmul(
            x, keras.ops.transpose(self.embedding.embeddings)
        )


def test_contraction_outside_a_layer_is_counted():
    network = TiedHead()
    network.build((None, LENGTH))
    flops = forward_flops(network, (BATCH, LENGTH), dtype="int32")
    assert flops == 2 * BATCH * LENGTH * HIDDEN * VOCAB


CONVOLUTIONS = {
    # At an edge two of three taps are inside: 16 along 6 places.
    "conv": (layers.Conv2D(8, 3, padding="same"), 16**2 * 4 * 8),
    "strided": (layers.Conv2D(8, 3, strides=2, padding="same"), 8**2 * 4 * 8),
    "dilated": (
        layers.Conv2D(8, 3, dilation_rate=2, padding="same"),
        14**2 * 4 * 8,
    ),
    "grouped": (layers.Conv2D(8, 3, groups=2), 16 * 9 * 2 * 8),
    "depthwise": (layers.DepthwiseConv2D(3, depth_multiplier=2), 16 * 9 * 8),
    "separable": (layers.SeparableConv2D(5, 3), 16 * (9 * 4 + 4 * 5)),
    "transposed": (layers.Conv2DTranspose(8, 2, strides=2), 36 * 4 * 4 * 8),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution_by_hand(name):
    layer, multiplications = CONVOLUTIONS[name]
    layer.build((None, 6, 6, 4))
    assert forward_flops(layer, (2, 6, 6, 4)) == 2 * 2 * multiplications


EINSUMS = {
    "bth,hnd->btnd": ((2, 3, 5), (5, 7, 11), 2 * 3 * 5 * 7 * 11),
    "...h,hd->...d": ((2, 3, 5), (5, 7), 2 * 3 * 5 * 7),
    "b...d,d->b...": ((2, 3, 5), (5,), 2 * 3 * 5),
    "ab,ab->a": ((2, 3), (2, 3), 2 * 3),
    "ab,b->ab": ((2, 3), (3,), 0),
}


@pytest.mark.parametrize("subscripts", EINSUMS)
def test_einsum_by_hand(subscripts):
    left, right, multiplications = EINSUMS[subscripts]
    weight = np.ones(right, "float32")
    layer = layers.Lambda(lambda x: keras.ops.einsum(subscripts, x, weight))
    assert forward_flops(layer, left) == 2 * multiplications


def test_three_operands_contract_from_the_left():
    a, b = np.ones((3, 5), "float32"), np.ones((5, 7), "float32")
    layer = layers.Lambda(lambda x: keras.ops.einsum("ij,jk,kl->il", x, a, b))
    assert forward_flops(layer, (2, 3)) == 2 * (2 * 3 * 5 + 2 * 5 * 7)


def test_tensordot_by_hand():
    weight = np.ones((3, 5, 7), "float32")
    layer = layers.Lambda(lambda x: keras.ops.tensordot(x, weight, axes=2))
    assert forward_flops(layer, (2, 3, 5)) == 2 * 2 * 3 * 5 * 7


def test_several_inputs():
    left, right = keras.Input((3, 4)), keras.Input((4, 5))
    network = keras.Model([left, right], keras.ops.matmul(left, right))
    inputs = [keras.KerasTensor((2, 3, 4)), keras.KerasTensor((2, 4, 5))]
    assert forward_flops(network, inputs) == 2 * 2 * 3 * 4 * 5


def test_counting_leaves_no_trace():
    from keras.src import backend

    before = backend.numpy.matmul
    forward_flops(_transformer(), (BATCH, LENGTH))
    assert backend.numpy.matmul is before


def test_batch_must_be_known():
    with pytest.raises(ValueError, match="batch included"):
        forward_flops(_transformer(), (None, LENGTH))


GPT2 = dict(
    vocabulary_size=64,
    num_layers=4,
    num_heads=2,
    hidden_dim=32,
    intermediate_dim=64,
    max_sequence_length=32,
    dropout=0.1,
)
# One block of it on 2 x 32 tokens, and the tied head: projections, feedforward
# network and attention.
GPT2_BLOCK = 2 * 64 * (4 * 32**2 + 2 * 32 * 64 + 2 * 32 * 32)
GPT2_HEAD = 2 * 64 * 32 * 64


def _gpt2_flops(**options):
    model = kgrow.models.GPT2(**GPT2, **options)
    return training_flops(model, (2, 32), "int32")


def test_blocks_that_are_skipped_count_for_their_share():
    assert _gpt2_flops() == 3 * (4 * GPT2_BLOCK + GPT2_HEAD)
    # At a rate of 0.5 the blocks are run with these probabilities.
    runs = 0.875 + 0.75 + 0.625 + 0.5
    dropped = _gpt2_flops(layer_drop=0.5)
    assert dropped == 3 * (runs * GPT2_BLOCK + GPT2_HEAD)


def test_tokens_that_are_left_out_are_not_counted():
    # The two blocks in the middle have 16 tokens in place of 32.
    short = 2 * 32 * (4 * 32**2 + 2 * 32 * 64 + 2 * 16 * 32)
    expected = 3 * (2 * GPT2_BLOCK + 2 * short + GPT2_HEAD)
    assert _gpt2_flops(token_drop=0.5) == expected


def test_nothing_is_left_out_of_inference():
    model = kgrow.models.GPT2(**GPT2, layer_drop=0.5, token_drop=0.5)
    plain = forward_flops(kgrow.models.GPT2(**GPT2), (2, 32), "int32")
    assert forward_flops(model, (2, 32), "int32") == plain


def test_gates_and_masks_change_nothing():
    model = kgrow.models.GPT2(**GPT2)
    model.grow({"hidden_dim": 48, "num_heads": 3}, "msg")
    assert model.active_gates
    gated = training_flops(model, (2, 32), "int32")
    model.force_open_gates()
    assert gated == training_flops(model, (2, 32), "int32")


def test_cost_of_a_family_is_that_of_its_model():
    sizes = {**GPT2, "dropout": 0.0}
    found = cost(kgrow.models.GPT2, sizes, batch=2)
    model = kgrow.models.GPT2(**sizes)
    assert found == cost(model, batch=2)
    assert found.parameters == model.count_params()
    assert found.tokens == 64 and found.training == 3 * found.forward
    assert found.forward == 4 * GPT2_BLOCK + GPT2_HEAD
    assert found.per_token == found.training / 64


def test_cost_of_other_sizes():
    model = kgrow.models.GPT2(**GPT2)
    for depth in (1, 7):
        found = cost(model, {"num_layers": depth}, batch=2)
        assert found.forward == depth * GPT2_BLOCK + GPT2_HEAD
    assert model.growth_config["num_layers"] == 4
    short = cost(model, batch=2, length=16)
    assert short.tokens == 32


def test_cost_of_any_keras_model():
    found = cost(_transformer(), batch=BATCH)
    assert found.forward == _transformer_flops()
    images = kgrow.models.ViT(8, 4, 1, 2, 8, 16, 3)
    assert cost(images, batch=3).tokens == 3


def test_cost_asks_for_what_it_needs():
    free = keras.Sequential([keras.Input((None,)), layers.Embedding(8, 4)])
    with pytest.raises(GrowthError, match="length=None"):
        cost(free)
    with pytest.raises(GrowthError, match="no open length"):
        cost(kgrow.models.ViT(8, 4, 1, 2, 8, 16, 3), length=5)
    with pytest.raises(GrowthError, match="positions for 32"):
        cost(kgrow.models.GPT2(**GPT2), length=33)
    with pytest.raises(GrowthError, match="width"):
        cost(kgrow.models.GPT2(**GPT2), {"width": 3})
    with pytest.raises(GrowthError, match="Wrap the model"):
        cost(free, {"units": 3}, length=4)


# Sizes at which norms and activations have about the share that they have in
# the published models, and inputs.
REALISTIC = {
    "BERT": lambda m: (m.BERT(512, 2, 4, 256, 1024, 64, dropout=0.0), (2, 64)),
    "CaiT": lambda m: (
        m.CaiT(32, 4, 2, 4, 256, 1024, 10, num_class_layers=1),
        (2, 32, 32, 3),
    ),
    "DeiT": lambda m: (m.DeiT(32, 4, 2, 4, 256, 1024, 10), (2, 32, 32, 3)),
    "GPT2": lambda m: (m.GPT2(512, 2, 4, 256, 1024, 64, dropout=0.0), (2, 64)),
    "Llama": lambda m: (m.Llama(512, 2, 8, 4, 256, 1024), (2, 64)),
    "MLP": lambda m: (m.MLP(256, 4, 256, 1024, 2), (64, 256)),
    "ResNet": lambda m: (
        m.ResNet(10, [32, 64], [1, 1], stem="small", image_size=32),
        (2, 32, 32, 3),
    ),
    "RoBERTa": lambda m: (
        m.RoBERTa(512, 2, 4, 256, 1024, 64, dropout=0.0),
        (2, 64),
    ),
    "Swin": lambda m: (
        m.Swin(10, 256, [1, 1], [8, 16], window_size=4, image_size=32),
        (2, 32, 32, 3),
    ),
    "ViT": lambda m: (m.ViT(32, 4, 2, 4, 256, 1024, 10), (2, 32, 32, 3)),
}


@pytest.mark.each
@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="XLA's own count is read from JAX"
)
class TestAgainstXLA:
    """XLA also counts norms, softmax and activations."""

    MARGIN = 0.05

    def _xla(self, function, *args):
        import jax

        compiled = jax.jit(function).lower(*args).compile()
        return compiled.cost_analysis()["flops"]

    @pytest.mark.parametrize(
        "family",
        [
            pytest.param(f, marks=[] if f == "GPT2" else [pytest.mark.slow])
            for f in REALISTIC
        ],
    )
    def test_forward_and_loss_with_gradients(self, family):
        import jax

        network, shape = REALISTIC[family](kgrow.models)
        inputs = np.zeros(shape, "int32" if len(shape) == 2 else "float32")
        if family == "MLP":
            inputs = inputs.astype("float32")
        values = [v.value for v in network.trainable_variables]
        others = [v.value for v in network.non_trainable_variables]

        def loss(values, inputs):
            outputs, _ = network.stateless_call(
                values, others, inputs, training=True
            )
            first = keras.tree.flatten(outputs)[0]
            return keras.ops.mean(first**2)

        dtype = str(inputs.dtype)
        forward = self._xla(loss, values, inputs)
        ratio = forward / forward_flops(network, shape, dtype)
        assert abs(ratio - 1) < self.MARGIN
        training = self._xla(jax.grad(loss), values, inputs)
        ratio = training / training_flops(network, shape, dtype)
        assert abs(ratio - 1) < self.MARGIN

    def test_whole_training_step(self):
        """With the loss and Adam, at as many tokens as make up for the
        optimizer's work on each parameter."""
        model, _ = REALISTIC["GPT2"](kgrow.models)
        model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True))
        model.optimizer.build(model.trainable_variables)
        ids = np.zeros((8, 64), "int32")
        state = model._get_jax_state(
            trainable_variables=True,
            non_trainable_variables=True,
            optimizer_variables=True,
            metrics_variables=True,
        )
        xla = self._xla(model.train_step, state, (ids, ids))
        ratio = xla / training_flops(model, ids.shape, "int32")
        assert abs(ratio - 1) < self.MARGIN


GROWN = CostRecord(
    "grown",
    [
        StageCost(
            "small", 10, 100, flops=20, seconds=2, parameters=5, source=True
        ),
        StageCost("large", 10, 100, flops=60, seconds=4, parameters=9),
    ],
)
SCRATCH = CostRecord(
    "scratch", [StageCost("large", 20, 200, flops=100, seconds=6)]
)


@pytest.mark.parametrize(
    "unit, source, saving",
    [
        ("flops", True, 0.2),
        ("flops", False, 0.4),
        ("seconds", True, 0.0),
        ("seconds", False, 1 / 3),
    ],
)
def test_saving_and_speed_up_say_the_same(unit, source, saving):
    measured = GROWN.saving(SCRATCH, unit, source)
    assert math.isclose(measured, saving, abs_tol=1e-12)
    speed_up = GROWN.speed_up(SCRATCH, unit, source)
    assert math.isclose(measured, 1 - 1 / speed_up, abs_tol=1e-12)


def test_a_loss_is_called_one():
    assert "costs 25.0 % more" in str(Comparison(cost=125, reference=100))


def test_json_round_trip():
    assert CostRecord.from_json(GROWN.to_json()) == GROWN


def test_until_cuts_inside_a_stage():
    cut = GROWN.until(50)
    assert cut.total("flops") == 50
    assert cut.total("seconds") == 2 + 4 / 2
    assert cut.stages[0] == GROWN.stages[0]
    assert GROWN.until(1000) == GROWN
    assert GROWN.until(0).stages == []


def test_unknown_unit_is_refused():
    with pytest.raises(ValueError, match="Received: unit='parameters'"):
        GROWN.total("parameters")


def test_what_is_apart_is_part_of_the_stage():
    first = StageCost("a", 1, flops=9, seconds=8, growing_seconds=2)
    more = StageCost("a", 1, flops=1, seconds=2, compiling_seconds=1)
    run = CostRecord("run")
    run.record(first)
    run.record(more)
    (stage,) = run.stages
    assert (stage.seconds, stage.growing_seconds) == (10, 2)
    assert stage.part(0.5).compiling_seconds == 0.5
    assert "growing" in str(run) and "fitting" not in str(run)


def test_printed_table_holds_stages_and_totals():
    text = str(GROWN)
    assert "small (source)" in text
    assert any("total" in line and "80" in line for line in text.splitlines())


def test_cost_to_reach_takes_the_first_crossing():
    costs, losses = [1, 2, 3, 4], [4.0, 2.0, 3.0, 1.0]
    assert cost_to_reach(costs, losses, 3.0) == 1.5
    assert cost_to_reach(costs, losses, 4.0) == 1.0
    assert cost_to_reach(costs, losses, 0.5) is None
