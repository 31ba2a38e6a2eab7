"""GPT-2 as one Keras model, from token ids to logits."""

import keras
import numpy as np

from kgrow.layers import argument_checks
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_approximate
from kgrow.models.transformer_network import TransformerNetwork


@keras.saving.register_keras_serializable("kgrow")
class GPT2Network(TransformerNetwork):
    """A causal language model: GPT-2 with its tied output projection.

    The variables have the names, shapes and meaning of those in KerasHub's
    `GPT2Backbone`. They exist as soon as the network is constructed.

    Example:

    >>> network = GPT2Network(
    ...     vocabulary_size=50,
    ...     num_layers=2,
    ...     num_heads=2,
    ...     hidden_dim=8,
    ...     intermediate_dim=32,
    ...     max_sequence_length=16,
    ... )
    >>> network(keras.ops.ones((1, 5), "int32")).shape == (1, 5, 50)
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
        head_dim: int or `None`, the size of one head; by default
            `hidden_dim // num_heads`.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past
            the middle blocks in training.
        gates: list of `Gate`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Integer tensor with shape `(batch, length)`, the token ids.

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        next token.

    Raises:
        ValueError: a size is not a positive integer, `dropout` is not in
            `[0, 1)`, or `head_dim` is not given and `num_heads` does not
            divide `hidden_dim`.

    Reference:

    - [Radford et al., 2019](https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf)
    """  # noqa: E501

    fields = (
        "vocabulary_size",
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "max_sequence_length",
        "dropout",
        "head_dim",
        "layer_norm_epsilon",
        "layer_drop",
        "token_drop",
    )

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        max_sequence_length=1024,
        dropout=0.1,
        head_dim=None,
        layer_norm_epsilon=1e-5,
        layer_drop=0.0,
        token_drop=0.0,
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._set_fields(
            dropout,
            layer_norm_epsilon,
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            max_sequence_length=max_sequence_length,
        )
        self.head_dim = argument_checks.head_size(
            self.hidden_dim, self.num_heads, head_dim
        )
        self.token_embedding = self._token_embedding()
        self.position_embedding = self._position_embedding()
        self.embeddings_dropout = self._dropout("embeddings_dropout")
        self.transformer_layers = self._blocks(
            activation=gelu_approximate, norm_first=True, causal=True
        )
        self.layer_norm = self._norm("layer_norm")
        self._finish(gates, layer_drop, token_drop)

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
        self.position_embedding.build(stream)
        self.embeddings_dropout.build(stream)
        for layer in self.transformer_layers:
            layer.build(stream)
        self.layer_norm.build(stream)

    @float64_exact
    def call(self, inputs, training=None):
        x = self.encode(inputs, training=training)
        return self.token_embedding(x, reverse=True)

    @float64_exact
    def encode(self, inputs, training=None):
        """The normalised residual stream that the logits are read from.

        Args:
            inputs: integer tensor with shape `(batch, length)`.
            training: bool or `None`, whether dropout is active.

        Returns:
            Tensor with shape `(batch, length, hidden_dim)`.
        """
        gates = self.gates(training=training)
        stream = gates["hidden"]
        x = self.token_embedding(inputs, gate=stream)
        x = x + self.position_embedding(x, gate=stream)
        x = self.embeddings_dropout(x, training=training)
        x = self._run_blocks(x, training, gates)
        return self.layer_norm(x, gate=stream)

    def example_inputs(self, batch_size, seed=0):
        """Random token ids, `(batch_size, length)`, for comparing outputs."""
        length = min(self.max_sequence_length, 16)
        return np.random.default_rng(seed).integers(
            0, self.vocabulary_size, (batch_size, length), dtype="int32"
        )
