"""OLMo: like Llama, with LayerNorm that has no weights."""

import dataclasses

from kgrow.hf.architectures.decoder import block_rules, decoder_table
from kgrow.hf.architectures.registry import register

_CLIPPED = (
    "Heads whose queries, keys and values are clipped (`clip_qkv`) keep their "
    "size, for larger heads have larger queries."
)


@register("olmo")
def olmo(config):
    """The first OLMo, of 1B and 7B."""
    table = decoder_table(config, block_rules(), norm="layer")
    if config.get("clip_qkv") is None:
        return table
    return dataclasses.replace(
        table, pinned={"pairs": _CLIPPED, "value": _CLIPPED}
    )
