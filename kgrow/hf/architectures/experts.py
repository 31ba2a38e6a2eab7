"""Decoders with experts: Mixtral, Qwen2-MoE, Qwen3-MoE and OLMoE.

The router and the experts grow along with what they read and write, and so
does their number. The router's softmax divides among copies of an expert what
the expert had, so the function is kept if the number of experts that a token is
sent to grows by the same factor.
"""

import dataclasses

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import Dim
from kgrow.hf.architectures.decoder import (
    block_rules,
    decoder_table,
    norm_rules,
    sizes,
    tied_head,
)
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import Divided

_BLOCK = r"(model\.)?layers\.{layers}\."
# Of experts; versions of `transformers` write one field or the other.
_NUMBER = ("num_local_experts", "num_experts")
_LLAMA = ("gate_proj", "up_proj", "down_proj")


def _gated_rules(name, inner, layers=_LLAMA):
    """Axes of gated feedforward networks.

    Args:
        name: string, a regular expression over the name of the network.
        inner: string, the dimension of its hidden units.
        layers: names of the gate, of what is gated and of the output layer.
    """
    gate, up, down = layers
    return {
        rf"{_BLOCK}{name}\.({gate}|{up})\.weight": f"-> {inner} ~hidden",
        rf"{_BLOCK}{name}\.{down}\.weight": (
            f"-> hidden ~{inner} | residual_out"
        ),
    }


def _router_and_experts(block, inner, layers=_LLAMA):
    """Axes of a router and of the experts that it chooses from.

    Args:
        block: string, a regular expression over the name of the two.
        inner: string, the dimension of an expert's hidden units.
        layers: as in `_gated_rules()`.
    """
    rules = {rf"{_BLOCK}{block}\.gate\.weight": "-> experts ~hidden"}
    experts = _gated_rules(rf"{block}\.experts\.{{experts}}", inner, layers)
    for name, axes in experts.items():
        leaves = "residual_out" in axes
        rules[name] = Divided("~experts" if leaves else "experts", axes)
    return rules


def _experts_table(config, rules, more, norm_of_heads=None):
    """The table of a decoder whose blocks have experts.

    Args:
        more: dict from further dimensions to their fields.
    """
    if (
        config.get("mlp_only_layers")
        or config.get("decoder_sparse_step", 1) > 1
    ):
        raise GrowthError(
            "Some blocks have experts and some have none, by their number, so "
            "that a block computes something else where it moves: there is no "
            "table for that. Received: mlp_only_layers="
            f"{config.get('mlp_only_layers')}, decoder_sparse_step="
            f"{config.get('decoder_sparse_step')}"
        )
    dense = block_rules()
    rules = {
        **{k: v for k, v in dense.items() if r"mlp\." not in k},
        **norm_rules(tied_head(config)),
        **rules,
    }
    table = decoder_table(config, rules, norm_of_heads=norm_of_heads)
    dims = table.dims
    if more:
        # No tensor is along the size of dense blocks.
        dims = tuple(dim for dim in dims if dim.name != "ffn")
        dims += tuple(Dim(name, field) for name, field in more.items())
    experts = next((f for f in _NUMBER if f in config), _NUMBER[0])
    chosen = Dim(
        "experts", experts, norm="softmax", top_k="num_experts_per_tok"
    )
    dims, more = (*dims, chosen), {**more, "experts": experts}

    def all_sizes(config):
        found = {**sizes(config), **{d: config[f] for d, f in more.items()}}
        return {dim.name: found[dim.name] for dim in dims}

    return dataclasses.replace(table, dims=dims, sizes=all_sizes)


@register("mixtral")
def mixtral(config):
    """Mixtral."""
    layers = ("w1", "w3", "w2")
    rules = _router_and_experts("block_sparse_moe", "ffn", layers)
    return _experts_table(config, rules, {})


@register("olmoe")
def olmoe(config):
    """OLMoE: queries and keys are normalised, all heads at once."""
    if config.get("clip_qkv") is not None:
        raise GrowthError(
            "OLMoE with clipped queries, keys and values has no table. "
            f"Received: clip_qkv={config['clip_qkv']}"
        )
    rules = _router_and_experts("mlp", "ffn")
    table = _experts_table(config, rules, {}, norm_of_heads="all")
    return dataclasses.replace(table, settle=_settle_olmoe)


def _settle_olmoe(target, source, asked):
    """The width is that of all heads together, which keep their size."""
    head = source["hidden_size"] // source["num_attention_heads"]
    kv = source.get("num_key_value_heads") or source["num_attention_heads"]
    group = source["num_attention_heads"] // kv
    if "num_key_value_heads" in asked:
        heads = asked["num_key_value_heads"] * group
        if "num_attention_heads" not in asked:
            target["num_attention_heads"] = heads
    elif "num_attention_heads" not in asked:
        target["num_attention_heads"] = target["hidden_size"] // head
    if "num_key_value_heads" not in asked:
        target["num_key_value_heads"] = target["num_attention_heads"] // group
    if "hidden_size" not in asked:
        target["hidden_size"] = target["num_attention_heads"] * head
    if target["hidden_size"] != target["num_attention_heads"] * head:
        raise GrowthError(
            f"Heads of OLMoE keep their size, {head}, and `hidden_size` is "
            "that of all together. Received: "
            f"hidden_size={target['hidden_size']}, "
            f"num_attention_heads={target['num_attention_heads']}"
        )
    return target


@register("qwen2_moe")
def qwen2_moe(config):
    """Qwen2-MoE: one expert serves all tokens, behind a gate."""
    rules = {
        _BLOCK + r"mlp\.shared_expert_gate\.weight": "-> _ ~hidden",
        **_router_and_experts("mlp", "inner"),
        **_gated_rules(r"mlp\.shared_expert", "shared"),
    }
    more = {
        "inner": "moe_intermediate_size",
        "shared": "shared_expert_intermediate_size",
    }
    return _experts_table(config, rules, more)


@register("qwen3_moe")
def qwen3_moe(config):
    """Qwen3-MoE: queries and keys are normalised, head by head."""
    rules = _router_and_experts("mlp", "inner")
    more = {"inner": "moe_intermediate_size"}
    return _experts_table(config, rules, more, norm_of_heads="each")
