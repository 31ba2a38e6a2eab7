"""Swin as one Keras model, from images to class logits."""

import keras
import numpy as np
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers import (
    Dropout,
    Gates,
    MaskedLayerNormalization,
    argument_checks,
)
from kgrow.layers.argument_checks import integers
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.blocks.swin_block import SwinBlock
from kgrow.layers.embeddings.patch_merging import PatchMerging
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.conv2d import MaskedConv2D


@keras.saving.register_keras_serializable("kgrow")
class SwinNetwork(keras.Model):
    """A hierarchy of transformers over windows, and a linear classifier.

    Stage `s` works on maps of `image_size / (patch_size 2^s)` tokens a side,
    of `embed_dim 2^s` features each. Queries, keys and values have kernels of
    their own. Variables exist as soon as the network is constructed.

    Example:

    >>> network = SwinNetwork(
    ...     num_classes=5,
    ...     image_size=8,
    ...     patch_size=2,
    ...     embed_dim=8,
    ...     depths=[1, 2],
    ...     num_heads=[2, 4],
    ...     window_size=2,
    ... )
    >>> network(keras.ops.ones((1, 8, 8, 3))).shape == (1, 5)
    True

    Args:
        num_classes: int, the number of classes.
        embed_dim: int, the number of features of the first stage; each stage
            has twice those of the one before.
        depths: list of ints, the number of blocks of each stage.
        num_heads: list of ints, the number of attention heads in a block of
            each stage.
        head_dim: optional list of ints, the size of one head in each stage;
            by default the stage's features divided by its heads.
        intermediate_dim: optional list of ints, the width of the feedforward
            networks in each stage; by default four times its features.
        window_size: int, height and width of a window; of a feature map that
            is smaller, the whole.
        image_size: int, height and width of the images.
        patch_size: int, height and width of the patch that one token is made
            from.
        num_channels: int, the channels of the images.
        dropout: float in `[0, 1)`, the rate on the tokens, after each branch
            and on the attention weights.
        drop_path: float in `[0, 1)`, the rate at which an image goes past a
            branch of the last block in training, of those below in
            proportion, from zero in the first.
        layer_norm_epsilon: float, added to the variance in every norm.
        gates: list of `Gate`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, image_size, image_size, num_channels)`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, the logits.

    Raises:
        GrowthError: a size is no positive integer or list of one for each
            stage, a rate is not in `[0, 1)`, or patches, windows or heads do
            not divide what they are to.

    Reference:

    - [Liu et al., 2021](https://arxiv.org/abs/2103.14030)
    """

    # Options that change how it trains and not what its weights are.
    training_options = ("dropout", "drop_path")

    def __init__(
        self,
        num_classes,
        embed_dim,
        depths,
        num_heads,
        head_dim=None,
        intermediate_dim=None,
        window_size=7,
        image_size=224,
        patch_size=4,
        num_channels=3,
        dropout=0.0,
        drop_path=0.0,
        layer_norm_epsilon=1e-5,
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        integer = argument_checks.integer
        self.num_classes = integer("num_classes", num_classes)
        self.embed_dim = integer("embed_dim", embed_dim)
        self.depths = integers("depths", depths, minimum=0)
        stages = len(self.depths)
        self.num_heads = integers("num_heads", num_heads, stages)
        widths = [self.embed_dim * 2**s for s in range(stages)]
        if head_dim is None:
            head_dim = _head_sizes(widths, self.num_heads)
        self.head_dim = integers("head_dim", head_dim, stages)
        if intermediate_dim is None:
            intermediate_dim = [4 * width for width in widths]
        self.intermediate_dim = integers(
            "intermediate_dim", intermediate_dim, stages
        )
        self.window_size = integer("window_size", window_size)
        self.image_size = integer("image_size", image_size)
        self.patch_size = integer("patch_size", patch_size)
        self.num_channels = integer("num_channels", num_channels)
        self.dropout = argument_checks.rate("dropout", dropout)
        self.drop_path = argument_checks.rate("drop_path", drop_path)
        self.layer_norm_epsilon = layer_norm_epsilon
        if self.image_size % self.patch_size:
            raise GrowthError(
                "An image is cut into whole patches. Received: "
                f"image_size={image_size}, patch_size={patch_size}"
            )

        self.patch_embedding = MaskedConv2D(
            self.embed_dim,
            self.patch_size,
            strides=self.patch_size,
            dtype=self.dtype_policy,
            name="patch_embedding",
        )
        self.patch_layer_norm = self._norm("patch_layer_norm")
        self.patch_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="patch_dropout"
        )
        self.stages = [self._blocks(stage) for stage in range(stages)]
        self.mergings = [
            PatchMerging(
                width,
                layer_norm_epsilon=self.layer_norm_epsilon,
                kernel_initializer=_initializer(),
                dtype=self.dtype_policy,
                name=f"stage{stage}_merging",
            )
            for stage, width in enumerate(widths[1:])
        ]
        self.layer_norm = self._norm("layer_norm")
        self.head = keras.layers.Dense(
            self.num_classes,
            kernel_initializer=_initializer(),
            dtype=self.dtype_policy,
            name="head",
        )
        self.gates = Gates(self._gate_sizes(widths), gates, name="gates")
        self.build()

    def _norm(self, name):
        return MaskedLayerNormalization(
            epsilon=self.layer_norm_epsilon, dtype=self.dtype_policy, name=name
        )

    def _blocks(self, stage):
        before, depth = sum(self.depths[:stage]), self.depths[stage]
        last = max(1, sum(self.depths) - 1)
        return [
            SwinBlock(
                num_heads=self.num_heads[stage],
                head_dim=self.head_dim[stage],
                intermediate_dim=self.intermediate_dim[stage],
                window_size=self.window_size,
                shifted=i % 2 == 1,
                dropout=self.dropout,
                drop_path=self.drop_path * (before + i) / last,
                layer_norm_epsilon=self.layer_norm_epsilon,
                kernel_initializer=_initializer(),
                dtype=self.dtype_policy,
                name=f"stage{stage}_block_{i}",
            )
            for i in range(depth)
        ]

    def _gate_sizes(self, widths):
        sizes = {}
        for stage, width in enumerate(widths):
            sizes |= {
                f"hidden{stage}": width,
                f"ffn{stage}": self.intermediate_dim[stage],
                f"heads{stage}": self.num_heads[stage],
                f"qk{stage}": self.head_dim[stage],
                f"value{stage}": self.head_dim[stage],
                f"stage{stage}": self.depths[stage],
            }
        return sizes

    def build(self, input_shape=None):
        side = self.image_size
        shape = (None, side, side, self.num_channels)
        self.patch_embedding.build(shape)
        shape = self.patch_embedding.compute_output_shape(shape)
        self.patch_layer_norm.build(shape)
        self.patch_dropout.build(shape)
        for stage, blocks in enumerate(self.stages):
            for block in blocks:
                block.build(shape)
            if stage < len(self.mergings):
                self.mergings[stage].build(shape)
                shape = self.mergings[stage].compute_output_shape(shape)
        self.layer_norm.build(shape)
        self.head.build((None, shape[-1]))

    @float64_exact
    def call(self, inputs, training=None):
        x = self.encode(inputs, training=training)
        return self.head(ops.mean(x, axis=(1, 2)))

    @float64_exact
    def encode(self, inputs, training=None):
        """The normalised feature map of the last stage.

        Args:
            inputs: tensor with shape `(batch, image_size, image_size,
                num_channels)`.
            training: bool or `None`, whether dropout is active.

        Returns:
            Tensor with shape `(batch, height, width, features)`.
        """
        gates = self.gates(training=training)
        x = self.patch_embedding(inputs)
        x = self.patch_layer_norm(x, gate=gates["hidden0"])
        x = self.patch_dropout(x, training=training)
        for stage, blocks in enumerate(self.stages):
            x = run_blocks(
                blocks,
                x,
                training=training,
                gate=gates[f"stage{stage}"],
                gates={
                    name: gates[f"{name}{stage}"]
                    for name in ("hidden", "ffn", "heads", "qk", "value")
                },
            )
            if stage < len(self.mergings):
                x = self.mergings[stage](x, gate=gates[f"hidden{stage}"])
        last = len(self.stages) - 1
        return self.layer_norm(x, gate=gates[f"hidden{last}"])

    def example_inputs(self, batch_size, seed=0):
        """Random images, `(batch_size, image_size, image_size,
        num_channels)`, for comparing outputs."""
        side = self.image_size
        shape = (batch_size, side, side, self.num_channels)
        rng = np.random.default_rng(seed)
        return rng.standard_normal(shape).astype("float32")

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(
            (inputs.shape[0], self.num_classes), dtype=self.compute_dtype
        )

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "embed_dim": self.embed_dim,
            "depths": list(self.depths),
            "num_heads": list(self.num_heads),
            "head_dim": list(self.head_dim),
            "intermediate_dim": list(self.intermediate_dim),
            "window_size": self.window_size,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
            "num_channels": self.num_channels,
            "dropout": self.dropout,
            "drop_path": self.drop_path,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "gates": self.gates.get_config()["active_gates"],
        }


def _head_sizes(widths, num_heads):
    for stage, (width, heads) in enumerate(zip(widths, num_heads, strict=True)):
        if width % heads:
            raise GrowthError(
                "The heads of a stage must divide its features, unless "
                f"`head_dim` is given. Received: {width} features and "
                f"num_heads[{stage}]={heads}, head_dim=None"
            )
    return [n // heads for n, heads in zip(widths, num_heads, strict=True)]


def _initializer():
    return keras.initializers.TruncatedNormal(stddev=0.02)
