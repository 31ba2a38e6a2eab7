"""A decoder like Llama as one Keras model, from token ids to logits."""

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.layers import MaskedRMSNormalization, argument_checks
from kgrow.layers.blocks.llama_block import LlamaBlock
from kgrow.layers.float64 import float64_exact
from kgrow.models.transformer_network import TransformerNetwork


@keras.saving.register_keras_serializable("kgrow")
class LlamaNetwork(TransformerNetwork):
    """A causal language model: RMSNorm, rotary positions, gated feedforward
    networks, keys and values shared by groups of query heads, no biases.

    The variables have the names, shapes and meaning of those in KerasHub's
    `LlamaBackbone`, and exist as soon as the network is constructed.

    Example:

    >>> network = LlamaNetwork(
    ...     vocabulary_size=50,
    ...     num_layers=2,
    ...     num_query_heads=4,
    ...     num_key_value_heads=2,
    ...     hidden_dim=8,
    ...     intermediate_dim=32,
    ... )
    >>> network(keras.ops.ones((1, 5), "int32")).shape == (1, 5, 50)
    True

    Args:
        vocabulary_size: int, the number of tokens.
        num_layers: int, the number of transformer blocks; may be 0.
        num_query_heads: int, the number of query heads in a block.
        num_key_value_heads: int, the number of key and value heads, which
            divides that of the query heads.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        head_dim: int or `None`, the size of one head, even; by default
            `hidden_dim // num_query_heads`.
        rope_max_wavelength: number, of the rotary positions.
        layer_norm_epsilon: float, added to the mean square in every norm.
        dropout: float in `[0, 1)`, the rate after each branch and on the
            attention scores.
        tie_embeddings: bool, whether logits are read with the table of the
            tokens' embeddings, or with weights of their own.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`.
        gates: list of `Gate`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Integer tensor with shape `(batch, length)`, the token ids, of any
        length.

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        next token.

    Raises:
        GrowthError: a size is not a positive integer, `dropout` is not in
            `[0, 1)`, heads do not divide the width and no `head_dim` is
            given, or the numbers of heads do not divide.

    Reference:

    - Touvron et al., "LLaMA" (2302.13971), Sec. 2.2, and "Llama 2"
      (2307.09288), Sec. 2.2, on grouped queries.
    """

    fields = (
        "vocabulary_size",
        "num_layers",
        "num_query_heads",
        "num_key_value_heads",
        "hidden_dim",
        "intermediate_dim",
        "head_dim",
        "rope_max_wavelength",
        "layer_norm_epsilon",
        "dropout",
        "tie_embeddings",
        "layer_drop",
    )
    # Blocks turn what they are given by its place, so that no token can go
    # past them.
    training_options = ("dropout", "layer_drop")

    def __init__(
        self,
        vocabulary_size,
        num_layers,
        num_query_heads,
        num_key_value_heads,
        hidden_dim,
        intermediate_dim,
        head_dim=None,
        rope_max_wavelength=10000,
        layer_norm_epsilon=1e-6,
        dropout=0.0,
        tie_embeddings=False,
        layer_drop=0.0,
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._set_fields(
            dropout,
            layer_norm_epsilon,
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_query_heads=num_query_heads,
            num_key_value_heads=num_key_value_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
        )
        self.head_dim = self._head_size(head_dim)
        self.rope_max_wavelength = rope_max_wavelength
        self.tie_embeddings = argument_checks.one_of(
            "tie_embeddings", tie_embeddings, (True, False)
        )
        self.token_embedding = self._token_embedding(
            tie_weights=self.tie_embeddings
        )
        self.transformer_layers = [
            LlamaBlock(
                num_query_heads=self.num_query_heads,
                num_key_value_heads=self.num_key_value_heads,
                head_dim=self.head_dim,
                intermediate_dim=self.intermediate_dim,
                dropout=self.dropout,
                max_wavelength=self.rope_max_wavelength,
                layer_norm_epsilon=self.layer_norm_epsilon,
                kernel_initializer=self._initializer(),
                dtype=self.dtype_policy,
                name=f"transformer_layer_{i}",
            )
            for i in range(self.num_layers)
        ]
        self.layer_norm = MaskedRMSNormalization(
            epsilon=self.layer_norm_epsilon,
            dtype=self.dtype_policy,
            name="sequence_output_layernorm",
        )
        self._finish(gates, layer_drop)

    def _head_size(self, head_dim):
        if head_dim is not None:
            return argument_checks.integer("head_dim", head_dim)
        if self.hidden_dim % self.num_query_heads:
            raise GrowthError(
                "`hidden_dim` must be divisible by `num_query_heads`, unless "
                "`head_dim` is given. Received: "
                f"hidden_dim={self.hidden_dim}, "
                f"num_query_heads={self.num_query_heads}, head_dim=None"
            )
        return self.hidden_dim // self.num_query_heads

    def _gate_sizes(self):
        return {
            "hidden": self.hidden_dim,
            "ffn": self.intermediate_dim,
            "kv": self.num_key_value_heads,
            "group": self.num_query_heads // self.num_key_value_heads,
            "value": self.head_dim,
        }

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
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
        x = self._run_blocks(x, training, gates)
        return self.layer_norm(x, gate=stream)

    def example_inputs(self, batch_size, seed=0):
        """Random token ids, `(batch_size, 16)`, for comparing outputs."""
        return np.random.default_rng(seed).integers(
            0, self.vocabulary_size, (batch_size, 16), dtype="int32"
        )
