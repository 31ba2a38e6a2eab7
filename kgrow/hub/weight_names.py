"""Names of the weights of transformer blocks, in kgrow and in KerasHub."""

PARTS = {
    "projection": ("kernel", "bias"),
    "norm": ("gamma", "beta"),
}

_ATTENTION = ("query", "key", "value", "attention_output")


def named(names):
    """Paths of weights from paths of layers.

    Args:
        names: dict from a layer's path here to `(path there, "projection" or
            "norm")`.

    Returns:
        dict from paths of weights here to paths there.

    Example:

    >>> named({"head": ("logits", "projection")})
    {'head/kernel': 'logits/kernel', 'head/bias': 'logits/bias'}
    """
    return {
        f"{here}/{part}": f"{there}/{part}"
        for here, (there, kind) in names.items()
        for part in PARTS[kind]
    }


def block(prefix, attention, norms, feedforward):
    """Paths of the weights of a block.

    Args:
        prefix: string, what KerasHub's paths of a block begin with.
        attention: string, its attention's name.
        norms: names of its two norms, that of the attention first.
        feedforward: names of the two layers of its feedforward network.
    """
    here = "transformer_layer_{block}"
    inner, outer = norms
    wide, narrow = feedforward
    return named(
        {
            **{
                f"{here}/self_attention/{part}": (
                    f"{prefix}/{attention}/{part}",
                    "projection",
                )
                for part in _ATTENTION
            },
            f"{here}/self_attention_layer_norm": (f"{prefix}/{inner}", "norm"),
            f"{here}/feedforward_layer_norm": (f"{prefix}/{outer}", "norm"),
            f"{here}/feedforward_intermediate_dense": (
                f"{prefix}/{wide}",
                "projection",
            ),
            f"{here}/feedforward_output_dense": (
                f"{prefix}/{narrow}",
                "projection",
            ),
        }
    )


def text_block(attention):
    """`block()` as KerasHub's text models have it: only the attention's name
    differs between its encoder and its decoder layers."""
    return block(
        "transformer_layer_{block}",
        attention,
        ("self_attention_layer_norm", "feedforward_layer_norm"),
        ("feedforward_intermediate_dense", "feedforward_output_dense"),
    )


TEXT_FIELDS = {
    name: name
    for name in (
        "vocabulary_size",
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "max_sequence_length",
        "dropout",
    )
}

# Training options that KerasHub's models do not have.
TEXT_FIXED = {"layer_drop": 0.0, "token_drop": 0.0}

MASKED_LM_HEAD = {
    "mlm_dense/kernel": "mlm_head/intermediate_dense/kernel",
    "mlm_dense/bias": "mlm_head/intermediate_dense/bias",
    "mlm_layer_norm/gamma": "mlm_head/intermediate_layer_norm/gamma",
    "mlm_layer_norm/beta": "mlm_head/intermediate_layer_norm/beta",
    "mlm_bias/bias": "mlm_head/output_bias",
}
MASKED_LM_LAYERS = ("mlm_dense", "mlm_layer_norm", "mlm_bias")
