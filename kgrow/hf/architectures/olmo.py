"""OLMo: like Llama, with other norms."""

import dataclasses

from kgrow.hf.architectures.decoder import (
    block_rules,
    decoder_table,
    norm_rules,
    tied_head,
)
from kgrow.hf.architectures.registry import register

_CLIPPED = (
    "Heads whose queries, keys and values are clipped (`clip_qkv`) keep their "
    "size, for larger heads have larger queries."
)


@register("olmo")
def olmo(config):
    """The first OLMo, of 1B and 7B: LayerNorm without weights."""
    table = decoder_table(config, block_rules(), norm="layer")
    if config.get("clip_qkv") is None:
        return table
    return dataclasses.replace(
        table, pinned={"pairs": _CLIPPED, "value": _CLIPPED}
    )


@register("olmo2", "olmo3")
def olmo2(config):
    """OLMo 2 and 3: norms behind the branches, and of all queries and all keys
    of a position at once."""
    rules = {**block_rules(), **norm_rules(tied_head(config))}
    return decoder_table(config, rules, norm_of_heads="all")
