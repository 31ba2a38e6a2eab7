"""Gemma 1 to 3, text."""

from kgrow.algebra.errors import GrowthError
from kgrow.hub.folders.hub_table import HubTable, register
from kgrow.hub.folders.llama import FIELDS, rope, settle_heads

_BLOCK = {
    "self_attn.q_proj.weight": "attention/query/kernel",
    "self_attn.k_proj.weight": "attention/key/kernel",
    "self_attn.v_proj.weight": "attention/value/kernel",
    "self_attn.o_proj.weight": "attention/attention_output/kernel",
    "mlp.gate_proj.weight": "ffw_gating/kernel",
    "mlp.up_proj.weight": "ffw_gating_2/kernel",
    "mlp.down_proj.weight": "ffw_linear/kernel",
    "input_layernorm.weight": "pre_attention_norm/scale",
}
_FIRST = {"post_attention_layernorm.weight": "pre_ffw_norm/scale"}
_SECOND = {
    "post_attention_layernorm.weight": "post_attention_norm/scale",
    "pre_feedforward_layernorm.weight": "pre_ffw_norm/scale",
    "post_feedforward_layernorm.weight": "post_ffw_norm/scale",
}
_THIRD = {
    **_SECOND,
    "self_attn.q_norm.weight": "attention/query_norm/scale",
    "self_attn.k_norm.weight": "attention/key_norm/scale",
}
_FIXED = {
    "hidden_activation": ("gelu_pytorch_tanh", None),
    "tie_word_embeddings": (True, None),
}
_PER_HEAD = ("query/kernel", "key/kernel", "value/kernel")


def _paths(more):
    return {
        "embed_tokens.weight": "token_embedding/embeddings",
        "norm.weight": "final_normalization/scale",
        **{
            f"layers.{{i}}.{there}": f"decoder_block_{{i}}/{here}"
            for there, here in {**_BLOCK, **more}.items()
        },
    }


def _doubled(config):
    """KerasHub counts both halves of a gated feedforward network."""
    return {
        "intermediate_dim": 2 * config["intermediate_size"],
        "head_dim": config["head_dim"],
    }


def _scale_of_queries(config):
    """Whether queries are divided by the root of the head's size."""
    scalar, head = config["query_pre_attn_scalar"], config["head_dim"]
    share = config["hidden_size"] // config["num_attention_heads"]
    if scalar not in (head, share):
        raise GrowthError(
            "KerasHub's network divides scores by the root of `head_dim`, or "
            "of the width's share of a head. Received: "
            f"query_pre_attn_scalar={scalar}, head_dim={head}, share={share}"
        )
    return {"query_head_dim_normalize": scalar == head}


def _kinds(depth, period):
    """Which blocks see a window only: all but the last of a period."""
    return [
        "full_attention" if i % period == period - 1 else "sliding_attention"
        for i in range(depth)
    ]


def _check_kinds(config, period):
    depth = config["num_hidden_layers"]
    kinds = config.get("layer_types") or _kinds(depth, period)
    if kinds != _kinds(depth, period):
        raise GrowthError(
            f"In KerasHub's network every {period}th block sees all tokens "
            f"and the others a window. Received: layer_types={kinds}"
        )


def _gemma(config):
    _plain(rope(config))
    return _doubled(config)


def _plain(found, theta=10_000.0):
    if (found["rope_type"], found["rope_theta"]) != ("default", theta):
        raise GrowthError(
            f"KerasHub's Gemma turns by a wavelength of {theta:g}, unscaled. "
            f"Received: {found}"
        )


def _gemma2(config):
    _check_kinds(config, 2)
    _plain(rope(config))
    return {
        **_doubled(config),
        **_scale_of_queries(config),
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "final_logit_soft_cap": config["final_logit_softcapping"],
        "attention_logit_soft_cap": config["attn_logit_softcapping"],
        "sliding_window_size": config["sliding_window"],
        "use_sliding_window_attention": True,
    }


def _gemma3(config):
    _check_kinds(config, 6)
    return {
        **_scale_of_queries(config),
        **_ropes(config),
        "image_size": None,
        "head_dim": config["head_dim"],
        "use_post_ffw_norm": True,
        "use_post_attention_norm": True,
        "final_logit_soft_cap": config.get("final_logit_softcapping"),
        "attention_logit_soft_cap": config.get("attn_logit_softcapping"),
        "sliding_window_size": config["sliding_window"],
        "use_sliding_window_attention": True,
        "layer_norm_epsilon": config["rms_norm_eps"],
    }


def _ropes(config):
    """The factors by which positions are scaled, of both kinds of blocks."""
    both = config.get("rope_parameters") or {}
    local = both.get("sliding_attention") or {
        "rope_theta": config.get("rope_local_base_freq", 10_000.0)
    }
    whole = both.get("full_attention") or {
        "rope_theta": config.get("rope_theta", 1_000_000.0),
        **(config.get("rope_scaling") or {}),
    }
    factors = {}
    for name, found, theta in (
        ("local", local, 10_000.0),
        ("global", whole, 1_000_000.0),
    ):
        found = rope({"rope_parameters": found})
        if found["rope_type"] == "linear":
            factors[f"{name}_rope_scaling_factor"] = found["factor"]
            found["rope_type"] = "default"
        _plain(found, theta)
    return factors


def _settle(config, backbone):
    settle_heads(config, backbone)
    if isinstance(config.get("layer_types"), list):
        period = 6 if "Gemma3" in type(backbone).__name__ else 2
        config["layer_types"] = _kinds(backbone.num_layers, period)
    if "query_pre_attn_scalar" in config:
        share = backbone.hidden_dim // backbone.num_query_heads
        config["query_pre_attn_scalar"] = (
            backbone.head_dim if backbone.query_head_dim_normalize else share
        )


def _settle_doubled(config, backbone):
    _settle(config, backbone)
    config["intermediate_size"] = backbone.intermediate_dim // 2


def _table(backbone, tasks, more, options, settle, **arguments):
    fields = dict(FIELDS)
    if settle is _settle_doubled:
        del fields["intermediate_dim"]
    return HubTable(
        backbone,
        tasks,
        fields,
        _paths(more),
        prefix="model.",
        fixed=_FIXED,
        options=options,
        settle=settle,
        per_head=_PER_HEAD,
        **arguments,
    )


# Blocks of KerasHub's Gemma do not get the backbone's epsilon.
_EPSILON = {"epsilons": {"rms_norm_eps": 1e-6}}

register("gemma")(
    _table(
        "GemmaBackbone",
        {"GemmaForCausalLM": "GemmaCausalLM"},
        _FIRST,
        _gemma,
        _settle_doubled,
        **_EPSILON,
    )
)
register("gemma2")(
    _table(
        "GemmaBackbone",
        {"Gemma2ForCausalLM": "GemmaCausalLM"},
        _SECOND,
        _gemma2,
        _settle_doubled,
        period=2,
        **_EPSILON,
    )
)
register("gemma3_text")(
    _table(
        "Gemma3Backbone",
        {"Gemma3ForCausalLM": "Gemma3CausalLM"},
        _THIRD,
        _gemma3,
        _settle,
        period=6,
    )
)
