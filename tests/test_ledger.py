import math

import keras
import numpy as np
import pytest
from keras import layers

from kgrow.flops import forward_flops, training_flops
from kgrow.ledger import Comparison, Ledger, Stage, cost_to_reach

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
    "conv": (layers.Conv2D(8, 3, padding="same"), 36 * 9 * 4 * 8),
    "strided": (layers.Conv2D(8, 3, strides=2, padding="same"), 9 * 9 * 4 * 8),
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


@pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="XLA's own count is read from JAX"
)
class TestAgainstXLA:
    """XLA also counts what `forward_flops` leaves out; never less."""

    # Norms, softmax and GELU at 128 wide; their share falls with the width.
    MARGIN = 0.12

    def _xla(self, function, *args):
        import jax

        return jax.jit(function).lower(*args).cost_analysis()["flops"]

    def _network(self):
        network = _transformer()
        values = [v.value for v in network.trainable_variables]
        frozen = [v.value for v in network.non_trainable_variables]
        ids = np.zeros((BATCH, LENGTH), "int32")

        def loss(values, ids):
            logits, _ = network.stateless_call(values, frozen, ids)
            return keras.ops.mean(logits**2)

        return network, loss, values, ids

    def test_forward(self):
        network, loss, values, ids = self._network()
        ratio = self._xla(loss, values, ids) / forward_flops(network, ids.shape)
        assert 1 <= ratio < 1 + self.MARGIN

    def test_training(self):
        import jax

        network, loss, values, ids = self._network()
        xla = self._xla(jax.grad(loss), values, ids)
        ratio = xla / training_flops(network, ids.shape)
        assert 1 - self.MARGIN < ratio < 1 + self.MARGIN


GROWN = Ledger(
    "grown",
    [
        Stage("small", 10, 100, flops=20, seconds=2, parameters=5, source=True),
        Stage("large", 10, 100, flops=60, seconds=4, parameters=9),
    ],
)
SCRATCH = Ledger("scratch", [Stage("large", 20, 200, flops=100, seconds=6)])


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
    assert Ledger.from_json(GROWN.to_json()) == GROWN


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


def test_printed_table_holds_stages_and_totals():
    text = str(GROWN)
    assert "small (source)" in text
    assert any("total" in line and "80" in line for line in text.splitlines())


def test_cost_to_reach_takes_the_first_crossing():
    costs, losses = [1, 2, 3, 4], [4.0, 2.0, 3.0, 1.0]
    assert cost_to_reach(costs, losses, 3.0) == 1.5
    assert cost_to_reach(costs, losses, 4.0) == 1.0
    assert cost_to_reach(costs, losses, 0.5) is None
