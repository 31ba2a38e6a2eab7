"""RoBERTa here and in KerasHub."""

from kgrow.hub.weight_mapping import Twin
from kgrow.hub.weight_names import (
    MASKED_LM_HEAD,
    MASKED_LM_LAYERS,
    TEXT_FIELDS,
    TEXT_FIXED,
    named,
    text_block,
)
from kgrow.models.roberta import RoBERTa

_TABLES = ("token_embedding/embeddings", "position_embedding/embeddings")

TWIN = Twin(
    family=RoBERTa,
    backbone="RobertaBackbone",
    task="RobertaMaskedLM",
    weights={
        **{path: f"embeddings/{path}" for path in _TABLES},
        **named({"embeddings_layer_norm": ("embeddings_layer_norm", "norm")}),
        **text_block("self_attention_layer"),
        **MASKED_LM_HEAD,
    },
    head=MASKED_LM_LAYERS,
    fields=TEXT_FIELDS,
    fixed={**TEXT_FIXED, "pooling": 1, "layer_norm_epsilon": 1e-5},
)
