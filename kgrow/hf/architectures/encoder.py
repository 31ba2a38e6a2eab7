"""Encoders: BERT, RoBERTa and ELECTRA's kin are post-norm, with biases."""

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.hf.architectures.decoder import tied_head
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import TensorTable

_BLOCK_RULES = {
    r"attention\.self\.query\.weight": "-> [heads qk] ~hidden | qk^0.5",
    r"attention\.self\.query\.bias": "-> [heads qk] | qk^0.5",
    r"attention\.self\.key\.weight": "-> [heads ~qk] ~hidden",
    r"attention\.self\.key\.bias": "-> [heads ~qk]",
    r"attention\.self\.value\.weight": "-> [heads value] ~hidden",
    r"attention\.self\.value\.bias": "-> [heads value]",
    r"attention\.output\.dense\.weight": (
        "-> hidden [~heads ~value] | residual_out"
    ),
    r"attention\.output\.dense\.bias": "-> hidden | residual_out",
    r"attention\.output\.LayerNorm\.(weight|gamma)": (
        "-> hidden | scale, attention_norm"
    ),
    r"attention\.output\.LayerNorm\.(bias|beta)": (
        "-> hidden | offset, attention_norm"
    ),
    r"intermediate\.dense\.weight": "-> ffn ~hidden",
    r"intermediate\.dense\.bias": "-> ffn",
    r"output\.dense\.weight": "-> hidden ~ffn | residual_out",
    r"output\.dense\.bias": "-> hidden | residual_out",
    r"output\.LayerNorm\.(weight|gamma)": "-> hidden | scale, ffn_norm",
    r"output\.LayerNorm\.(bias|beta)": "-> hidden | offset, ffn_norm",
}


def encoder_dims(hidden, norm="layer"):
    """The dims of an encoder; `hidden` is the kind of its stream."""
    return (
        Dim("hidden", "hidden_size", kind=hidden, norm=norm),
        Dim("ffn", "intermediate_size"),
        Dim("heads", "num_attention_heads"),
        Dim("qk", "hidden_size", kind="stream"),
        Dim("value", "hidden_size", kind="stream"),
        Dim("pooled", "hidden_size"),
        Dim("vocab", "vocab_size", kind="lookup"),
        Dim("positions", "max_position_embeddings", kind="lookup"),
        Dim("types", "type_vocab_size", kind="lookup"),
    )


def encoder_sizes(config):
    width, heads = config["hidden_size"], config["num_attention_heads"]
    if width % heads:
        raise GrowthError(
            "`num_attention_heads` has to divide `hidden_size`. Received: "
            f"hidden_size={width}, num_attention_heads={heads}"
        )
    sizes = {
        "hidden": width,
        "ffn": config["intermediate_size"],
        "heads": heads,
        "qk": width // heads,
        "value": width // heads,
        "pooled": width,
    }
    for dim, field in {
        "vocab": "vocab_size",
        "positions": "max_position_embeddings",
        "types": "type_vocab_size",
    }.items():
        if field in config:
            sizes[dim] = config[field]
    return sizes


def _encoder(config, prefix, head_rules):
    """The table of an encoder, of the bare one or of a masked LM.

    Of the head for masked tokens, the dense layer's output goes through a
    nonlinearity and is read by the table of the embeddings, so it is along
    `hidden`, and `hidden` is copied, never mixed.
    """
    embeddings = prefix + r"embeddings\."
    block = prefix + r"encoder\.layer\.{layers}\."
    rules = {
        embeddings + r"word_embeddings\.weight": "vocab -> hidden",
        embeddings + r"position_embeddings\.weight": "positions -> hidden",
        embeddings + r"token_type_embeddings\.weight": "types -> hidden",
        embeddings + r"LayerNorm\.(weight|gamma)": "-> hidden | scale",
        embeddings + r"LayerNorm\.(bias|beta)": "-> hidden | offset",
        **{block + path: axes for path, axes in _BLOCK_RULES.items()},
        prefix + r"pooler\.dense\.weight": "-> pooled ~hidden",
        prefix + r"pooler\.dense\.bias": "-> pooled",
        **head_rules,
    }
    return TensorTable(
        rules=rules,
        dims=encoder_dims("nonlinear"),
        stacks=(
            BlockStack(
                "layers",
                "num_hidden_layers",
                norm="post",
                epsilon="layer_norm_eps",
            ),
        ),
        sizes=encoder_sizes,
        ignored=(
            embeddings + "position_ids",
            embeddings + "token_type_ids",
            r"cls\.predictions\.decoder\..*",
            r"lm_head\.decoder\..*",
        ),
    )


def _only_tied(config):
    if not tied_head(config, True):
        raise GrowthError(
            "A head with weights of its own (tie_word_embeddings=False) has no "
            "table for encoders. Tie it, or grow the model without its head."
        )


@register("bert")
def bert(config):
    """BERT: bare, pre-training, masked LM or a classifier."""
    _only_tied(config)
    head = r"cls\.predictions\."
    return _encoder(
        config,
        r"(bert\.)?",
        {
            head + r"transform\.dense\.weight": "-> hidden ~hidden",
            head + r"transform\.dense\.bias": "-> hidden",
            head + r"transform\.LayerNorm\.(weight|gamma)": (
                "-> ~hidden | scale"
            ),
            head + r"transform\.LayerNorm\.(bias|beta)": "-> ~hidden | offset",
            head + "bias": "-> vocab",
            r"cls\.seq_relationship\.weight": "-> _ ~pooled",
            r"cls\.seq_relationship\.bias": "-> _",
            r"classifier\.weight": "-> _ ~pooled",
            r"(classifier|qa_outputs)\.bias": "-> _",
            r"qa_outputs\.weight": "-> _ ~hidden",
        },
    )


@register("roberta", "xlm-roberta")
def roberta(config):
    """RoBERTa and XLM-R: bare, masked LM or a classifier. Its first positions
    are those of padding, and new ones are added behind the last."""
    _only_tied(config)
    return _encoder(
        config,
        r"(roberta\.)?",
        {
            r"lm_head\.dense\.weight": "-> hidden ~hidden",
            r"lm_head\.dense\.bias": "-> hidden",
            r"lm_head\.layer_norm\.weight": "-> ~hidden | scale",
            r"lm_head\.layer_norm\.bias": "-> ~hidden | offset",
            r"lm_head\.bias": "-> vocab",
            r"classifier\.dense\.weight": "-> pooled ~hidden",
            r"classifier\.dense\.bias": "-> pooled",
            r"classifier\.out_proj\.weight": "-> _ ~pooled",
            r"classifier\.out_proj\.bias": "-> _",
        },
    )
