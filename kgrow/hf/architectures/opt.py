"""OPT: a decoder with LayerNorm, biases and learned positions."""

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

# Positions begin with rows for padding.
_PADDING = 2

_BLOCK_RULES = {
    **attention_rules(
        r"self_attn\.q_proj",
        r"self_attn\.k_proj",
        r"self_attn\.v_proj",
        r"self_attn\.out_proj",
    ),
    **feedforward_rules("fc1", "fc2"),
    **norm_rules("(self_attn_layer_norm|final_layer_norm)"),
}


@register("opt")
def opt(config):
    """OPT, of the sizes that are pre-norm: all but the one with 350M."""
    width = config["hidden_size"]
    if config.get("word_embed_proj_dim", width) != width:
        raise GrowthError(
            "OPT whose embeddings are narrower than its blocks has no table. "
            "Received: word_embed_proj_dim="
            f"{config['word_embed_proj_dim']}, hidden_size={width}"
        )
    if not config.get("do_layer_norm_before", True):
        raise GrowthError(
            "OPT with norms behind its branches has no table. Received: "
            "do_layer_norm_before=False"
        )
    tied = tied_head(config, True)
    prefix = r"((model\.)?decoder\.)"
    rules = {
        prefix + r"embed_tokens\.weight": "vocab -> hidden",
        prefix + r"embed_positions\.weight": "positions -> hidden",
        **{
            rf"{prefix}layers\.{{layers}}\.{path}": axes
            for path, axes in _BLOCK_RULES.items()
        },
        **norm_rules(
            prefix + "final_layer_norm", axis="~hidden" if tied else "hidden"
        ),
    }
    ignored = (r"lm_head\.weight",) if tied else ()
    if not tied:
        rules[r"lm_head\.weight"] = "-> vocab ~hidden"
    return TensorTable(
        rules=rules,
        dims=(
            Dim("hidden", "hidden_size", kind="stream", norm="layer"),
            Dim("ffn", "ffn_dim"),
            Dim("heads", "num_attention_heads"),
            Dim("qk", "hidden_size", kind="stream"),
            Dim("value", "hidden_size", kind="stream"),
            Dim("vocab", "vocab_size", kind="lookup"),
            Dim("positions", "max_position_embeddings", kind="lookup"),
        ),
        stacks=(BlockStack("layers", "num_hidden_layers", norm="pre"),),
        sizes=_sizes,
        outputs="_ _ -> vocab",
        ignored=ignored,
        settle=_settle,
    )


def _sizes(config):
    width, heads = config["hidden_size"], config["num_attention_heads"]
    check_divides("num_attention_heads", heads, "hidden_size", width)
    return {
        "hidden": width,
        "ffn": config["ffn_dim"],
        "heads": heads,
        "qk": width // heads,
        "value": width // heads,
        "vocab": config["vocab_size"],
        "positions": config["max_position_embeddings"] + _PADDING,
    }


def _settle(target, source, asked):
    del source, asked
    target["word_embed_proj_dim"] = target["hidden_size"]
    return target
