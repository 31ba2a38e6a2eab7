"""Keras layers that the networks are made of."""

from kgrow.layers.bias import Bias
from kgrow.layers.dropout import Dropout
from kgrow.layers.gates import Gates
from kgrow.layers.head_extensible_attention import HeadExtensibleAttention
from kgrow.layers.masked_dense import MaskedDense
from kgrow.layers.masked_einsum_dense import MaskedEinsumDense
from kgrow.layers.masked_embedding import MaskedEmbedding
from kgrow.layers.masked_layer_normalization import MaskedLayerNormalization
from kgrow.layers.masked_residual import MaskedResidual
from kgrow.layers.masked_rms_normalization import MaskedRMSNormalization
from kgrow.layers.position_embedding import PositionEmbedding
from kgrow.layers.residual_mlp_block import ResidualMLPBlock
from kgrow.layers.transformer_block import TransformerBlock

__all__ = [
    "Bias",
    "Dropout",
    "Gates",
    "HeadExtensibleAttention",
    "MaskedDense",
    "MaskedEinsumDense",
    "MaskedEmbedding",
    "MaskedLayerNormalization",
    "MaskedRMSNormalization",
    "MaskedResidual",
    "PositionEmbedding",
    "ResidualMLPBlock",
    "TransformerBlock",
]
