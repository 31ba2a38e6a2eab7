"""Residual convolutional networks."""

import keras
from keras import ops

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.layers import argument_checks
from kgrow.layers.argument_checks import integers
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.blocks.resnet_block import ResNetBlock
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.batch_normalization import MaskedBatchNormalization
from kgrow.layers.masked.conv2d import MaskedConv2D
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.image_classifier import ImageClassifier
from kgrow.models.registry import register

STEMS = ("large", "small")


def resnet_axes(num_stages, bottleneck=False, stem=False):
    """The axes of a residual network.

    Stage `s` has the dimensions `filters0` and, inside its blocks, `inner0_1`
    (and `inner0_2` with a bottleneck); inside the block with the projection,
    `projection0_1`. Its other blocks are the stack `stage0`.

    Args:
        num_stages: int.
        bottleneck: bool, whether blocks have three convolutions.
        stem: bool, whether the stem has a width of its own.

    Example:

    >>> axes = resnet_axes(2)
    >>> str(axes.rules["stage1_projection/conv_1/kernel"])
    '_ _ filters0 -> projection1_1'
    """
    width = "stem" if stem else "filters0"
    rules = {
        "stem_conv/kernel": f"_ _ _ -> {width}",
        **_norm("stem_norm", width),
    }
    names, stacks = {}, []
    if stem:
        names["stem"] = "stem_filters"
    for s in range(num_stages):
        names[f"filters{s}"] = f"filters[{s}]"
        kinds = {"inner": f"stage{s}_block_{{stage{s}}}"}
        if s > 0 or stem:
            kinds["projection"] = f"stage{s}_projection"
        for kind, path in kinds.items():
            before = width if kind == "projection" else f"filters{s}"
            channels = [before]
            for number in range(1, 3 if bottleneck else 2):
                channels.append(f"{kind}{s}_{number}")
                names[channels[-1]] = f"inner_filters[{s}]"
            channels.append(f"filters{s}")
            rules |= _branch(path, channels, exits=kind == "inner")
            if kind == "projection":
                rules[f"{path}/conv_shortcut/kernel"] = (
                    f"_ _ {before} -> filters{s}"
                )
                rules |= _norm(f"{path}/norm_shortcut", f"filters{s}")
        stacks.append(
            BlockStack(
                f"stage{s}", f"depths[{s}]", norm="pre", epsilon="epsilon"
            )
        )
        width = f"filters{s}"
    rules |= {"head/kernel": f"{width} -> classes", "head/bias": "-> classes"}
    dims = [
        # A batch norm takes its statistics of each channel by itself.
        *(Dim(name, field, kind="nonlinear") for name, field in names.items()),
        Dim("classes", "num_classes", kind="lookup"),
    ]
    return AxisMap(rules, dims, stacks, outputs="_ -> classes")


def _branch(path, channels, exits):
    """The rules of convolutions from each number of channels to the next."""
    rules, last = {}, len(channels) - 1
    for number in range(1, len(channels)):
        axes = f"_ _ {channels[number - 1]} -> {channels[number]}"
        rules[f"{path}/conv_{number}/kernel"] = axes
        leaves = exits and number == last
        rules |= _norm(f"{path}/norm_{number}", channels[number], leaves)
    return rules


def _norm(path, channels, leaves=False):
    """The rules of a batch norm; the last of a branch is its exit."""
    return {
        f"{path}/gamma": f"-> {channels} | elementwise"
        + ", residual_out" * leaves,
        f"{path}/beta": f"-> {channels}" + " | residual_out" * leaves,
        f"{path}/moving_mean": f"-> {channels}",
        f"{path}/moving_variance": f"-> {channels} | elementwise",
    }


class ResNetNetwork(ImageClassifier):
    """The network of `ResNet`, which documents its arguments.

    Every stage but the first begins with a block that halves the feature map
    and whose shortcut is a projection; the first stage does so, without
    halving, if the stem has a width of its own. Variables exist as soon as
    the network is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = resnet_axes(4)

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
        self.finish(gates)

    def make_axes(self):
        has_stem = self.stem_filters is not None
        return resnet_axes(len(self.filters), self.bottleneck, has_stem)

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
            # Padding with zeros: the relu leaves nothing negative.
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


def _gates_of(gates, stage, inside):
    """The gates of a block, by the names that it knows them by."""
    return {
        "filters": gates[f"filters{stage}"],
        "inner_1": gates.get(f"{inside}{stage}_1"),
        "inner_2": gates.get(f"{inside}{stage}_2"),
    }


@register("images")
class ResNet(Family):
    """An image classifier that grows: ResNet, convolutions with batch norms.

    Maps images to logits. For each stage by itself `filters`, `inner_filters`
    and `depths` grow, and `stem_filters` if it is given; `num_classes` by new
    classes.

    A batch norm treats each channel by itself, and a relu does not change the
    output of another. So copies in any numbers keep the function, and so do
    new blocks whose last norm multiplies by zero: in training too, until the
    first step. The block with the projection that a stage begins with is not
    copied; new blocks follow it.

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
            default those of the first stage, which then has no projection.
        stem: `"large"`, a convolution 7 x 7 and a maximum over 3 x 3, each
            with a stride of 2; or `"small"`, a convolution 3 x 3, for images
            of few pixels.
        image_size: int, height and width of the images that outputs are
            compared on when it grows; it takes images of any size.
        num_channels: int, the channels of the images.
        epsilon: float, added to the variances of the batch norms.
        momentum: float, of the moving averages in the batch norms.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Tensor with shape `(batch, height, width, num_channels)`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, the logits.

    Raises:
        GrowthError: a size is no positive integer or list of one for each
            stage, or `stem` is neither of the two.

    Example:

    >>> import keras
    >>> model = ResNet(num_classes=10, filters=[4, 8], depths=[1, 2],
    ...     stem="small", image_size=8)
    >>> model(keras.ops.ones((1, 8, 8, 3))).shape == (1, 10)
    True
    >>> model.grow({"filters": [5, 12], "depths": [2, 3]}, seed=0).exact
    True

    Reference:

    - He et al., "Deep Residual Learning" (1512.03385); see `ResNetBlock` for
      the place of the stride.
    """

    network_class = ResNetNetwork
    example = Example(
        sizes={
            "num_classes": 7,
            "filters": [4, 6],
            "depths": [2, 3],
            "inner_filters": [3, 5],
            "stem": "small",
            "image_size": 6,
        },
        exact={"filters": [5, 8], "depths": [3, 3]},
        gated={"inner_filters": [4, 5]},
    )
