"""BERT, with the head for masked tokens."""

from kgrow.hub.folders.hub_table import HubTable, register

_LAYERS = {
    "attention.self.query": "self_attention_layer/query",
    "attention.self.key": "self_attention_layer/key",
    "attention.self.value": "self_attention_layer/value",
    "attention.output.dense": "self_attention_layer/attention_output",
    "intermediate.dense": "feedforward_intermediate_dense",
    "output.dense": "feedforward_output_dense",
}
_NORMS = {
    "attention.output.LayerNorm": "self_attention_layer_norm",
    "output.LayerNorm": "feedforward_layer_norm",
}
_TABLES = {
    "word_embeddings": "token_embedding/embeddings",
    "position_embeddings": "position_embedding/embeddings",
    "token_type_embeddings": "segment_embedding/embeddings",
}
_HEAD = "cls.predictions."


def _dense(there, here):
    return {
        f"{there}.weight": f"{here}/kernel",
        f"{there}.bias": f"{here}/bias",
    }


def _norm(there, here):
    return {f"{there}.weight": f"{here}/gamma", f"{there}.bias": f"{here}/beta"}


def _paths():
    found = {
        f"embeddings.{there}.weight": here for there, here in _TABLES.items()
    }
    found |= _norm("embeddings.LayerNorm", "embeddings_layer_norm")
    for there, here in _LAYERS.items():
        found |= _dense(
            f"encoder.layer.{{i}}.{there}", f"transformer_layer_{{i}}/{here}"
        )
    for there, here in _NORMS.items():
        found |= _norm(
            f"encoder.layer.{{i}}.{there}", f"transformer_layer_{{i}}/{here}"
        )
    found |= _dense("pooler.dense", "pooled_dense")
    found |= _dense(_HEAD + "transform.dense", "mlm_head/intermediate_dense")
    found |= _norm(
        _HEAD + "transform.LayerNorm", "mlm_head/intermediate_layer_norm"
    )
    return {**found, _HEAD + "bias": "mlm_head/output_bias"}


register("bert")(
    HubTable(
        "BertBackbone",
        {"BertForMaskedLM": "BertMaskedLM"},
        {
            "vocabulary_size": "vocab_size",
            "num_layers": "num_hidden_layers",
            "num_heads": "num_attention_heads",
            "hidden_dim": "hidden_size",
            "intermediate_dim": "intermediate_size",
            "max_sequence_length": "max_position_embeddings",
            "num_segments": "type_vocab_size",
        },
        _paths(),
        prefix="bert.",
        fixed={
            "hidden_act": ("gelu",),
            "position_embedding_type": ("absolute",),
            "is_decoder": (False,),
        },
        # Of the head's norm; those of the blocks have 1e-12.
        epsilons={"layer_norm_eps": 1e-5},
        differs=("its blocks approximate gelu by a tanh",),
        options=lambda config: {"dropout": config["hidden_dropout_prob"]},
        axes={
            "pooled_dense/kernel": "hidden -> pooled",
            "pooled_dense/bias": "-> pooled",
        },
        optional=("pooled_dense",),
    )
)
