"""GPT-2."""

from kgrow.hub.folders.hub_table import HubTable, register

_PARTS = ("query", "key", "value")
_LAYERS = {
    "attn.c_proj": "self_attention/attention_output",
    "mlp.c_fc": "feedforward_intermediate_dense",
    "mlp.c_proj": "feedforward_output_dense",
}
_NORMS = {
    "ln_1": "self_attention_layer_norm",
    "ln_2": "feedforward_layer_norm",
}


def _block():
    for there, here in (("weight", "kernel"), ("bias", "bias")):
        for part in _PARTS:
            yield f"attn.c_attn.{there}#{part}", f"self_attention/{part}/{here}"
        for layer, name in _LAYERS.items():
            yield f"{layer}.{there}", f"{name}/{here}"
    for there, here in (("weight", "gamma"), ("bias", "beta")):
        for norm, name in _NORMS.items():
            yield f"{norm}.{there}", f"{name}/{here}"


def _options(config):
    return {
        "intermediate_dim": config.get("n_inner") or 4 * config["n_embd"],
        "dropout": config.get("resid_pdrop", 0.1),
    }


def _settle(config, backbone):
    wide = backbone.intermediate_dim
    if config.get("n_inner") is not None or wide != 4 * backbone.hidden_dim:
        config["n_inner"] = wide
    if "n_ctx" in config:
        config["n_ctx"] = backbone.max_sequence_length


register("gpt2")(
    HubTable(
        "GPT2Backbone",
        {"GPT2LMHeadModel": "GPT2CausalLM"},
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "n_layer",
            "num_heads": "n_head",
            "hidden_dim": "n_embd",
            "max_sequence_length": "n_positions",
        },
        {
            "wte.weight": "token_embedding/embeddings",
            "wpe.weight": "position_embedding/embeddings",
            "ln_f.weight": "layer_norm/gamma",
            "ln_f.bias": "layer_norm/beta",
            **{
                f"h.{{i}}.{there}": f"transformer_layer_{{i}}/{here}"
                for there, here in _block()
            },
        },
        prefix="transformer.",
        fixed={
            "activation_function": ("gelu_new",),
            "tie_word_embeddings": (True,),
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
        },
        epsilons={"layer_norm_epsilon": 1e-5},
        options=_options,
        settle=_settle,
        transposed=(),  # its linear layers store (in, out)
    )
)
