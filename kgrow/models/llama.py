"""Decoders like Llama."""

import numpy as np

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.layers import MaskedRMSNormalization, argument_checks
from kgrow.layers.blocks.llama_block import LlamaBlock
from kgrow.layers.float64 import float64_exact
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.registry import register
from kgrow.models.transformer import TransformerNetwork

_BLOCK = {
    "self_attention/query/kernel": (
        "hidden -> (kv group) (2 pairs) | pairs^0.5"
    ),
    "self_attention/key/kernel": "hidden -> kv ~(2 pairs)",
    "self_attention/value/kernel": "hidden -> kv value",
    "self_attention/attention_output/kernel": (
        "(kv group) value -> hidden | residual_out"
    ),
    "feedforward_(intermediate|gate)_dense/kernel": "hidden -> ffn",
    "feedforward_output_dense/kernel": "ffn -> hidden | residual_out",
    "self_attention_layernorm/scale": "-> hidden | scale, attention_norm",
    "feedforward_layernorm/scale": "-> hidden | scale, ffn_norm",
}


def _axes(norm):
    return AxisMap(
        {
            "token_embedding/embeddings": "vocab -> hidden",
            "token_embedding/reverse_embeddings": "hidden -> vocab",
            **{
                f"transformer_layer_{{layers}}/{path}": axes
                for path, axes in _BLOCK.items()
            },
            "sequence_output_layernorm/scale": norm,
        },
        dims=[
            Dim("hidden", "hidden_dim", kind="stream", norm="rms"),
            Dim("ffn", "intermediate_dim"),
            Dim("kv", "num_key_value_heads"),
            # Query heads that share their keys and values with one another.
            Dim("group", "num_query_heads"),
            Dim("pairs", "head_dim", kind="rotary"),
            Dim("value", "head_dim", kind="stream"),
            Dim("vocab", "vocabulary_size", kind="lookup"),
        ],
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ _ -> vocab",
    )


_UNTIED = _axes("-> hidden | scale")
# What a tied embedding reads lives in the dual space.
_TIED = _axes("-> ~hidden | scale")


class LlamaNetwork(TransformerNetwork):
    """The network of `Llama`, which documents its arguments.

    The variables have the names, shapes and meaning of those in KerasHub's
    `LlamaBackbone`, and exist as soon as the network is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = _UNTIED
    # Rotary attention takes a token's position from its place in the sequence,
    # so that no token can go past a block.
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
        self.finish(gates, layer_drop)

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

    def make_axes(self):
        return _TIED if self.tie_embeddings else _UNTIED

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self.token_embedding.build((None, None))
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
        x = self._run_blocks(x, training, gates)
        return self.layer_norm(x, gate=stream)

    def example_inputs(self, batch_size, seed=0):
        """Random token ids, `(batch_size, 16)`, for comparing outputs."""
        return np.random.default_rng(seed).integers(
            0, self.vocabulary_size, (batch_size, 16), dtype="int32"
        )


@register("text")
class Llama(Family):
    """A causal language model that grows: a decoder like Llama.

    Pre-norm with RMSNorm, rotary positions, gated feedforward networks, keys
    and values shared by groups of query heads, no biases. Maps token ids to
    next-token logits.

    All sizes grow: `hidden_dim`, `intermediate_dim`, `num_layers`,
    `vocabulary_size`, the heads and their size. Growing `num_query_heads`
    alone makes the groups larger that share keys and values. Growing
    `num_key_value_heads` takes `num_query_heads` along, so that no group gets
    smaller. `head_dim` grows to multiples, for the entries of a head are
    turned in pairs, each by a frequency of its own.

    Args:
        vocabulary_size: int, the number of tokens.
        num_layers: int, the number of transformer blocks; may be 0.
        num_query_heads: int, the number of query heads in a block.
        num_key_value_heads: int, the number of key and value heads, which
            divides that of the query heads.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        head_dim: int or `None`, the size of one head, even, by default
            `hidden_dim // num_query_heads`. Growing `hidden_dim` or the heads
            does not change it.
        rope_max_wavelength: number, of the rotary positions.
        layer_norm_epsilon: float, added to the mean square in every norm.
        dropout: float in `[0, 1)`, the rate after each branch and on the
            attention scores.
        tie_embeddings: bool, whether logits are read with the table of the
            tokens' embeddings, or with weights of their own.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`; those below are skipped
            less often, in proportion.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Integer tensor with shape `(batch, length)`, the token ids, of any
        length.

    Output shape:
        Tensor with shape `(batch, length, vocabulary_size)`, the logits of the
        next token.

    Raises:
        GrowthError: a size is no positive integer, a rate is not in `[0, 1)`,
            `num_key_value_heads` does not divide `num_query_heads`, a head's
            size is odd, or heads do not divide the width and no `head_dim` is
            given.

    Example:

    >>> model = Llama(vocabulary_size=256, num_layers=2, num_query_heads=4,
    ...     num_key_value_heads=2, hidden_dim=16, intermediate_dim=48)
    >>> model.grow({"num_query_heads": 8, "num_key_value_heads": 4,
    ...     "num_layers": 3}, seed=0).exact
    True

    Reference:

    - Touvron et al., "LLaMA" (2302.13971), Sec. 2.2, and "Llama 2"
      (2307.09288), Sec. 2.2, on grouped queries; the variables are those of
      KerasHub's `LlamaBackbone`.
    """

    network_class = LlamaNetwork
    example = Example(
        sizes={
            "vocabulary_size": 11,
            "num_layers": 2,
            "num_query_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 4,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "dropout": 0.0,
        },
        exact={"hidden_dim": 16, "intermediate_dim": 14, "num_layers": 3},
        gated={"num_query_heads": 12},
    )
