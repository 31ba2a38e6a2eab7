"""BERT as one Keras model, from token ids to masked-language-model logits."""

import keras
import numpy as np
from keras import ops

from kgrow.errors import GrowthError
from kgrow.layers import (
    Bias,
    Dropout,
    Gates,
    MaskedDense,
    MaskedEmbedding,
    MaskedLayerNormalization,
    PositionEmbedding,
    TransformerBlock,
    arguments,
)
from kgrow.layers.blocks import Savings, check_savings, run_blocks
from kgrow.layers.embedding_pooling import pool_tokens
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_approximate, gelu_exact
from kgrow.layers.token_drop import take_tokens


@keras.saving.register_keras_serializable("kgrow")
class BERTNetwork(keras.Model):
    """A masked language model: BERT with its tied output projection.

    The encoder's variables have the names, shapes and meaning of those in
    KerasHub's `BertBackbone`, except `self_attention`, which is
    `self_attention_layer` there. They exist as soon as the network is
    constructed. Logits are computed at every position; those to train on are
    chosen by the sample weights.

    Example:

    >>> network = BERTNetwork(
    ...     vocabulary_size=50,
    ...     num_layers=2,
    ...     num_heads=2,
    ...     hidden_dim=8,
    ...     intermediate_dim=32,
    ...     max_sequence_length=16,
    ... )
    >>> token_ids = keras.ops.ones((1, 5), "int32")
    >>> padding_mask = keras.ops.convert_to_tensor([[1, 1, 1, 0, 0]])
    >>> logits = network(
    ...     {"token_ids": token_ids, "padding_mask": padding_mask}
    ... )
    >>> logits.shape == (1, 5, 50)
    True

    Args:
        vocabulary_size: int, the number of tokens.
        num_layers: int, the number of transformer blocks; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        max_sequence_length: int, the number of learned positions.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention scores.
        num_segments: int, the number of segments (also called token types).
        head_dim: int or `None`, the size of one head; by default
            `hidden_dim // num_heads`.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `Savings`.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past
            the middle blocks in training.
        pooling: int, how many neighbouring tokens are averaged into one
            before they query the first block, see `pool_tokens`; blocks above
            work on the shorter sequence. With more than 1 the inputs need
            `"masked_positions"`.
        gates: list of `Opening`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Integer tensor with shape `(batch, length)`, the token ids; or a dict
        of such tensors with the keys `"token_ids"`, optionally
        `"segment_ids"` (by default all zero), optionally `"padding_mask"`
        (1 for tokens, 0 for padding; by default all one) and optionally
        `"masked_positions"`, with shape `(batch, predictions)`, the positions
        that are predicted (by default all).

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        token at each position, or `(batch, predictions, vocabulary_size)`.

    Raises:
        ValueError: a size is not a positive integer, `dropout` is not in
            `[0, 1)`, or `head_dim` is not given and `num_heads` does not
            divide `hidden_dim`.

    Reference:

    - [Devlin et al., 2019](https://arxiv.org/abs/1810.04805)
    """

    # Options that change how it trains and not what its weights are.
    treatments = ("dropout", "layer_drop", "token_drop", "pooling")

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        max_sequence_length=512,
        dropout=0.1,
        num_segments=2,
        head_dim=None,
        layer_norm_epsilon=1e-12,
        layer_drop=0.0,
        token_drop=0.0,
        pooling=1,
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        integer = arguments.integer
        self.vocabulary_size = integer("vocabulary_size", vocabulary_size)
        self.num_layers = integer("num_layers", num_layers, minimum=0)
        self.num_heads = integer("num_heads", num_heads)
        self.hidden_dim = integer("hidden_dim", hidden_dim)
        self.intermediate_dim = integer("intermediate_dim", intermediate_dim)
        self.max_sequence_length = integer(
            "max_sequence_length", max_sequence_length
        )
        self.dropout = arguments.rate("dropout", dropout)
        self.num_segments = integer("num_segments", num_segments)
        self.head_dim = arguments.head_size(
            self.hidden_dim, self.num_heads, head_dim
        )
        self.layer_norm_epsilon = layer_norm_epsilon

        # Embeddings are not autocast: without `reverse_dtype` the logits of a
        # mixed precision network would be computed in float32.
        self.token_embedding = MaskedEmbedding(
            self.vocabulary_size,
            self.hidden_dim,
            embeddings_initializer=_initializer(),
            reverse_dtype=self.compute_dtype,
            dtype=self.dtype_policy,
            name="token_embedding",
        )
        self.position_embedding = PositionEmbedding(
            self.max_sequence_length,
            embeddings_initializer=_initializer(),
            dtype=self.dtype_policy,
            name="position_embedding",
        )
        self.segment_embedding = MaskedEmbedding(
            self.num_segments,
            self.hidden_dim,
            embeddings_initializer=_initializer(),
            dtype=self.dtype_policy,
            name="segment_embedding",
        )
        self.embeddings_layer_norm = self._norm("embeddings_layer_norm")
        self.embeddings_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="embeddings_dropout"
        )
        self.transformer_layers = [
            TransformerBlock(
                num_heads=self.num_heads,
                head_dim=self.head_dim,
                intermediate_dim=self.intermediate_dim,
                dropout=self.dropout,
                activation=gelu_approximate,
                layer_norm_epsilon=self.layer_norm_epsilon,
                norm_first=False,
                causal=False,
                kernel_initializer=_initializer(),
                dtype=self.dtype_policy,
                name=f"transformer_layer_{i}",
            )
            for i in range(self.num_layers)
        ]
        self.mlm_dense = MaskedDense(
            self.hidden_dim,
            activation=gelu_exact,
            kernel_initializer=_initializer(),
            dtype=self.dtype_policy,
            name="mlm_dense",
        )
        self.mlm_layer_norm = self._norm("mlm_layer_norm")
        self.mlm_bias = Bias(dtype=self.dtype_policy, name="mlm_bias")
        self.gates = Gates(
            {
                "hidden": self.hidden_dim,
                "ffn": self.intermediate_dim,
                "heads": self.num_heads,
                "qk": self.head_dim,
                "value": self.head_dim,
                "layers": self.num_layers,
            },
            gates,
            name="gates",
        )
        self.savings = Savings(layer_drop, token_drop)
        self.savings_seed = self.savings.seed
        self.pooling = integer("pooling", pooling)
        if self.pooling > 1 and self.num_layers < 1:
            raise GrowthError(
                "Tokens are pooled in the first block, and there is none. "
                f"Received: pooling={pooling}, num_layers={num_layers}"
            )
        check_savings(self.savings, self.num_layers)
        self.sub_model = None
        self.build()

    def _norm(self, name):
        return MaskedLayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
        self.position_embedding.build(stream)
        self.segment_embedding.build((None, None))
        self.embeddings_layer_norm.build(stream)
        self.embeddings_dropout.build(stream)
        for layer in self.transformer_layers:
            layer.build(stream)
        self.mlm_dense.build(stream)
        self.mlm_layer_norm.build(stream)
        self.mlm_bias.build((None, None, self.vocabulary_size))

    @float64_exact
    def call(self, inputs, training=None):
        gates = self.gates(training=training)
        x = self._encode(inputs, training, gates)
        x = self.mlm_layer_norm(self.mlm_dense(x), gate=gates["hidden"])
        return self.mlm_bias(self.token_embedding(x, reverse=True))

    @float64_exact
    def encode(self, inputs, training=None):
        """The encoder's output, KerasHub's `sequence_output`.

        Args:
            inputs: what the network is called with.
            training: bool or `None`, whether dropout is active.

        Returns:
            Tensor with shape `(batch, length, hidden_dim)`.
        """
        return self._encode(inputs, training, self.gates(training=training))

    def _encode(self, inputs, training, gates):
        token_ids, segment_ids, padding_mask, predicted = _unpack(inputs)
        x = self.token_embedding(token_ids)
        if segment_ids is None:
            segment_ids = ops.zeros((1, 1), "int32")
        x = x + self.position_embedding(x) + self.segment_embedding(segment_ids)
        x = self.embeddings_layer_norm(x, gate=gates["hidden"])
        x = self.embeddings_dropout(x, training=training)
        options = {"gates": gates}
        if self.pooling > 1:
            # Keys and values keep their length, in the first block alone.
            options["context"], options["context_mask"] = x, padding_mask
            x, padding_mask = self._pooled(x, padding_mask, predicted)
        x = run_blocks(
            self.transformer_layers,
            x,
            self.sub_model,
            training,
            gate=gates["layers"],
            savings=self.savings,
            padding_mask=padding_mask,
            **options,
        )
        if predicted is None:
            return x
        if self.pooling > 1:
            return x[:, -predicted.shape[1] :]
        return take_tokens(x, predicted)

    def _pooled(self, x, padding_mask, predicted):
        """A shorter sequence, and what is to be predicted behind it as it
        is."""
        if predicted is None:
            raise ValueError(
                "A network that pools its tokens has no position for each of "
                'them. Say with the key "masked_positions" which ones it is '
                "to predict; they are kept as they are. Received: "
                f"pooling={self.pooling} and no masked_positions"
            )
        short, mask = pool_tokens(x, self.pooling, padding_mask)
        targets = take_tokens(x, predicted)
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
        token_ids, _, _, predicted = _unpack(inputs)
        shape = token_ids.shape if predicted is None else predicted.shape
        return keras.KerasTensor(
            (*shape, self.vocabulary_size), dtype=self.compute_dtype
        )

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "num_layers": self.num_layers,
            "num_heads": self.num_heads,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "max_sequence_length": self.max_sequence_length,
            "dropout": self.dropout,
            "num_segments": self.num_segments,
            "head_dim": self.head_dim,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "layer_drop": self.savings.layer_drop,
            "token_drop": self.savings.token_drop,
            "pooling": self.pooling,
            "gates": self.gates.get_config()["openings"],
        }


def _initializer():
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _unpack(inputs):
    if not isinstance(inputs, dict):
        return inputs, None, None, None
    known = ("token_ids", "segment_ids", "padding_mask", "masked_positions")
    if "token_ids" not in inputs or not set(inputs) <= set(known):
        raise ValueError(
            "The inputs must be token ids, or a dict with the key "
            '"token_ids" and optionally "segment_ids", "padding_mask" and '
            '"masked_positions". '
            f"Received: a dict with the keys {sorted(inputs)}"
        )
    return tuple(inputs.get(key) for key in known)
