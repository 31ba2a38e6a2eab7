"""The block in which a class token alone asks."""

import keras
from keras import ops

from kgrow.layers.blocks.layer_scale_block import LayerScaleBlock
from kgrow.layers.float64 import float64_exact


@keras.saving.register_keras_serializable("kgrow")
class ClassAttentionBlock(LayerScaleBlock):
    """A block that changes a class token and leaves the patches as they are.

    The token attends to itself and to all patches, and goes through the
    feedforward network; heads do not talk. Patches are normalised by the
    token's own norm.

    Example:

    >>> block = ClassAttentionBlock(
    ...     num_heads=2, head_dim=4, intermediate_dim=16)
    >>> token, patches = keras.ops.zeros((1, 1, 8)), keras.ops.zeros((1, 5, 8))
    >>> block(token, patches=patches).shape == (1, 1, 8)
    True

    Args:
        num_heads: int, and all other arguments of `LayerScaleBlock` but
            `talking_heads`.

    Input shape:
        Tensor with shape `(batch, tokens, features)`; `patches`, a tensor with
        shape `(batch, length, features)`; and optionally `gates`, as in
        `TransformerBlock`.

    Output shape:
        Tensor with shape `(batch, tokens, features)`.

    Raises:
        GrowthError: see `LayerScaleBlock`.

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2103.17239), Sec. 3, Eq. 5-8
    """

    def __init__(self, num_heads, head_dim, intermediate_dim, **kwargs):
        super().__init__(
            num_heads, head_dim, intermediate_dim, talking_heads=False, **kwargs
        )

    @float64_exact
    def call(self, inputs, patches, training=None, gates=None):
        everything = ops.concatenate([inputs, patches], axis=1)
        return super().call(
            inputs, training=training, gates=gates, context=everything
        )

    def compute_output_shape(self, input_shape, patches_shape=None):
        del patches_shape
        return input_shape

    def get_config(self):
        config = super().get_config()
        config.pop("talking_heads")
        return config
