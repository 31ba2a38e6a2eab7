"""GPT-2 here and in KerasHub."""

from kgrow.hub.weight_mapping import Twin
from kgrow.hub.weight_names import TEXT_FIELDS, TEXT_FIXED, named, text_block
from kgrow.models.gpt2 import GPT2

TWIN = Twin(
    family=GPT2,
    backbone="GPT2Backbone",
    task="GPT2CausalLM",
    weights={
        "token_embedding/embeddings": "token_embedding/embeddings",
        "position_embedding/embeddings": "position_embedding/embeddings",
        **text_block("self_attention"),
        **named({"layer_norm": ("layer_norm", "norm")}),
    },
    fields=TEXT_FIELDS,
    fixed={**TEXT_FIXED, "layer_norm_epsilon": 1e-5},
)
