"""Keras layers that the networks are made of."""

from kgrow.layers.bias import Bias
from kgrow.layers.class_attention_block import ClassAttentionBlock
from kgrow.layers.class_token import ClassToken
from kgrow.layers.dropout import Dropout
from kgrow.layers.gates import Gates
from kgrow.layers.grid_position_embedding import GridPositionEmbedding
from kgrow.layers.head_extensible_attention import HeadExtensibleAttention
from kgrow.layers.head_projection import HeadProjection
from kgrow.layers.layer_scale import LayerScale
from kgrow.layers.layer_scale_block import LayerScaleBlock
from kgrow.layers.llama_block import LlamaBlock
from kgrow.layers.masked_batch_normalization import MaskedBatchNormalization
from kgrow.layers.masked_conv2d import MaskedConv2D
from kgrow.layers.masked_dense import MaskedDense
from kgrow.layers.masked_einsum_dense import MaskedEinsumDense
from kgrow.layers.masked_embedding import MaskedEmbedding
from kgrow.layers.masked_layer_normalization import MaskedLayerNormalization
from kgrow.layers.masked_residual import MaskedResidual
from kgrow.layers.masked_rms_normalization import MaskedRMSNormalization
from kgrow.layers.patch_embedding import PatchEmbedding
from kgrow.layers.patch_merging import PatchMerging
from kgrow.layers.position_embedding import PositionEmbedding
from kgrow.layers.residual_mlp_block import ResidualMLPBlock
from kgrow.layers.resnet_block import ResNetBlock
from kgrow.layers.rotary_attention import RotaryAttention
from kgrow.layers.rotary_embedding import RotaryEmbedding
from kgrow.layers.swin_block import SwinBlock
from kgrow.layers.talking_heads_attention import TalkingHeadsAttention
from kgrow.layers.transformer_block import TransformerBlock
from kgrow.layers.window_attention import WindowAttention
from kgrow.layers.window_position_bias import WindowPositionBias

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
