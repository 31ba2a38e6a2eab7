"""DeBERTa, versions 2 and 3: relative positions, read by attention itself."""

from kgrow.algebra.errors import GrowthError
from kgrow.hf.architectures.encoder import (
    encoder_table,
    masked_head_rules,
    only_tied,
)
from kgrow.hf.architectures.linear_rules import (
    attention_rules,
    feedforward_rules,
    norm_rules,
)
from kgrow.hf.architectures.registry import register

_SELF = r"attention\.self\."

_BLOCK_RULES = {
    **attention_rules(
        _SELF + "(query_proj|pos_query_proj)",
        _SELF + "(key_proj|pos_key_proj)",
        _SELF + "value_proj",
        r"attention\.output\.dense",
    ),
    **norm_rules(r"attention\.output\.LayerNorm", "attention_norm"),
    **feedforward_rules(r"intermediate\.dense", r"output\.dense"),
    **norm_rules(r"output\.LayerNorm", "ffn_norm"),
}


@register("deberta-v2")
def deberta(config):
    """DeBERTa 2 and 3: bare, masked LM or a classifier. Distances between
    positions keep their table's rows."""
    only_tied(config)
    width = config["hidden_size"]
    if config.get("conv_kernel_size") or (
        config.get("embedding_size", width) != width
    ):
        raise GrowthError(
            "DeBERTa with a convolution or with embeddings narrower than its "
            "blocks has no table. Received: conv_kernel_size="
            f"{config.get('conv_kernel_size')}, embedding_size="
            f"{config.get('embedding_size', width)}, hidden_size={width}"
        )
    encoder = r"(deberta\.)?encoder\."
    return encoder_table(
        r"(deberta\.)?",
        {
            encoder + r"rel_embeddings\.weight": "_ -> hidden",
            **norm_rules(encoder + "LayerNorm"),
            **masked_head_rules(r"cls\.predictions"),
            r"pooler\.dense\.weight": "-> pooled ~hidden",
            r"pooler\.dense\.bias": "-> pooled",
            r"classifier\.weight": "-> _ ~pooled",
            r"(classifier|qa_outputs)\.bias": "-> _",
            r"qa_outputs\.weight": "-> _ ~hidden",
        },
        block_rules=_BLOCK_RULES,
        settle=_settle,
    )


def _settle(target, source, asked):
    """Distances between positions are told apart as before."""
    del asked
    after = target.get("max_position_embeddings")
    before = source.get("max_position_embeddings")
    if after != before and (source.get("max_relative_positions") or 0) < 1:
        target["max_relative_positions"] = before
    if "pooler_hidden_size" in target:
        target["pooler_hidden_size"] = target["hidden_size"]
    return target
