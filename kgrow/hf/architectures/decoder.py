"""Decoders like Llama: Mistral, Qwen2, Qwen3 and Gemma differ in few lines.

Pre-norm with RMSNorm, rotary positions, gated feedforward networks, keys and
values shared by groups of query heads. Some have biases on queries, keys and
values, some normalise queries and keys.
"""

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.hf.architectures.linear_rules import check_divides
from kgrow.hf.architectures.registry import register
from kgrow.hf.tensor_table import Shifted, TensorTable

_BLOCK = r"(model\.)?layers\.{layers}\."
_QUERY_NORM = r"self_attn\.q_norm\.weight"
_KEY_NORM = r"self_attn\.k_norm\.weight"


def block_rules(power="pairs^0.5"):
    """The axes of a block's projections.

    Args:
        power: string, the flag that makes up for a division of scores by the
            root of the head's size; empty where the divisor is a field of the
            config.
    """
    flag = f" | {power}" if power else ""
    query = "-> [(kv group) (2 pairs)]"
    output = "-> hidden [~(kv group) ~value] | residual_out"
    rules = {
        r"self_attn\.q_proj\.weight": f"{query} ~hidden{flag}",
        r"self_attn\.q_proj\.bias": f"{query}{flag}",
        r"self_attn\.k_proj\.weight": "-> [kv ~(2 pairs)] ~hidden",
        r"self_attn\.k_proj\.bias": "-> [kv ~(2 pairs)]",
        r"self_attn\.v_proj\.weight": "-> [kv value] ~hidden",
        r"self_attn\.v_proj\.bias": "-> [kv value]",
        r"self_attn\.o_proj\.weight": output,
        r"self_attn\.o_proj\.bias": "-> hidden | residual_out",
        r"mlp\.(gate|up)_proj\.weight": "-> ffn ~hidden",
        r"mlp\.(gate|up)_proj\.bias": "-> ffn",
        r"mlp\.down_proj\.weight": "-> hidden ~ffn | residual_out",
        r"mlp\.down_proj\.bias": "-> hidden | residual_out",
        # Of Qwen3 and Gemma 3. A norm of queries and keys takes the root of
        # the head's size off their length, each.
        _QUERY_NORM: "-> (2 pairs) | scale",
        _KEY_NORM: "-> ~(2 pairs) | scale",
    }
    return {_BLOCK + path: axes for path, axes in rules.items()}


def norm_rules(tied, gain=str, power=""):
    """The axes of the norms.

    Args:
        tied: bool, whether the table of the embeddings reads the last norm.
        gain: `str`, or `Shifted` for gains that are stored as gain minus one.
        power: string, a flag of the last norm's gain.
    """
    norms = (
        r"(input_layernorm|post_attention_layernorm|"
        r"pre_feedforward_layernorm|post_feedforward_layernorm)\.weight"
    )
    last = ("-> ~hidden" if tied else "-> hidden") + " | scale"
    if tied and power:
        last += f", {power}"
    return {
        _BLOCK + norms: gain("-> hidden | scale"),
        r"(model\.)?norm\.weight": gain(last),
    }


def head_size(config):
    """The size of a head, whether the config names it or not."""
    return config.get("head_dim") or (
        config["hidden_size"] // config["num_attention_heads"]
    )


def sizes(config):
    heads = config["num_attention_heads"]
    kv = config.get("num_key_value_heads") or heads
    check_divides("num_key_value_heads", kv, "num_attention_heads", heads)
    head = head_size(config)
    if head % 2:
        raise GrowthError(
            "`head_dim` is even, for entries of a head are turned in pairs. "
            f"Received: head_dim={head}"
        )
    return {
        "hidden": config["hidden_size"],
        "ffn": config["intermediate_size"],
        "kv": kv,
        "group": heads // kv,
        "pairs": head // 2,
        "value": head,
        "vocab": config["vocab_size"],
    }


