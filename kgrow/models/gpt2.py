"""GPT-2."""

import numpy as np

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.layers import argument_checks
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_approximate
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.registry import register
from kgrow.models.transformer import BLOCK_RULES, TransformerNetwork, block_dims


class GPT2Network(TransformerNetwork):
    """The network of `GPT2`, which documents its arguments.

    The variables have the names, shapes and meaning of those in KerasHub's
    `GPT2Backbone`. They exist as soon as the network is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = AxisMap(
        {
            "token_embedding/embeddings": "vocab -> hidden",
            "position_embedding/embeddings": "positions -> hidden",
            **BLOCK_RULES,
            # What the tied embedding reads lives in the dual space.
            "layer_norm/gamma": "-> ~hidden | scale",
            "layer_norm/beta": "-> ~hidden | offset",
        },
        dims=block_dims(hidden="stream"),
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ _ -> vocab",
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
        self.finish(gates, layer_drop, token_drop)

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
        self.position_embedding.build(stream)
        self.embeddings_dropout.build(stream)
        for layer in self.transformer_layers:
            layer.build(stream)
        self.layer_norm.build(stream)

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


@register("text")
class GPT2(Family):
    """A causal language model that grows: GPT-2, pre-norm, tied embeddings.

    Maps token ids to next-token logits. All sizes grow: `hidden_dim`,
    `intermediate_dim`, `num_heads`, `head_dim`, `num_layers`, and the tables
    `vocabulary_size` and `max_sequence_length`.

    Args:
        vocabulary_size: int, the number of tokens.
        num_layers: int, the number of transformer blocks; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        max_sequence_length: int, the number of learned positions.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention scores.
        head_dim: int or `None`, the size of one head, by default
            `hidden_dim // num_heads`. Growing `hidden_dim` or `num_heads` does
            not change it.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`; those below are skipped
            less often, in proportion.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past
            the middle blocks in training.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Integer tensor with shape `(batch, length)`, the token ids.

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        next token.

    Raises:
        GrowthError: a size is no positive integer, a rate is not in `[0, 1)`,
            or `num_heads` does not divide `hidden_dim` and no `head_dim` is
            given.

    Example:

    >>> import keras
    >>> model = GPT2(vocabulary_size=256, num_layers=2, num_heads=2,
    ...     hidden_dim=16, intermediate_dim=64, max_sequence_length=32)
    >>> model(keras.ops.ones((1, 5), "int32")).shape == (1, 5, 256)
    True
    >>> model.growth_config["head_dim"]
    8

    Reference:

    - Radford et al., "Language Models are Unsupervised Multitask Learners"
      (2019); the variables are those of KerasHub's `GPT2Backbone`.
    """

    network_class = GPT2Network
    example = Example(
        sizes={
            "vocabulary_size": 11,
            "num_layers": 2,
            "num_heads": 3,
            "head_dim": 4,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "max_sequence_length": 5,
            "dropout": 0.0,
        },
        exact={"hidden_dim": 16, "intermediate_dim": 14, "num_layers": 3},
        gated={"hidden_dim": 19},
    )
