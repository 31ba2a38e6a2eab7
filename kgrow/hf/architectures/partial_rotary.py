"""Phi and GPT-NeoX: branches side by side, and positions turned into a part
of each head.

Which entries of a head are turned follows from their number, so that heads keep
their size: a wider network has more of them.
"""

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.hf.architectures.decoder import head_size, tied_head
from kgrow.hf.architectures.decoder import settle as settle_heads
from kgrow.hf.architectures.linear_rules import (
    check_divides,
    feedforward_rules,
    norm_rules,
)
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import TensorTable

_FIXED_HEAD = (
    "Heads of this architecture keep their size, for positions are turned into "
    "a part of each. Add heads instead: grow `num_attention_heads`."
)


@register("phi")
def phi(config):
    """Phi 1, 1.5 and 2."""
    block, attention = r"model\.layers\.{layers}\.", r"self_attn\."
    rules = {
        r"model\.embed_tokens\.weight": "vocab -> hidden",
        block + attention + r"q_proj\.weight": "-> [(kv group) head] ~hidden",
        block + attention + r"q_proj\.bias": "-> [(kv group) head]",
        block + attention + r"k_proj\.weight": "-> [kv ~head] ~hidden",
        block + attention + r"k_proj\.bias": "-> [kv ~head]",
        block + attention + r"v_proj\.weight": "-> [kv head] ~hidden",
        block + attention + r"v_proj\.bias": "-> [kv head]",
        block + attention + r"dense\.weight": (
            "-> hidden [~(kv group) ~head] | residual_out"
        ),
        block + attention + r"dense\.bias": "-> hidden | residual_out",
        # Of queries and keys, where the config asks for it.
        block + attention + r"q_layernorm\.weight": "-> head | scale",
        block + attention + r"q_layernorm\.bias": "-> head | offset",
        block + attention + r"k_layernorm\.weight": "-> ~head | scale",
        block + attention + r"k_layernorm\.bias": "-> ~head | offset",
        **_in_block(block, feedforward_rules(r"mlp\.fc1", r"mlp\.fc2")),
        **_in_block(block, norm_rules("input_layernorm")),
        **norm_rules(r"model\.final_layernorm"),
        r"lm_head\.weight": "-> vocab ~hidden",
        r"lm_head\.bias": "-> vocab",
    }
    heads = (
        Dim("kv", "num_key_value_heads"),
        Dim("group", "num_attention_heads"),
    )
    return _table(config, rules, heads, _phi_sizes, _settle_phi)


@register("gpt_neox")
def gpt_neox(config):
    """GPT-NeoX and Pythia: queries, keys and values of a head lie together."""
    block = r"(gpt_neox\.)?layers\.{layers}\."
    rules = {
        r"(gpt_neox\.)?embed_in\.weight": "vocab -> hidden",
        block + r"attention\.query_key_value\.weight": (
            "-> [heads (3 head)] ~hidden"
        ),
        block + r"attention\.query_key_value\.bias": ("-> [heads (3 head)]"),
        block + r"attention\.dense\.weight": (
            "-> hidden [~heads ~head] | residual_out"
        ),
        block + r"attention\.dense\.bias": "-> hidden | residual_out",
        **_in_block(
            block,
            feedforward_rules(r"mlp\.dense_h_to_4h", r"mlp\.dense_4h_to_h"),
        ),
        **_in_block(
            block, norm_rules("(input_layernorm|post_attention_layernorm)")
        ),
        **norm_rules(r"(gpt_neox\.)?final_layer_norm"),
        r"(lm_head|embed_out)\.weight": "-> vocab ~hidden",
    }
    heads = (Dim("heads", "num_attention_heads"),)
    return _table(config, rules, heads, _neox_sizes, _settle_neox)


def _in_block(block, rules):
    return {block + path: axes for path, axes in rules.items()}


def _table(config, rules, heads, sizes, settle):
    if tied_head(config):
        raise GrowthError(
            "A head that is tied to the embeddings has no table for "
            f"{config['model_type']!r}. Received: tie_word_embeddings=True"
        )
    buffers = r".*attention\.(rotary_emb\.inv_freq|(masked_)?bias)"
    return TensorTable(
        rules=rules,
        dims=(
            Dim("hidden", "hidden_size", kind="stream", norm="layer"),
            Dim("ffn", "intermediate_size"),
            *heads,
            Dim("head", "head_dim"),
            Dim("vocab", "vocab_size", kind="lookup"),
        ),
        stacks=(BlockStack("layers", "num_hidden_layers", norm="pre"),),
        sizes=sizes,
        outputs="_ _ -> vocab",
        ignored=(buffers,),
        settle=settle,
        pinned={"head": _FIXED_HEAD},
    )


def _phi_sizes(config):
    heads = config["num_attention_heads"]
    kv = config.get("num_key_value_heads") or heads
    check_divides("num_key_value_heads", kv, "num_attention_heads", heads)
    return {
        "hidden": config["hidden_size"],
        "ffn": config["intermediate_size"],
        "kv": kv,
        "group": heads // kv,
        "head": head_size(config),
        "vocab": config["vocab_size"],
    }


def _settle_phi(target, source, asked):
    """Norms of queries and keys are as wide as a head is by the width."""
    target = settle_heads(target, source, asked)
    width, heads = target["hidden_size"], target["num_attention_heads"]
    head = head_size(source)
    if source.get("qk_layernorm") and width != heads * head:
        raise GrowthError(
            f"Heads of this model keep their size, {head}, and their norms "
            "(`qk_layernorm`) have that of `hidden_size` over "
            "`num_attention_heads`: grow both alike. Received: "
            f"hidden_size={width}, num_attention_heads={heads}"
        )
    return target


def _neox_sizes(config):
    width, heads = config["hidden_size"], config["num_attention_heads"]
    check_divides("num_attention_heads", heads, "hidden_size", width)
    return {
        "hidden": width,
        "ffn": config["intermediate_size"],
        "heads": heads,
        "head": width // heads,
        "vocab": config["vocab_size"],
    }


def _settle_neox(target, source, asked):
    """The width is that of all heads together: each follows from the other."""
    head = source["hidden_size"] // source["num_attention_heads"]
    if "num_attention_heads" not in asked:
        target["num_attention_heads"] = target["hidden_size"] // head
    elif "hidden_size" not in asked:
        target["hidden_size"] = target["num_attention_heads"] * head
    return target
