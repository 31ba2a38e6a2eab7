"""The axes of an encoder that predicts masked tokens: of BERT and RoBERTa."""

from kgrow.models.transformer_axes import BLOCK_RULES

ENCODER_RULES = {
    "token_embedding/embeddings": "vocab -> hidden",
    "position_embedding/embeddings": "positions -> hidden",
    "embeddings_layer_norm/gamma": "-> hidden | scale",
    "embeddings_layer_norm/beta": "-> hidden | offset",
    **BLOCK_RULES,
    "mlm_dense/kernel": "hidden -> hidden",
    "mlm_dense/bias": "-> hidden",
    # What the tied embedding reads lives in the dual space.
    "mlm_layer_norm/gamma": "-> ~hidden | scale",
    "mlm_layer_norm/beta": "-> ~hidden | offset",
    "mlm_bias/bias": "-> vocab",
}
