"""The Vision Transformer as one Keras model, from images to logits."""

import keras

from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_exact
from kgrow.models.vision_network import VisionNetwork


@keras.saving.register_keras_serializable("kgrow")
class ViTNetwork(VisionNetwork):
    """A classifier of images: patches, a class token, pre-norm blocks.

    It computes what KerasHub's `ViTBackbone` computes, and a dense layer on
    the class token. The variables exist as soon as it is constructed. Channels
    come last, whatever `keras.config.image_data_format()` says.

    Example:

    >>> network = ViTNetwork(
    ...     image_size=8,
    ...     patch_size=4,
    ...     num_layers=2,
    ...     num_heads=2,
    ...     hidden_dim=8,
    ...     intermediate_dim=32,
    ...     num_classes=5,
    ... )
    >>> network(keras.ops.ones((1, 8, 8, 3))).shape == (1, 5)
    True

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
        head_dim: int or `None`, the size of one head; by default
            `hidden_dim // num_heads`.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped in training, see `DropSettings`: stochastic depth.
        gates: list of `Gate`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, height, width, num_channels)`; height and
        width are multiples of `patch_size` and at most `image_size`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, the logits.

    Raises:
        GrowthError: a size is not a positive integer, a rate is not in
            `[0, 1)`, `patch_size` does not divide `image_size`, or `head_dim`
            is not given and `num_heads` does not divide `hidden_dim`.

    Reference:

    - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929). Initial
      values are those of DeiT's code, and the head is one dense layer, as
      there. Stochastic depth skips a block for the whole batch, which saves
      its work, and does not rescale those that are run.
    """

    fields = (
        "image_size",
        "patch_size",
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "num_classes",
        "num_channels",
        "dropout",
        "head_dim",
        "layer_norm_epsilon",
        "layer_drop",
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
        self._finish(gates, layer_drop)

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

    @float64_exact
    def call(self, inputs, training=None):
        x = self.encode(inputs, training=training)
        return self._answer(
            [head(x[:, place]) for place, head in enumerate(self.heads)]
        )

    def _answer(self, logits):
        """What the network puts out, of the logits of its heads."""
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
