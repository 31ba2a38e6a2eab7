"""A residual convolutional network, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.models.family import Family
from kgrow.models.resnet_network import ResNetNetwork


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


@keras.saving.register_keras_serializable("kgrow")
class ResNet(Family):
    """An image classifier that grows: ResNet, convolutions with batch norms.

    Maps images `(batch, height, width, num_channels)` to logits `(batch,
    num_classes)`. For each stage by itself `filters`, `inner_filters` and
    `depths` grow, and `stem_filters` if it is given; `num_classes` by new
    classes.

    A batch norm treats each channel by itself and a relu leaves what has
    passed one as it is. So copies in any numbers keep the function, and so do
    new blocks whose last norm multiplies by zero: in training too, until the
    first step. The block with the projection that a stage begins with is not
    copied; new ones come behind it.

    Args:
        num_classes: int, number of classes.
        filters: list of ints, channels that the blocks of each stage put out.
        depths: list of ints, number of blocks of each stage, the one with the
            projection included.
        inner_filters: optional list of ints, channels inside the blocks; by
            default those it puts out, of a bottleneck a quarter.
        bottleneck: bool, whether blocks have three convolutions or two.
        stem_filters: optional int, channels of the first convolution; by
            default those of the first stage, which then has no projection.
        stem: `"large"` (7 x 7, and a maximum over 3 x 3) or `"small"` (3 x
            3).
        image_size: int, height and width of the images that outputs are
            compared on; any are taken.
        num_channels: int, channels of the images.
        epsilon: float, added to variances.
        momentum: float, of moving averages.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: a size is no positive integer or list of one for each
            stage, or `stem` is neither of the two.

    Example:

    >>> import kgrow
    >>> model = ResNet(num_classes=10, filters=[4, 8], depths=[1, 2],
    ...     stem="small", image_size=8)
    >>> model.grow({"filters": [5, 12], "depths": [2, 3]}, seed=0).exact
    True

    Reference:

    - He et al., "Deep Residual Learning" (1512.03385).
    """

    network_class = ResNetNetwork
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
        name=None,
        dtype=None,
    ):
        super().__init__(
            name=name,
            dtype=dtype,
            num_classes=num_classes,
            filters=filters,
            depths=depths,
            inner_filters=inner_filters,
            bottleneck=bottleneck,
            stem_filters=stem_filters,
            stem=stem,
            image_size=image_size,
            num_channels=num_channels,
            epsilon=epsilon,
            momentum=momentum,
        )

    @classmethod
    def make_axes(cls, network):
        return resnet_axes(
            len(network.filters),
            network.bottleneck,
            network.stem_filters is not None,
        )
