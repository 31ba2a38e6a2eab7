"""The Vision Transformer."""

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_exact
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.registry import register
from kgrow.models.transformer import BLOCK_RULES
from kgrow.models.vision import IMAGE_RULES, VisionNetwork, image_dims

VIT_RULES = {
    **IMAGE_RULES,
    "class_token/position": "_ _ -> hidden",
    **BLOCK_RULES,
}


class ViTNetwork(VisionNetwork):
    """The network of `ViT`, which documents its arguments.

    KerasHub's `ViTBackbone` with a dense layer on the class token. The
    variables exist as soon as it is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = AxisMap(
        VIT_RULES,
        dims=image_dims(hidden="stream"),
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ -> classes",
    )

    training_options = ("dropout", "layer_drop")

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
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._set_image_fields(
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
        )
        self._make_embeddings()
        self.tokens = self._make_tokens()
        self.embeddings_dropout = self._dropout("embeddings_dropout")
        self.transformer_layers = self._blocks(
            activation=gelu_exact, norm_first=True
        )
        self.layer_norm = self._norm("layer_norm")
        self.heads = self._make_heads()
        self.finish(gates, layer_drop)

    def _make_tokens(self):
        """The tokens in front of the patches, in their order."""
        return [self._token("class_token", has_position=True)]

    def _make_heads(self):
        """The heads, one for each of the tokens."""
        return [self._head("predictions")]

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self._build_embeddings()
        for token in self.tokens:
            token.build(stream)
        self.embeddings_dropout.build(stream)
        for layer in self.transformer_layers:
            layer.build(stream)
        self.layer_norm.build(stream)
        for head in self.heads:
            head.build((None, self.hidden_dim))

    def call(self, inputs, training=None):
        x = self.encode(inputs, training=training)
        return self._answer(
            [head(x[:, place]) for place, head in enumerate(self.heads)]
        )

    def _answer(self, logits):
        """The network's output, given the logits of its heads."""
        return logits[0]

    @float64_exact
    def encode(self, inputs, training=None):
        """The normalised residual stream that the logits are read from.

        Args:
            inputs: tensor with shape `(batch, height, width, num_channels)`.
            training: bool or `None`, whether dropout is active.

        Returns:
            Tensor with shape `(batch, tokens + patches, hidden_dim)`.
        """
        gates = self.gates(training=training)
        stream = gates["hidden"]
        x = self._embed(inputs, stream)
        for token in reversed(self.tokens):
            x = token(x, gate=stream)
        x = self.embeddings_dropout(x, training=training)
        x = self._run_blocks(x, training, gates)
        return self.layer_norm(x, gate=stream)


@register("images")
class ViT(Family):
    """A classifier of images that grows: the Vision Transformer, pre-norm.

    Maps images to logits, through patches, a class token and pre-norm blocks.
    `hidden_dim`, `intermediate_dim`, `num_heads`, `head_dim` and `num_layers`
    grow, and the tables `num_classes` and `image_size`.

    Growing `image_size` keeps the function on images of the old size, whose
    patches keep their positions in the upper left part of a larger grid; the
    positions around them are new. For training on at a higher resolution they
    are interpolated instead, along rows and columns:
    `grow({"image_size": 384}, Positions("interpolate", dim="grid"))`.

    Args:
        image_size: int, height and width of the largest images.
        patch_size: int, height and width of a patch.
        num_layers: int, the number of transformer blocks; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        num_classes: int, the number of classes.
        num_channels: int, the number of colours.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention weights.
        head_dim: int or `None`, the size of one head, by default
            `hidden_dim // num_heads`. Growing `hidden_dim` or `num_heads` does
            not change it.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`: stochastic depth.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Tensor with shape `(batch, height, width, num_channels)`, channels
        last whatever `keras.config.image_data_format()` says; height and width
        are multiples of `patch_size` and at most `image_size`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, the logits.

    Raises:
        GrowthError: a size is no positive integer, a rate is not in `[0, 1)`,
            `patch_size` does not divide `image_size`, or `num_heads` does not
            divide `hidden_dim` and no `head_dim` is given.

    Example:

    >>> import keras, kgrow
    >>> model = ViT(image_size=8, patch_size=4, num_layers=1, num_heads=2,
    ...     hidden_dim=8, intermediate_dim=16, num_classes=3)
    >>> model(keras.ops.ones((1, 8, 8, 3))).shape == (1, 3)
    True
    >>> receipt = model.grow({"hidden_dim": 12, "image_size": 16}, "lemon")
    >>> receipt.exact
    True
    >>> model.grow({"image_size": 32},
    ...     kgrow.strategies.Positions("interpolate", dim="grid")).exact
    False

    Reference:

    - Dosovitskiy et al., "An Image is Worth 16x16 Words" (2010.11929); the
      variables are those of KerasHub's `ViTBackbone`, with the table of
      positions divided into the class token's and the grid's. Initial values
      are those of DeiT's code, and the head is one dense layer, as there.
      Stochastic depth skips a block for the whole batch, which saves its work,
      and does not rescale those that are run.
    """

    network_class = ViTNetwork
    example = Example(
        sizes={
            "image_size": 8,
            "patch_size": 4,
            "num_layers": 2,
            "num_heads": 3,
            "head_dim": 2,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "num_classes": 5,
        },
        exact={"hidden_dim": 16, "intermediate_dim": 14, "num_layers": 3},
        gated={"num_heads": 4, "hidden_dim": 19},
    )
