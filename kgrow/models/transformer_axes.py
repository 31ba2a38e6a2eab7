"""The axes of a transformer block, the same in every family.

Queries and keys meet in a dot product: what one produces the other consumes,
so the key's head axis is the dual `~qk`. The product is divided by the square
root of the head size, which the query makes good when it grows.
"""

from kgrow.algebra.spec import Dim

_BLOCK = {
    "self_attention/query/kernel": "hidden -> heads qk | qk^0.5",
    "self_attention/query/bias": "-> heads qk | qk^0.5",
    "self_attention/key/kernel": "hidden -> heads ~qk",
    "self_attention/key/bias": "-> heads ~qk",
    "self_attention/value/kernel": "hidden -> heads value",
    "self_attention/value/bias": "-> heads value",
    "self_attention/attention_output/kernel": (
        "heads value -> hidden | residual_out"
    ),
    "self_attention/attention_output/bias": "-> hidden | residual_out",
    "feedforward_intermediate_dense/kernel": "hidden -> ffn",
    "feedforward_intermediate_dense/bias": "-> ffn",
    "feedforward_output_dense/kernel": "ffn -> hidden | residual_out",
    "feedforward_output_dense/bias": "-> hidden | residual_out",
    "self_attention_layer_norm/gamma": "-> hidden | scale, attention_norm",
    "self_attention_layer_norm/beta": "-> hidden | offset, attention_norm",
    "feedforward_layer_norm/gamma": "-> hidden | scale, ffn_norm",
    "feedforward_layer_norm/beta": "-> hidden | offset, ffn_norm",
    # RMSNorm in their place.
    "self_attention_layer_norm/scale": "-> hidden | scale, attention_norm",
    "feedforward_layer_norm/scale": "-> hidden | scale, ffn_norm",
}

BLOCK_RULES = {
    f"transformer_layer_{{layers}}/{path}": axes
    for path, axes in _BLOCK.items()
}


def stream_dims(hidden, norm="layer"):
    """The dims of a transformer's blocks; `hidden` is the kind of its stream,
    `norm` that of its norms."""
    return [
        Dim("hidden", "hidden_dim", kind=hidden, norm=norm),
        Dim("ffn", "intermediate_dim"),
        Dim("heads", "num_heads"),
        Dim("qk", "head_dim", kind="stream"),
        Dim("value", "head_dim", kind="stream"),
    ]


def block_dims(hidden, norm="layer"):
    """The dims of a language model: those of its blocks, and its tables."""
    return [
        *stream_dims(hidden, norm),
        Dim("vocab", "vocabulary_size", kind="lookup"),
        Dim("positions", "max_sequence_length", kind="lookup"),
    ]
