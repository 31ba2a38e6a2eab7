"""ViT and DeiT: pre-norm encoders over patches of an image."""

from kgrow.algebra.spec import BlockStack, Dim
from kgrow.hf.architectures.encoder import encoder_sizes
from kgrow.hf.architectures.linear_rules import (
    attention_rules,
    feedforward_rules,
    norm_rules,
)
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import TensorTable

_BLOCK_RULES = {
    **attention_rules(
        r"attention\.attention\.query",
        r"attention\.attention\.key",
        r"attention\.attention\.value",
        r"attention\.output\.dense",
    ),
    **feedforward_rules(r"intermediate\.dense", r"output\.dense"),
    **norm_rules("layernorm_(before|after)"),
}


@register("vit", "deit")
def vit(config):
    """ViT and DeiT: bare, a classifier, or one with a distillation token.

    The image and its patches keep their sizes.
    """
    prefix = r"((vit|deit)\.)?"
    embeddings, block = prefix + r"embeddings\.", prefix + r"encoder\.layer\."
    tokens = "(cls_token|mask_token|distillation_token|position_embeddings)"
    patches = embeddings + r"patch_embeddings\.projection\."
    head = r"(cls_|distillation_)?classifier\."
    rules = {
        embeddings + tokens: "_ _ -> hidden",
        patches + "weight": "-> hidden ~_ ~_ ~_",
        patches + "bias": "-> hidden",
        **{
            rf"{block}{{layers}}\.{path}": axes
            for path, axes in _BLOCK_RULES.items()
        },
        **norm_rules(prefix + "layernorm"),
        prefix + r"pooler\.dense\.weight": "-> pooled ~hidden",
        prefix + r"pooler\.dense\.bias": "-> pooled",
        head + "weight": "-> _ ~hidden",
        head + "bias": "-> _",
    }
    return TensorTable(
        rules=rules,
        dims=(
            Dim("hidden", "hidden_size", kind="stream", norm="layer"),
            Dim("ffn", "intermediate_size"),
            Dim("heads", "num_attention_heads"),
            Dim("qk", "hidden_size", kind="stream"),
            Dim("value", "hidden_size", kind="stream"),
            Dim("pooled", "pooler_output_size"),
        ),
        stacks=(BlockStack("layers", "num_hidden_layers", norm="pre"),),
        sizes=_sizes,
        settle=_settle,
    )


def _sizes(config):
    sizes = encoder_sizes(config)
    pooled = config.get("pooler_output_size") or config["hidden_size"]
    return {**sizes, "pooled": pooled}


def _settle(target, source, asked):
    """The pooler is as wide as the network where it was before."""
    width = source["hidden_size"]
    pooled = source.get("pooler_output_size") or width
    if "pooler_output_size" not in asked and pooled == width:
        target["pooler_output_size"] = target["hidden_size"]
    return target
