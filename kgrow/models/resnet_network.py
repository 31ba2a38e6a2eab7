"""A residual convolutional network as one Keras model."""

import keras
import numpy as np
from keras import ops

from kgrow.layers import Gates, argument_checks
from kgrow.layers.argument_checks import integers
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.blocks.resnet_block import ResNetBlock
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.batch_normalization import MaskedBatchNormalization
from kgrow.layers.masked.conv2d import MaskedConv2D

STEMS = ("large", "small")


@keras.saving.register_keras_serializable("kgrow")
class ResNetNetwork(keras.Model):
    """Convolutions on residual branches, with batch norms, and a classifier.

    Every stage but the first begins with a block that halves the feature map
    and whose shortcut is a projection; the first stage does so, without
    halving, if the stem has a width of its own. Variables exist as soon as
    the network is constructed.

    Example:

    >>> network = ResNetNetwork(
    ...     num_classes=5, filters=[8, 16], depths=[1, 2], stem="small"
    ... )
    >>> network(keras.ops.ones((1, 8, 8, 3))).shape == (1, 5)
    True

    Args:
        num_classes: int, the number of classes.
        filters: list of ints, the channels that the blocks of each stage put
            out.
        depths: list of ints, the number of blocks of each stage, the one with
            the projection included.
        inner_filters: optional list of ints, the channels inside the blocks
            of each stage; by default those it puts out, of a bottleneck a
            quarter.
        bottleneck: bool, whether a block has three convolutions, 1 x 1, 3 x 3
            and 1 x 1, or two of 3 x 3.
        stem_filters: optional int, the channels of the first convolution; by
            default those of the first stage.
        stem: `"large"`, a convolution 7 x 7 and a maximum over 3 x 3, each
            with a stride of 2; or `"small"`, a convolution 3 x 3, for images
            of few pixels.
        image_size: int, height and width of the images that outputs are
            compared on when it grows; it takes images of any size.
        num_channels: int, the channels of the images.
        epsilon: float, added to the variances of the batch norms.
        momentum: float, of the moving averages in the batch norms.
        gates: list of `Gate`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, height, width, num_channels)`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, the logits.

    Raises:
        GrowthError: a size is no positive integer or list of one for each
            stage, or `stem` is neither of the two.

    Reference:

    - [He et al., 2015](https://arxiv.org/abs/1512.03385); see `ResNetBlock`
      for the place of the stride.
    """

    def __init__(
        self,
        num_classes,
        filters,
        depths,
        inner_filters=None,
        bottleneck=False,
        stem_filters=None,
        stem="large",
        image_size=224,
        num_channels=3,
        epsilon=1e-5,
        momentum=0.9,
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        integer = argument_checks.integer
        self.num_classes = integer("num_classes", num_classes)
        self.filters = integers("filters", filters)
        stages = len(self.filters)
        self.bottleneck = bool(bottleneck)
        self.stem_filters = stem_filters
        if stem_filters is not None:
            self.stem_filters = integer("stem_filters", stem_filters)
        self.depths = integers("depths", depths, stages, minimum=0)
        for stage in range(stages):
            if self._has_projection(stage):
                integer(f"depths[{stage}]", self.depths[stage])
        if inner_filters is None:
            part = 4 if self.bottleneck else 1
            inner_filters = [max(1, n // part) for n in self.filters]
        self.inner_filters = integers("inner_filters", inner_filters, stages)
        self.stem = argument_checks.one_of("stem", stem, STEMS)
        self.image_size = integer("image_size", image_size)
        self.num_channels = integer("num_channels", num_channels)
        self.epsilon = epsilon
        self.momentum = momentum

        large = self.stem == "large"
        self.stem_conv = MaskedConv2D(
            self.filters[0] if stem_filters is None else self.stem_filters,
            7 if large else 3,
            strides=2 if large else 1,
            padding="centered",
            use_bias=False,
            kernel_initializer="he_normal",
            dtype=self.dtype_policy,
            name="stem_conv",
        )
        self.stem_norm = MaskedBatchNormalization(
            epsilon=self.epsilon,
            momentum=self.momentum,
            dtype=self.dtype_policy,
            name="stem_norm",
        )
        self.projections = [
            self._block(stage, f"stage{stage}_projection", True)
            for stage in range(stages)
            if self._has_projection(stage)
        ]
        self.stages = [
            [
                self._block(stage, f"stage{stage}_block_{i}", False)
                for i in range(depth - self._has_projection(stage))
            ]
            for stage, depth in enumerate(self.depths)
        ]
        self.head = keras.layers.Dense(
            self.num_classes, dtype=self.dtype_policy, name="head"
        )
        self.gates = Gates(self._gate_sizes(), gates, name="gates")
        self.build()

    def _has_projection(self, stage):
        return stage > 0 or self.stem_filters is not None

    def _block(self, stage, name, projection):
        return ResNetBlock(
            self.filters[stage],
            self.inner_filters[stage],
            bottleneck=self.bottleneck,
            projection=projection,
            strides=2 if projection and stage else 1,
            epsilon=self.epsilon,
            momentum=self.momentum,
            dtype=self.dtype_policy,
            name=name,
        )

    def _gate_sizes(self):
        sizes = {}
        if self.stem_filters is not None:
            sizes["stem"] = self.stem_filters
        for stage, blocks in enumerate(self.stages):
            sizes[f"filters{stage}"] = self.filters[stage]
            for number in range(1, 3 if self.bottleneck else 2):
                inner = self.inner_filters[stage]
                sizes[f"inner{stage}_{number}"] = inner
                if self._has_projection(stage):
                    sizes[f"projection{stage}_{number}"] = inner
            sizes[f"stage{stage}"] = len(blocks)
        return sizes

    def build(self, input_shape=None):
        shape = (None, None, None, self.num_channels)
        self.stem_conv.build(shape)
        shape = self.stem_conv.compute_output_shape(shape)
        self.stem_norm.build(shape)
        projections = iter(self.projections)
        for stage, blocks in enumerate(self.stages):
            if self._has_projection(stage):
                projection = next(projections)
                projection.build(shape)
                shape = projection.compute_output_shape(shape)
            for block in blocks:
                block.build(shape)
        self.head.build((None, shape[-1]))

    @float64_exact
    def call(self, inputs, training=None):
        x = self.encode(inputs, training=training)
        return self.head(ops.mean(x, axis=(1, 2)))

    @float64_exact
    def encode(self, inputs, training=None):
        """The feature map of the last stage.

        Args:
            inputs: tensor with shape `(batch, height, width, num_channels)`.
            training: bool or `None`, whether batch statistics are taken.

        Returns:
            Tensor with shape `(batch, height, width, filters)`.
        """
        gates = self.gates(training=training)
        x = self.stem_conv(inputs)
        stem = "filters0" if self.stem_filters is None else "stem"
        x = self.stem_norm(x, training=training, gate=gates[stem])
        x = ops.relu(x)
        if self.stem == "large":
            # Nothing is negative here, so that zeros do as borders.
            x = ops.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
            x = ops.max_pool(
                x, 3, strides=2, padding="valid", data_format="channels_last"
            )
        projections = iter(self.projections)
        for stage, blocks in enumerate(self.stages):
            if self._has_projection(stage):
                x = next(projections)(
                    x,
                    training=training,
                    gates=_gates_of(gates, stage, "projection"),
                )
            x = run_blocks(
                blocks,
                x,
                training=training,
                gate=gates[f"stage{stage}"],
                gates=_gates_of(gates, stage, "inner"),
            )
        return x

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
            "filters": list(self.filters),
            "depths": list(self.depths),
            "inner_filters": list(self.inner_filters),
            "bottleneck": self.bottleneck,
            "stem_filters": self.stem_filters,
            "stem": self.stem,
            "image_size": self.image_size,
            "num_channels": self.num_channels,
            "epsilon": self.epsilon,
            "momentum": self.momentum,
            "gates": self.gates.get_config()["active_gates"],
        }


def _gates_of(gates, stage, inside):
    """The gates of a block, by the names that it knows them by."""
    return {
        "filters": gates[f"filters{stage}"],
        "inner_1": gates.get(f"{inside}{stage}_1"),
        "inner_2": gates.get(f"{inside}{stage}_2"),
    }
