"""Encoders: BERT, RoBERTa and ELECTRA's kin are post-norm, with biases."""

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.hf.architectures.decoder import tied_head
from kgrow.hf.architectures.linear_rules import (
    attention_rules,
    check_divides,
    feedforward_rules,
    norm_rules,
)
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import TensorTable

BLOCK_RULES = {
    **attention_rules(
        r"attention\.self\.query",
        r"attention\.self\.key",
        r"attention\.self\.value",
        r"attention\.output\.dense",
    ),
    **norm_rules(r"attention\.output\.LayerNorm", "attention_norm"),
    **feedforward_rules(r"intermediate\.dense", r"output\.dense"),
    **norm_rules(r"output\.LayerNorm", "ffn_norm"),
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
    check_divides("num_attention_heads", heads, "hidden_size", width)
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
        if config.get(field):
            sizes[dim] = config[field]
    return sizes


def encoder_table(prefix, more, block_rules=None, settle=None):
    """The table of an encoder, of the bare one or of a masked LM.

    Args:
        prefix: string, a regular expression over the prefix of all names.
        more: dict, rules of the head and of what else there is.
        block_rules: dict, rules of a block; by default BERT's.
        settle: the table's `settle`.

    Of the head for masked tokens, the dense layer's output goes through a
    nonlinearity and is read by the table of the embeddings, so it is along
    `hidden`, and `hidden` is copied, never mixed.
    """
    block_rules = BLOCK_RULES if block_rules is None else block_rules
    embeddings = prefix + r"embeddings\."
    block = prefix + r"encoder\.layer\.{layers}\."
    rules = {
        embeddings + r"word_embeddings\.weight": "vocab -> hidden",
        embeddings + r"position_embeddings\.weight": "positions -> hidden",
        embeddings + r"token_type_embeddings\.weight": "types -> hidden",
        **norm_rules(embeddings + "LayerNorm"),
        **{block + path: axes for path, axes in block_rules.items()},
        prefix + r"pooler\.dense\.weight": "-> pooled ~hidden",
        prefix + r"pooler\.dense\.bias": "-> pooled",
        **more,
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
        settle=settle,
        ignored=(
            embeddings + "position_ids",
            embeddings + "token_type_ids",
            r"cls\.predictions\.decoder\..*",
            r"lm_head\.decoder\..*",
        ),
    )


def only_tied(config):
    if not tied_head(config, True):
        raise GrowthError(
            "A head with weights of its own (tie_word_embeddings=False) has no "
            "table for encoders. Tie it, or grow the model without its head."
        )


def masked_head_rules(name):
    """Axes of BERT's head for masked tokens, named `name` in a folder."""
    return {
        rf"{name}\.transform\.dense\.weight": "-> hidden ~hidden",
        rf"{name}\.transform\.dense\.bias": "-> hidden",
        **norm_rules(rf"{name}\.transform\.LayerNorm", axis="~hidden"),
        rf"{name}\.bias": "-> vocab",
    }


@register("bert")
def bert(config):
    """BERT: bare, pre-training, masked LM or a classifier."""
    only_tied(config)
    return encoder_table(
        r"(bert\.)?",
        {
            **masked_head_rules(r"cls\.predictions"),
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
    only_tied(config)
    return encoder_table(
        r"(roberta\.)?",
        {
            r"lm_head\.dense\.weight": "-> hidden ~hidden",
            r"lm_head\.dense\.bias": "-> hidden",
            **norm_rules(r"lm_head\.layer_norm", axis="~hidden"),
            r"lm_head\.bias": "-> vocab",
            r"classifier\.dense\.weight": "-> pooled ~hidden",
            r"classifier\.dense\.bias": "-> pooled",
            r"classifier\.out_proj\.weight": "-> _ ~pooled",
            r"classifier\.out_proj\.bias": "-> _",
        },
    )
