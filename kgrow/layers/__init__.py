"""Keras layers that the networks are made of."""

from kgrow.layers.bias import Bias
from kgrow.layers.dropout import Dropout
from kgrow.layers.multi_head_attention import MultiHeadAttention
from kgrow.layers.position_embedding import PositionEmbedding
from kgrow.layers.residual_mlp_block import ResidualMLPBlock
from kgrow.layers.transformer_block import TransformerBlock

__all__ = [
    "Bias",
    "Dropout",
    "MultiHeadAttention",
    "PositionEmbedding",
    "ResidualMLPBlock",
    "TransformerBlock",
]