def settle(target, source, asked):
    """Queries go with keys and values, and these with the queries where each
    query head has its own; a head keeps its size."""
    kv = source.get("num_key_value_heads") or source["num_attention_heads"]
    group = source["num_attention_heads"] // kv
    if "num_key_value_heads" in asked and "num_attention_heads" not in asked:
        target["num_attention_heads"] = asked["num_key_value_heads"] * group
    if group == 1 and "num_key_value_heads" not in asked:
        target["num_key_value_heads"] = target["num_attention_heads"]
    if "head_dim" not in asked:
        head = head_size(source)
        natural = target["hidden_size"] // target["num_attention_heads"]
        if source.get("head_dim") or natural != head:
            target["head_dim"] = head
    return target


def decoder_table(config, rules, norm="rms", norm_of_heads=None):
    """The table of a decoder.

    Args:
        config: dict.
        rules: dict, the table's rules.
        norm: string, `"rms"` or `"layer"`.
        norm_of_heads: string, how queries and keys are normalised: `"each"`
            head by itself, `"all"` heads of a position at once. By default not
            at all.
    """
    tied = tied_head(config)
    rules = dict(rules)
    if norm_of_heads == "all":
        rules[_BLOCK + _QUERY_NORM] = "-> [(kv group) (2 pairs)] | scale"
        rules[_BLOCK + _KEY_NORM] = "-> [kv ~(2 pairs)] | scale"
    of_all = "rms" if norm_of_heads == "all" else None
    rules[r"(model\.)?embed_tokens\.weight"] = rules.pop(
        "embedding", "vocab -> hidden"
    )
    ignored = [r".*rotary_emb\.inv_freq"]
    if tied:
        ignored.append(r"lm_head\.weight")
    else:
        rules[r"lm_head\.weight"] = "-> vocab ~hidden"
    return TensorTable(
        rules=rules,
        dims=(
            Dim("hidden", "hidden_size", kind="stream", norm=norm),
            Dim("ffn", "intermediate_size"),
            Dim("kv", "num_key_value_heads", norm=of_all),
            Dim("group", "num_attention_heads", norm=of_all),
            Dim(
                "pairs",
                "head_dim",
                kind="rotary",
                norm="rms" if norm_of_heads else None,
            ),
            Dim("value", "head_dim", kind="stream"),
            Dim("vocab", "vocab_size", kind="lookup"),
        ),
        stacks=(BlockStack("layers", "num_hidden_layers", norm="pre"),),
        sizes=sizes,
        outputs="_ _ -> vocab",
        ignored=tuple(ignored),
        settle=settle,
        per_block=("layer_types",),
    )


def tied_head(config, default=False):
    """Whether the output head reads with the table of the embeddings."""
    tied = config.get("tie_word_embeddings")
    return default if tied is None else bool(tied)


@register("llama", "mistral", "qwen2")
def llama(config):
    """Llama and SmolLM2, Mistral, Qwen2 (with biases)."""
    rules = {**block_rules(), **norm_rules(tied_head(config))}
    return decoder_table(config, rules)


@register("qwen3")
def qwen3(config):
    """Qwen3: queries and keys are normalised, head by head."""
    rules = {**block_rules(), **norm_rules(tied_head(config))}
    return decoder_table(config, rules, norm_of_heads="each")


@register("gemma", "gemma2", "gemma3_text")
def gemma(config):
    """Gemma 1 to 3, text: gains are stored minus one, and embeddings are
    multiplied by the root of `hidden_size`, which what reads them is not."""
    # The head is tied unless the config says otherwise.
    config = {**config, "tie_word_embeddings": tied_head(config, True)}
    first = config["model_type"] == "gemma"
    rules = {
        **block_rules("pairs^0.5" if first else ""),
        **norm_rules(
            config["tie_word_embeddings"], Shifted, power="hidden^0.5"
        ),
        "embedding": "vocab -> hidden | hidden^-0.5",
    }
    for name, axes in list(rules.items()):
        if name.endswith((r"q_norm\.weight", r"k_norm\.weight")):
            rules[name] = Shifted(axes)
    third = config["model_type"] == "gemma3_text"
    return decoder_table(config, rules, norm_of_heads="each" if third else None)
