"""Keras layers that the networks are made of."""

from kgrow.layers.attention.head_extensible_attention import (
    HeadExtensibleAttention,
)
from kgrow.layers.attention.head_projection import HeadProjection
from kgrow.layers.attention.rotary_attention import RotaryAttention
from kgrow.layers.attention.rotary_embedding import RotaryEmbedding
from kgrow.layers.attention.talking_heads_attention import (
    TalkingHeadsAttention,
)
from kgrow.layers.attention.window_attention import WindowAttention
from kgrow.layers.attention.window_position_bias import WindowPositionBias
from kgrow.layers.bias import Bias
from kgrow.layers.blocks.class_attention_block import ClassAttentionBlock
from kgrow.layers.blocks.layer_scale import LayerScale
from kgrow.layers.blocks.layer_scale_block import LayerScaleBlock
from kgrow.layers.blocks.llama_block import LlamaBlock
from kgrow.layers.blocks.residual_mlp_block import ResidualMLPBlock
from kgrow.layers.blocks.resnet_block import ResNetBlock
from kgrow.layers.blocks.swin_block import SwinBlock
from kgrow.layers.blocks.transformer_block import TransformerBlock
from kgrow.layers.dropout import Dropout
from kgrow.layers.embeddings.class_token import ClassToken
from kgrow.layers.embeddings.grid_position_embedding import (
    GridPositionEmbedding,
)
from kgrow.layers.embeddings.patch_embedding import PatchEmbedding
from kgrow.layers.embeddings.patch_merging import PatchMerging
from kgrow.layers.embeddings.position_embedding import PositionEmbedding
from kgrow.layers.masked.batch_normalization import MaskedBatchNormalization
from kgrow.layers.masked.conv2d import MaskedConv2D
from kgrow.layers.masked.dense import MaskedDense
from kgrow.layers.masked.einsum_dense import MaskedEinsumDense
from kgrow.layers.masked.embedding import MaskedEmbedding
from kgrow.layers.masked.gates import Gates
from kgrow.layers.masked.layer_normalization import MaskedLayerNormalization
from kgrow.layers.masked.residual import MaskedResidual
from kgrow.layers.masked.rms_normalization import MaskedRMSNormalization

__all__ = [
    "Bias",
    "ClassAttentionBlock",
    "ClassToken",
    "Dropout",
    "Gates",
    "GridPositionEmbedding",
    "HeadExtensibleAttention",
    "HeadProjection",
    "LayerScale",
    "LayerScaleBlock",
    "LlamaBlock",
    "MaskedBatchNormalization",
    "MaskedConv2D",
    "MaskedDense",
    "MaskedEinsumDense",
    "MaskedEmbedding",
    "MaskedLayerNormalization",
    "MaskedRMSNormalization",
    "MaskedResidual",
    "PatchEmbedding",
    "PatchMerging",
    "PositionEmbedding",
    "ResNetBlock",
    "ResidualMLPBlock",
    "RotaryAttention",
    "RotaryEmbedding",
    "SwinBlock",
    "TalkingHeadsAttention",
    "TransformerBlock",
    "WindowAttention",
    "WindowPositionBias",
]
