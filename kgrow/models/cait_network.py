"""CaiT as one Keras model, from images to logits."""

import keras

from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.blocks.class_attention_block import ClassAttentionBlock
from kgrow.layers.blocks.layer_scale_block import LayerScaleBlock
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_exact
from kgrow.models.vision_network import VisionNetwork

_CLASS_DIMS = ("ffn", "heads", "qk", "value")


@keras.saving.register_keras_serializable("kgrow")
class CaiTNetwork(VisionNetwork):
    """A classifier of images in two stages: patches first, then a class token.

    Patches go through blocks with talking heads, whose branches end in a
    `LayerScale`. Then a class token comes in and asks them, in blocks of
    class attention that change nothing but the token. The variables exist as
    soon as it is constructed. Channels come last, whatever
    `keras.config.image_data_format()` says.

    Example:

    >>> network = CaiTNetwork(
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
        num_layers: int, the number of blocks for the patches; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        num_classes: int, the number of classes.
        num_class_layers: int, the number of blocks for the class token.
        layer_scale_init_value: float, what the factors of the branches start
            as; the paper has 0.1 for up to 18 blocks, 1e-5 for 24, 1e-6 for
            more.
        num_channels: int, the number of colours.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention weights.
        head_dim: int or `None`, the size of one head; by default
            `hidden_dim // num_heads`.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block for
            the patches is skipped in training, see `DropSettings`: stochastic
            depth. Blocks of class attention are always run, as in the paper's
            code.
        token_drop: float in `[0, 1)`, the part of the patches that goes past
            the middle blocks in training.
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

    - [Touvron et al., 2021](https://arxiv.org/abs/2103.17239). Stochastic
      depth grows with the depth, and skips a block for the whole batch; the
      paper's code has one rate for all.
    """

    fields = (
        "image_size",
        "patch_size",
        "num_layers",
        "num_heads",
        "hidden_dim",
        "intermediate_dim",
        "num_classes",
        "num_class_layers",
        "layer_scale_init_value",
        "num_channels",
        "dropout",
        "head_dim",
        "layer_norm_epsilon",
        "layer_drop",
        "token_drop",
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
            num_class_layers=num_class_layers,
            num_channels=num_channels,
            dropout=dropout,
            head_dim=head_dim,
            layer_norm_epsilon=layer_norm_epsilon,
        )
        self.layer_scale_init_value = float(layer_scale_init_value)
        self._make_embeddings()
        self.embeddings_dropout = self._dropout("embeddings_dropout")
        self.transformer_layers = [
            self._block(LayerScaleBlock, f"transformer_layer_{i}")
            for i in range(self.num_layers)
        ]
        self.class_token = self._token("class_token", has_position=False)
        self.class_layers = [
            self._block(ClassAttentionBlock, f"class_layer_{i}")
            for i in range(self.num_class_layers)
        ]
        self.layer_norm = self._norm("layer_norm")
        self.predictions = self._head("predictions")
        self._finish(gates, layer_drop, token_drop)

    def _block(self, cls, name):
        return cls(
            num_heads=self.num_heads,
            head_dim=self.head_dim,
            intermediate_dim=self.intermediate_dim,
            dropout=self.dropout,
            activation=gelu_exact,
            layer_norm_epsilon=self.layer_norm_epsilon,
            layer_scale_init_value=self.layer_scale_init_value,
            kernel_initializer=self._initializer(),
            dtype=self.dtype_policy,
            name=name,
        )

    def _gate_sizes(self):
        sizes = super()._gate_sizes()
        return {
            **sizes,
            **{f"class_{name}": sizes[name] for name in _CLASS_DIMS},
            "class_layers": self.num_class_layers,
        }

    def build(self, input_shape=None):
        stream = (None, None, self.hidden_dim)
        self._build_embeddings()
        self.embeddings_dropout.build(stream)
        for layer in self.transformer_layers:
            layer.build(stream)
        self.class_token.build(stream)
        for layer in self.class_layers:
            layer.build(stream)
        self.layer_norm.build(stream)
        self.predictions.build((None, self.hidden_dim))

    @float64_exact
    def call(self, inputs, training=None):
        return self.predictions(self.encode(inputs, training=training)[:, 0])

    @float64_exact
    def encode(self, inputs, training=None):
        """The normalised class token that the logits are read from.

        Args:
            inputs: tensor with shape `(batch, height, width, num_channels)`.
            training: bool or `None`, whether dropout is active.

        Returns:
            Tensor with shape `(batch, 1, hidden_dim)`.
        """
        gates = self.gates(training=training)
        stream = gates["hidden"]
        patches = self._embed(inputs, stream)
        patches = self.embeddings_dropout(patches, training=training)
        patches = self._run_blocks(patches, training, gates)
        token = self.class_token(patches[:, :0], gate=stream)
        of_class = {name: gates[f"class_{name}"] for name in _CLASS_DIMS}
        token = run_blocks(
            self.class_layers,
            token,
            training=training,
            gate=gates["class_layers"],
            patches=patches,
            gates={"hidden": stream, **of_class},
        )
        return self.layer_norm(token, gate=stream)
