"""CaiT, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.models.cait_network import CaiTNetwork
from kgrow.models.family import Family
from kgrow.models.transformer_axes import BLOCK_RULES
from kgrow.models.vision_axes import IMAGE_RULES, image_dims

# The factors end the branches, and with zeros there a block is the identity;
# what stands in front of them stays as it was, and has a gradient as soon as
# they move. Zeros in both would never leave.
_BLOCK_RULES = {
    path: axes.removesuffix(" | residual_out")
    for path, axes in BLOCK_RULES.items()
}
_SCALE_RULES = {
    "transformer_layer_{layers}/self_attention_layer_scale/gamma": (
        "-> hidden | elementwise, residual_out"
    ),
    "transformer_layer_{layers}/feedforward_layer_scale/gamma": (
        "-> hidden | elementwise, residual_out"
    ),
}
_TALKING_RULES = {
    f"transformer_layer_{{layers}}/self_attention/{name}_projection/{path}": a
    for name in ("score", "weight")
    for path, a in (("kernel", "heads -> heads"), ("bias", "-> heads"))
}
# What lies inside a block may grow differently in each, and so in each stack.
_INNER = ("ffn", "heads", "qk", "value")


def _of_class(rules):
    """The same rules for the blocks of class attention."""
    renamed = {}
    for path, axes in rules.items():
        path = path.replace(
            "transformer_layer_{layers}", "class_layer_{class_layers}"
        )
        words = axes.replace("qk^", "class_qk^").split(" ")
        renamed[path] = " ".join(_class_dim(word) for word in words)
    return renamed


def _class_dim(word):
    name = word.removeprefix("~")
    return word.replace(name, f"class_{name}") if name in _INNER else word


@keras.saving.register_keras_serializable("kgrow")
class CaiT(Family):
    """A classifier of images that grows: CaiT, deep and with class attention.

    Maps images `(batch, height, width, num_channels)` to logits `(batch,
    num_classes)`. `hidden_dim`, `intermediate_dim`, `num_heads`, `head_dim`,
    `num_layers` and `num_class_layers` grow, and the tables `num_classes` and
    `image_size`, as in `ViT`.

    `LayerScale` multiplies every unit of a branch by a factor of its own, with
    which averages of units do not commute: where units of `hidden_dim` are
    copied equally often the function is kept, and by gates ('msg') at any
    width. New blocks start with factors of zero and keep it.

    Args:
        image_size: int, height and width of the largest images.
        patch_size: int, height and width of a patch.
        num_layers: int, number of blocks for the patches.
        num_heads: int, attention heads per block.
        hidden_dim: int, width of the residual stream.
        intermediate_dim: int, width of the feedforward networks.
        num_classes: int, number of classes.
        num_class_layers: int, number of blocks for the class token.
        layer_scale_init_value: float, what the factors start as.
        num_channels: int, number of colours.
        dropout: float in `[0, 1)`.
        head_dim: optional int, see `GPT2`.
        layer_norm_epsilon: float.
        layer_drop: float in `[0, 1)`, how often the last block for the patches
            is skipped in training; `set_training_options()` changes it, and the
            next.
        token_drop: float in `[0, 1)`, the part of the patches that goes past
            the middle blocks in training.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: see `ViT`.

    Example:

    >>> model = CaiT(image_size=8, patch_size=4, num_layers=1, num_heads=2,
    ...     hidden_dim=8, intermediate_dim=16, num_classes=3)
    >>> model.grow({"hidden_dim": 16, "num_heads": 3, "num_layers": 2}).exact
    True

    Reference:

    - Touvron et al., "Going deeper with Image Transformers" (2103.17239).
    """

    network_class = CaiTNetwork
    axes = AxisMap(
        {
            **IMAGE_RULES,
            **_BLOCK_RULES,
            **_SCALE_RULES,
            **_TALKING_RULES,
            **_of_class(_BLOCK_RULES),
            **_of_class(_SCALE_RULES),
        },
        # Behind the stream stand factors of its own units: copies only.
        dims=[
            *image_dims(hidden="nonlinear"),
            Dim("class_ffn", "intermediate_dim"),
            Dim("class_heads", "num_heads"),
            Dim("class_qk", "head_dim", kind="stream"),
            Dim("class_value", "head_dim", kind="stream"),
        ],
        stacks=[
            BlockStack("layers", "num_layers", norm="pre"),
            BlockStack("class_layers", "num_class_layers", norm="pre"),
        ],
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
        num_class_layers=2,
        layer_scale_init_value=1e-5,
        num_channels=3,
        dropout=0.0,
        head_dim=None,
        layer_norm_epsilon=1e-6,
        layer_drop=0.0,
        token_drop=0.0,
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
            num_class_layers=num_class_layers,
            layer_scale_init_value=layer_scale_init_value,
            num_channels=num_channels,
            dropout=dropout,
            head_dim=head_dim,
            layer_norm_epsilon=layer_norm_epsilon,
            layer_drop=layer_drop,
            token_drop=token_drop,
        )
