"""The Vision Transformer, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.models.family import Family
from kgrow.models.transformer_axes import BLOCK_RULES
from kgrow.models.vision_axes import IMAGE_RULES, image_dims
from kgrow.models.vit_network import ViTNetwork

VIT_RULES = {
    **IMAGE_RULES,
    "class_token/position": "_ _ -> hidden",
    **BLOCK_RULES,
}


@keras.saving.register_keras_serializable("kgrow")
class ViT(Family):
    """A classifier of images that grows: the Vision Transformer, pre-norm.

    Maps images `(batch, height, width, num_channels)` to logits `(batch,
    num_classes)`. `hidden_dim`, `intermediate_dim`, `num_heads`, `head_dim`
    and `num_layers` grow, and the tables `num_classes` and `image_size`.

    Growing `image_size` keeps the function on images of the old size, whose
    patches keep their positions in the upper left part of a larger grid; the
    positions around them are new. For training on at a higher resolution they
    are interpolated instead, along rows and columns:
    `grow({"image_size": 384}, Positions("interpolate", dim="grid"))`.

    Args:
        image_size: int, height and width of the largest images.
        patch_size: int, height and width of a patch.
        num_layers: int, number of transformer blocks.
        num_heads: int, attention heads per block.
        hidden_dim: int, width of the residual stream.
        intermediate_dim: int, width of the feedforward networks.
        num_classes: int, number of classes.
        num_channels: int, number of colours.
        dropout: float in `[0, 1)`.
        head_dim: optional int, see `GPT2`.
        layer_norm_epsilon: float.
        layer_drop: float in `[0, 1)`, how often the last block is skipped in
            training; `set_training_options()` changes it, and `dropout`.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: a size is no positive integer, `patch_size` does not
            divide `image_size`, or heads do not divide `hidden_dim` and no
            `head_dim` is given.

    Example:

    >>> import kgrow
    >>> model = ViT(image_size=8, patch_size=4, num_layers=1, num_heads=2,
    ...     hidden_dim=8, intermediate_dim=16, num_classes=3)
    >>> receipt = model.grow({"hidden_dim": 12, "image_size": 16}, "lemon")
    >>> receipt.exact
    True
    >>> model.grow({"image_size": 32},
    ...     kgrow.strategies.Positions("interpolate", dim="grid")).exact
    False

    Reference:

    - Dosovitskiy et al., "An Image is Worth 16x16 Words" (2010.11929); the
      variables are those of KerasHub's `ViTBackbone`, with the table of
      positions divided into the class token's and the grid's.
    """

    network_class = ViTNetwork
    axes = AxisMap(
        VIT_RULES,
        dims=image_dims(hidden="stream"),
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ -> classes",
    )

    def __init__(
        self,
        image_size,
        patch_size,
        num_layers,
        num_heads,
        hidden_dim,
        intermediate_dim,
        num_classes,
        num_channels=3,
        dropout=0.0,
        head_dim=None,
        layer_norm_epsilon=1e-6,
        layer_drop=0.0,
        name=None,
        dtype=None,
    ):
        super().__init__(
            name=name,
            dtype=dtype,
            image_size=image_size,
            patch_size=patch_size,
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            num_classes=num_classes,
            num_channels=num_channels,
            dropout=dropout,
            head_dim=head_dim,
            layer_norm_epsilon=layer_norm_epsilon,
            layer_drop=layer_drop,
        )
