"""Encoders that predict masked tokens: their axes, and their base class."""

import keras
import numpy as np
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers import Bias, MaskedDense, argument_checks
from kgrow.layers.blocks.token_drop import gather_tokens
from kgrow.layers.embeddings.token_pooling import pool_tokens
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_exact
from kgrow.models.transformer import BLOCK_RULES, TransformerNetwork

ENCODER_RULES = {
    "token_embedding/embeddings": "vocab -> hidden",
    "position_embedding/embeddings": "positions -> hidden",
    "embeddings_layer_norm/gamma": "-> hidden | scale",
    "embeddings_layer_norm/beta": "-> hidden | offset",
    **BLOCK_RULES,
    "mlm_dense/kernel": "hidden -> hidden",
    "mlm_dense/bias": "-> hidden",
    # What the tied embedding reads lives in the dual space.
    "mlm_layer_norm/gamma": "-> ~hidden | scale",
    "mlm_layer_norm/beta": "-> ~hidden | offset",
    "mlm_bias/bias": "-> vocab",
}


class EncoderNetwork(TransformerNetwork):
    """Base class of BERT and RoBERTa: post-norm blocks over the normalised sum
    of embeddings, and a masked-language-model head whose output projection is
    tied to the tokens' embedding.

    A subclass makes its embeddings and then calls `_make_encoder()`. It adds
    embeddings other than those of tokens and positions in `_embed()`.

    Example:

    >>> from kgrow.models.bert import BERTNetwork
    >>> issubclass(BERTNetwork, EncoderNetwork)
    True
    """

    training_options = (*TransformerNetwork.training_options, "pooling")
    # What a dict of inputs may hold beside the token ids.
    input_keys = ("padding_mask", "masked_positions")

    def _initializer(self):
        return keras.initializers.TruncatedNormal(stddev=0.02)

    def _make_encoder(self, activation, gates, layer_drop, token_drop, pooling):
        """Makes the layers above the embeddings and ends the constructor."""
        self.embeddings_layer_norm = self._norm("embeddings_layer_norm")
        self.embeddings_dropout = self._dropout("embeddings_dropout")
        self.transformer_layers = self._blocks(
            activation=activation, norm_first=False, causal=False
        )
        self.mlm_dense = MaskedDense(
            self.hidden_dim,
            activation=gelu_exact,
            kernel_initializer=self._initializer(),
            dtype=self.dtype_policy,
            name="mlm_dense",
        )
        self.mlm_layer_norm = self._norm("mlm_layer_norm")
        self.mlm_bias = Bias(dtype=self.dtype_policy, name="mlm_bias")
        self.pooling = argument_checks.integer("pooling", pooling)
        if self.pooling > 1 and self.num_layers < 1:
            raise GrowthError(
                "Tokens are pooled in the first block, and there is none. "
                f"Received: pooling={pooling}, num_layers={self.num_layers}"
            )
        self.finish(gates, layer_drop, token_drop)

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
        self.position_embedding.build(stream)
        self.embeddings_layer_norm.build(stream)
        self.embeddings_dropout.build(stream)
        for layer in self.transformer_layers:
            layer.build(stream)
        self.mlm_dense.build(stream)
        self.mlm_layer_norm.build(stream)
        self.mlm_bias.build((None, None, self.vocabulary_size))

    def call(self, inputs, training=None):
        gates = self.gates(training=training)
        x = self._encode(inputs, training, gates)
        x = self.mlm_layer_norm(self.mlm_dense(x), gate=gates["hidden"])
        return self.mlm_bias(self.token_embedding(x, reverse=True))

    @float64_exact
    def encode(self, inputs, training=None):
        """The encoder's output, KerasHub's `sequence_output`.

        Args:
            inputs: the inputs of the network.
            training: bool or `None`, whether dropout is active.

        Returns:
            Tensor with shape `(batch, length, hidden_dim)`.
        """
        return self._encode(inputs, training, self.gates(training=training))

    def _encode(self, inputs, training, gates):
        token_ids, segment_ids, padding_mask, predicted = self._unpack(inputs)
        x = self._embed(token_ids, segment_ids)
        x = self.embeddings_layer_norm(x, gate=gates["hidden"])
        x = self.embeddings_dropout(x, training=training)
        options = {}
        if self.pooling > 1:
            # Keys and values keep their length, in the first block alone.
            options["context"], options["context_mask"] = x, padding_mask
            x, padding_mask = self._pooled(x, padding_mask, predicted)
        x = self._run_blocks(
            x, training, gates, padding_mask=padding_mask, **options
        )
        if predicted is None:
            return x
        if self.pooling > 1:
            return x[:, -predicted.shape[1] :]
        return gather_tokens(x, predicted)

    def _embed(self, token_ids, segment_ids):
        del segment_ids
        x = self.token_embedding(token_ids)
        return x + self.position_embedding(x)

    def _pooled(self, x, padding_mask, predicted):
        """The pooled sequence, followed by the predicted positions as they
        are, and the padding mask of both."""
        if predicted is None:
            raise ValueError(
                "A network that pools its tokens has no position for each of "
                'them. Name those to predict under the key "masked_positions"; '
                "they are not pooled. Received: "
                f"pooling={self.pooling} and no masked_positions"
            )
        short, mask = pool_tokens(x, self.pooling, padding_mask)
        targets = gather_tokens(x, predicted)
        there = ops.ones_like(targets[:, :, 0], dtype="bool")
        return (
            ops.concatenate([short, targets], axis=1),
            ops.concatenate([mask, there], axis=1),
        )

    def example_inputs(self, batch_size, seed=0):
        """Random token ids, `(batch_size, length)`, for comparing outputs;
        with positions to predict, where the network pools tokens."""
        length = min(self.max_sequence_length, 16)
        tokens = np.random.default_rng(seed).integers(
            0, self.vocabulary_size, (batch_size, length), dtype="int32"
        )
        if self.pooling == 1:
            return tokens
        places = np.arange(0, length, 4, dtype="int32")
        places = np.tile(places, (batch_size, 1))
        return {"token_ids": tokens, "masked_positions": places}

    def compute_output_spec(self, inputs, training=None):
        token_ids, _, _, predicted = self._unpack(inputs)
        ids = token_ids if predicted is None else predicted
        return super().compute_output_spec(ids)

    def _unpack(self, inputs):
        if not isinstance(inputs, dict):
            return inputs, None, None, None
        keys = ("segment_ids", "padding_mask", "masked_positions")
        known = [k for k in keys if k in self.input_keys]
        if "token_ids" not in inputs or set(inputs) - {"token_ids", *known}:
            names = ", ".join(f'"{key}"' for key in known[:-1])
            raise ValueError(
                "The inputs must be token ids, or a dict with the key "
                f'"token_ids" and optionally {names} and "{known[-1]}". '
                f"Received: a dict with the keys {sorted(inputs)}"
            )
        return tuple(inputs.get(key) for key in ("token_ids", *keys))
