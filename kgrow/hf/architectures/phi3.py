"""Phi-3 and 4: like Llama, with the layers that read the same in one tensor."""

import dataclasses

from kgrow.hf.architectures.decoder import (
    block_rules,
    decoder_table,
    norm_rules,
    tied_head,
)
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import Packed

_TURNED = (
    "Heads of this model keep their size, for the config says of a part of "
    "each how it is turned. Add heads instead."
)


@register("phi3")
def phi3(config):
    """Phi-3, 3.5 and 4, without experts and text alone."""
    rules = block_rules()
    attention, mlp = r"self_attn\.{}\.weight", r"mlp\.{}\.weight"
    found = {
        name: _take(rules, attention.format(layer))
        for name, layer in (
            ("query", "q_proj"),
            ("key", "k_proj"),
            ("value", "v_proj"),
        )
    }
    prefix = found["query"][0]
    rules[prefix + attention.format("qkv_proj")] = Packed(
        0, {name: axes for name, (_, axes) in found.items()}
    )
    _, axes = _take(rules, mlp.format("(gate|up)_proj"))
    rules[prefix + mlp.format("gate_up_proj")] = Packed(
        0, {"gate": axes, "up": axes}
    )
    rules.update(norm_rules(tied_head(config)))
    table = decoder_table(config, rules)
    if _turns_whole_heads(config):
        return table
    return dataclasses.replace(
        table, pinned={"pairs": _TURNED, "value": _TURNED}
    )


def _take(rules, name):
    """`(prefix, axes)` of a rule, which is taken out."""
    (path,) = (path for path in rules if path.endswith(name))
    return path.removesuffix(name), rules.pop(path)


def _turns_whole_heads(config):
    """Whether all entries of a head are turned, by frequencies that follow
    from their number."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = rope.get("rope_type") or rope.get("type") or "default"
    part = rope.get("partial_rotary_factor")
    if part is None:
        part = config.get("partial_rotary_factor", 1.0)
    return kind == "default" and part == 1.0
