"""Swin."""

import keras
from keras import ops

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.layers import Dropout, MaskedLayerNormalization, argument_checks
from kgrow.layers.argument_checks import integers
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.blocks.swin_block import SwinBlock
from kgrow.layers.embeddings.patch_merging import PatchMerging
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.conv2d import MaskedConv2D
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.image_classifier import ImageClassifier
from kgrow.models.registry import register
from kgrow.models.transformer import BLOCK_DIMS, block_rules


def swin_axes(num_stages):
    """The axes of a Swin: stage `s` has dimensions and a stack of its own,
    `hidden0`, `ffn0`, `heads0`, `qk0`, `value0` and `stage0` for the first.

    Args:
        num_stages: int.

    Example:

    >>> axes = swin_axes(2)
    >>> str(axes.rules["stage0_merging/reduction_dense/kernel"])
    '(4 hidden0) -> hidden1'
    """
    last = num_stages - 1
    rules = {
        "patch_embedding/kernel": "_ _ _ -> hidden0",
        "patch_embedding/bias": "-> hidden0",
        "patch_layer_norm/gamma": "-> hidden0 | scale",
        "patch_layer_norm/beta": "-> hidden0 | offset",
        "layer_norm/gamma": f"-> hidden{last} | scale",
        "layer_norm/beta": f"-> hidden{last} | offset",
        "head/kernel": f"hidden{last} -> classes",
        "head/bias": "-> classes",
    }
    dims, stacks = [Dim("classes", "num_classes", kind="lookup")], []
    for s in range(num_stages):
        block = f"stage{s}_block_{{stage{s}}}"
        rules |= block_rules(block, {dim: f"{dim}{s}" for dim in BLOCK_DIMS})
        # A number for each head, added to its scores.
        rules[f"{block}/self_attention/position_bias/table"] = f"_ -> heads{s}"
        if s < last:
            four = f"(4 hidden{s})"
            rules |= {
                f"stage{s}_merging/layer_norm/gamma": f"-> {four} | scale",
                f"stage{s}_merging/layer_norm/beta": f"-> {four} | offset",
                f"stage{s}_merging/reduction_dense/kernel": (
                    f"{four} -> hidden{s + 1}"
                ),
            }
        # The output of the patches' norm is the first stage's stream itself:
        # averages would have to commute with its gain.
        kind = "stream" if s else "nonlinear"
        dims += [
            Dim(f"hidden{s}", "embed_dim", kind=kind, norm="layer"),
            Dim(f"ffn{s}", f"intermediate_dim[{s}]"),
            Dim(f"heads{s}", f"num_heads[{s}]"),
            Dim(f"qk{s}", f"head_dim[{s}]", kind="stream"),
            Dim(f"value{s}", f"head_dim[{s}]", kind="stream"),
        ]
        stacks.append(
            BlockStack(f"stage{s}", f"depths[{s}]", norm="pre", period=2)
        )
    return AxisMap(rules, dims, stacks, outputs="_ -> classes")


class SwinNetwork(ImageClassifier):
    """The network of `Swin`, which documents its arguments.

    Stage `s` works on maps of `image_size / (patch_size 2^s)` tokens a side,
    of `embed_dim 2^s` features each. Queries, keys and values have kernels of
    their own. Variables exist as soon as the network is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = swin_axes(4)
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
        self.finish(gates)

    def make_axes(self):
        return swin_axes(len(self.depths))

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
                gates={dim: gates[f"{dim}{stage}"] for dim in BLOCK_DIMS},
            )
            if stage < len(self.mergings):
                x = self.mergings[stage](x, gate=gates[f"hidden{stage}"])
        last = len(self.stages) - 1
        return self.layer_norm(x, gate=gates[f"hidden{last}"])


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


@register("images")
class Swin(Family):
    """A classifier of images that grows: Swin, windows in stages.

    Maps images to logits, through a hierarchy of transformers over windows. It
    grows in `embed_dim`, from which all widths of the stream follow, and for
    each stage by itself in `depths`, `num_heads`, `head_dim` and
    `intermediate_dim`; `num_classes` by new classes. The size of images and
    windows stays.

    Windows are shifted in every other block, so that a block's copies go to
    places of the same parity. Where the features of a patch are normalised
    beside those of its neighbours, and where a norm's output is the stream,
    copies in equal numbers alone keep the function: `embed_dim` grows by
    whole multiples exactly, or behind a gate (`"msg"`).

    Args:
        num_classes: int, the number of classes.
        embed_dim: int, the number of features of the first stage; each stage
            has twice those of the one before.
        depths: list of ints, the number of blocks of each stage.
        num_heads: list of ints, the number of attention heads in a block of
            each stage.
        head_dim: optional list of ints, the size of one head in each stage;
            by default the stage's features divided by its heads. As it is a
            field of its own, heads grow by their number or by their size.
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
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Tensor with shape `(batch, image_size, image_size, num_channels)`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, the logits.

    Raises:
        GrowthError: a size is no positive integer or list of one for each
            stage, a rate is not in `[0, 1)`, the patches do not divide the
            image, the windows a feature map or the heads a stage's features.

    Example:

    >>> import keras
    >>> model = Swin(num_classes=10, embed_dim=8, depths=[1, 2],
    ...     num_heads=[2, 4], window_size=2, image_size=8, patch_size=2)
    >>> model(keras.ops.ones((1, 8, 8, 3))).shape == (1, 10)
    True
    >>> model.grow({"embed_dim": 16, "depths": [1, 4]}, seed=0).exact
    True

    Reference:

    - Liu et al., "Swin Transformer" (2103.14030), its first version.
    """

    network_class = SwinNetwork
    example = Example(
        sizes={
            "num_classes": 7,
            "embed_dim": 8,
            "depths": [2, 2],
            "num_heads": [2, 3],
            "head_dim": [4, 5],
            "intermediate_dim": [10, 14],
            "window_size": 2,
            "image_size": 8,
            "patch_size": 2,
        },
        exact={"embed_dim": 16, "depths": [2, 4]},
        gated={"intermediate_dim": [13, 14]},
    )
