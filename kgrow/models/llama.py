"""A decoder like Llama, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.models.family import Family
from kgrow.models.llama_network import LlamaNetwork

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


@keras.saving.register_keras_serializable("kgrow")
class Llama(Family):
    """A causal language model that grows: a decoder like Llama.

    Pre-norm with RMSNorm, rotary positions, gated feedforward networks, keys
    and values shared by groups of query heads, no biases. Maps token ids
    `(batch, length)` to next-token logits `(batch, length, vocabulary_size)`.

    All sizes grow: `hidden_dim`, `intermediate_dim`, `num_layers`,
    `vocabulary_size`, the heads and their size. Growing `num_query_heads`
    alone makes the groups larger that share keys and values. Growing
    `num_key_value_heads` takes `num_query_heads` along, so that no group gets
    smaller. `head_dim` grows to multiples, for the entries of a head are
    turned in pairs, each by a frequency of its own.

    Args:
        vocabulary_size: int.
        num_layers: int, number of transformer blocks.
        num_query_heads: int, query heads per block.
        num_key_value_heads: int, key and value heads per block, which divides
            `num_query_heads`.
        hidden_dim: int, width of the residual stream.
        intermediate_dim: int, width of the feedforward networks.
        head_dim: optional int, size of a head, even; `hidden_dim //
            num_query_heads` at construction, then kept: growing `hidden_dim`
            or the heads does not change it.
        rope_max_wavelength: number, of the rotary positions.
        layer_norm_epsilon: float.
        dropout: float in `[0, 1)`.
        tie_embeddings: bool, whether logits are read with the table of the
            tokens' embeddings, or with weights of their own.
        layer_drop: float in `[0, 1)`, how often the last block is skipped in
            training; `set_training_options()` changes it.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: a size is no positive integer, `num_key_value_heads` does
            not divide `num_query_heads`, or a head's size is odd.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.Llama(vocabulary_size=256, num_layers=2,
    ...     num_query_heads=4, num_key_value_heads=2, hidden_dim=16,
    ...     intermediate_dim=48)
    >>> model.grow({"num_query_heads": 8, "num_key_value_heads": 4,
    ...     "num_layers": 3}, seed=0).exact
    True

    Reference:

    - Touvron et al., "LLaMA" (2302.13971) and "Llama 2" (2307.09288); the
      variables are those of KerasHub's `LlamaBackbone`.
    """

    network_class = LlamaNetwork
    axes = _UNTIED

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
        name=None,
        dtype=None,
    ):
        super().__init__(
            name=name,
            dtype=dtype,
            vocabulary_size=vocabulary_size,
            num_layers=num_layers,
            num_query_heads=num_query_heads,
            num_key_value_heads=num_key_value_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            head_dim=head_dim,
            rope_max_wavelength=rope_max_wavelength,
            layer_norm_epsilon=layer_norm_epsilon,
            dropout=dropout,
            tie_embeddings=tie_embeddings,
            layer_drop=layer_drop,
        )

    @classmethod
    def make_axes(cls, network):
        return _TIED if network.tie_embeddings else cls.axes
