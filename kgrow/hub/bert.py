"""BERT here and in KerasHub."""

import dataclasses

from kgrow.hub.bert_head import HubBERT
from kgrow.hub.weight_mapping import Twin
from kgrow.hub.weight_names import (
    MASKED_LM_HEAD,
    MASKED_LM_LAYERS,
    TEXT_FIELDS,
    TEXT_FIXED,
    named,
    text_block,
)
from kgrow.models.bert import BERT

TWIN = Twin(
    family=HubBERT,
    backbone="BertBackbone",
    task="BertMaskedLM",
    weights={
        "token_embedding/embeddings": "token_embedding/embeddings",
        "position_embedding/embeddings": "position_embedding/embeddings",
        "segment_embedding/embeddings": "segment_embedding/embeddings",
        **named({"embeddings_layer_norm": ("embeddings_layer_norm", "norm")}),
        **text_block("self_attention_layer"),
        **MASKED_LM_HEAD,
    },
    head=MASKED_LM_LAYERS,
    fields={**TEXT_FIELDS, "num_segments": "num_segments"},
    fixed={**TEXT_FIXED, "pooling": 1, "layer_norm_epsilon": 1e-12},
    lost=("pooled_dense",),
)

# Its head's norm is no task's of KerasHub.
PLAIN_TWIN = dataclasses.replace(TWIN, family=BERT, task=None)
