"""Llama, Mistral, Qwen2 and Qwen3."""

from kgrow.algebra.errors import GrowthError
from kgrow.hub.folders.hub_table import HubTable, register

FIELDS = {
    "vocabulary_size": "vocab_size",
    "num_layers": "num_hidden_layers",
    "num_query_heads": "num_attention_heads",
    "num_key_value_heads": "num_key_value_heads",
    "hidden_dim": "hidden_size",
    "intermediate_dim": "intermediate_size",
}

_BLOCK = {
    "self_attn.q_proj.weight": "self_attention/query/kernel",
    "self_attn.k_proj.weight": "self_attention/key/kernel",
    "self_attn.v_proj.weight": "self_attention/value/kernel",
    "self_attn.o_proj.weight": "self_attention/attention_output/kernel",
    "mlp.gate_proj.weight": "feedforward_gate_dense/kernel",
    "mlp.up_proj.weight": "feedforward_intermediate_dense/kernel",
    "mlp.down_proj.weight": "feedforward_output_dense/kernel",
    "input_layernorm.weight": "self_attention_layernorm/scale",
    "post_attention_layernorm.weight": "feedforward_layernorm/scale",
}
_BIASES = {
    f"self_attn.{there}_proj.bias": f"self_attention/{here}/bias"
    for there, here in {"q": "query", "k": "key", "v": "value"}.items()
}
_NORMS_OF_HEADS = {
    "self_attn.q_norm.weight": "self_attention/query_dense_layernorm/scale",
    "self_attn.k_norm.weight": "self_attention/key_dense_layernorm/scale",
}


def _paths(**more):
    rules = {**_BLOCK, **more}
    return {
        "embed_tokens.weight": "token_embedding/embeddings",
        "lm_head.weight": "token_embedding/reverse_embeddings",
        "norm.weight": "sequence_output_layernorm/scale",
        **{
            f"layers.{{i}}.{there}": f"transformer_layer_{{i}}/{here}"
            for there, here in rules.items()
        },
    }


def rope(config):
    """The parameters of the rotary positions, wherever a config has them."""
    found = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = found.get("rope_type") or found.get("type") or "default"
    theta = found.get("rope_theta") or config.get("rope_theta") or 10_000.0
    return {**found, "rope_type": kind, "rope_theta": theta}


def plain_rope(config):
    """`{field of the backbone: wavelength}`.

    Raises:
        GrowthError: the positions are scaled.
    """
    found = rope(config)
    if found["rope_type"] != "default":
        raise GrowthError(
            "KerasHub's network does not scale rotary positions in this way. "
            f"Received: rope_type={found['rope_type']!r}"
        )
    return {"rope_max_wavelength": found["rope_theta"]}


def _llama_rope(config):
    found = rope(config)
    if found["rope_type"] != "llama3":
        return plain_rope(config)
    return {
        "rope_max_wavelength": found["rope_theta"],
        "rope_frequency_adjustment_factor": found["factor"],
        "rope_low_freq_factor": found["low_freq_factor"],
        "rope_high_freq_factor": found["high_freq_factor"],
        "rope_pretraining_sequence_length": found[
            "original_max_position_embeddings"
        ],
    }


def _heads_share_the_width(config):
    """Raises if heads have a size that KerasHub's network cannot have."""
    natural = config["hidden_size"] // config["num_attention_heads"]
    size = config.get("head_dim") or natural
    if size != natural:
        raise GrowthError(
            "The heads of KerasHub's network share its width among "
            f"themselves, {natural} entries each. Received: head_dim={size}"
        )


def _windows(config):
    """Raises if some blocks see a window only."""
    kinds = set(config.get("layer_types") or ["full_attention"])
    if kinds != {"full_attention"} or config.get("use_sliding_window"):
        raise GrowthError(
            "KerasHub's network gives a window to all blocks or to none. "
            f"Received: layer_types={config.get('layer_types')}, "
            f"use_sliding_window={config.get('use_sliding_window')}"
        )


def _tied(config):
    return {"tie_word_embeddings": bool(config.get("tie_word_embeddings"))}


def _llama(config):
    _heads_share_the_width(config)
    return {
        "layer_norm_epsilon": config["rms_norm_eps"],
        **_tied(config),
        **_llama_rope(config),
    }


def _mistral(config):
    return {
        "layer_norm_epsilon": config["rms_norm_eps"],
        "head_dim": config.get("head_dim"),
        "sliding_window": config.get("sliding_window"),
        **plain_rope(config),
    }


def _qwen2(config):
    _heads_share_the_width(config)
    _windows(config)
    return {
        "layer_norm_epsilon": config["rms_norm_eps"],
        **_tied(config),
        **plain_rope(config),
    }


def _qwen3(config):
    _windows(config)
    return {
        "layer_norm_epsilon": config["rms_norm_eps"],
        "head_dim": config["head_dim"],
        "sliding_window_size": None,
        **_tied(config),
        **plain_rope(config),
    }


def settle_heads(config, backbone):
    """Writes the size of a head where a config has it, or where it is not
    what readers would take it for."""
    width, heads = backbone.hidden_dim, backbone.num_query_heads
    size = getattr(backbone, "head_dim", None) or width // heads
    if config.get("head_dim") is not None or size != width // heads:
        config["head_dim"] = size
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and len(set(kinds)) == 1:
        config["layer_types"] = kinds[:1] * backbone.num_layers


_SILU = {"hidden_act": ("silu",)}

register("llama")(
    HubTable(
        "Llama3Backbone",
        {"LlamaForCausalLM": "Llama3CausalLM"},
        FIELDS,
        _paths(),
        prefix="model.",
        fixed=_SILU,
        options=_llama,
        settle=settle_heads,
    )
)
register("mistral")(
    HubTable(
        "MistralBackbone",
        {"MistralForCausalLM": "MistralCausalLM"},
        FIELDS,
        _paths(),
        prefix="model.",
        fixed={**_SILU, "tie_word_embeddings": (False,)},
        options=_mistral,
        settle=settle_heads,
    )
)
register("qwen2")(
    HubTable(
        "QwenBackbone",
        {"Qwen2ForCausalLM": "QwenCausalLM"},
        FIELDS,
        _paths(**_BIASES),
        prefix="model.",
        fixed=_SILU,
        options=_qwen2,
        settle=settle_heads,
    )
)
register("qwen3")(
    HubTable(
        "Qwen3Backbone",
        {"Qwen3ForCausalLM": "Qwen3CausalLM"},
        FIELDS,
        _paths(**_NORMS_OF_HEADS),
        prefix="model.",
        fixed=_SILU,
        # Of the norms of queries and keys; KerasHub 0.32 does not pass it on.
        epsilons={"rms_norm_eps": 1e-5},
        options=_qwen3,
        settle=settle_heads,
    )
)
