"""Swin, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.models.family import Family
from kgrow.models.swin_network import SwinNetwork

# Of a block in stage `s`: each `#` stands for its number.
_BLOCK = {
    "self_attention_layer_norm/gamma": "-> hidden# | scale",
    "self_attention_layer_norm/beta": "-> hidden# | offset",
    "self_attention/query/kernel": "hidden# -> heads# qk# | qk#^0.5",
    "self_attention/query/bias": "-> heads# qk# | qk#^0.5",
    "self_attention/key/kernel": "hidden# -> heads# ~qk#",
    "self_attention/key/bias": "-> heads# ~qk#",
    "self_attention/value/kernel": "hidden# -> heads# value#",
    "self_attention/value/bias": "-> heads# value#",
    # A number for each head, added to its scores.
    "self_attention/position_bias/table": "_ -> heads#",
    "self_attention/attention_output/kernel": (
        "heads# value# -> hidden# | residual_out"
    ),
    "self_attention/attention_output/bias": "-> hidden# | residual_out",
    "feedforward_layer_norm/gamma": "-> hidden# | scale",
    "feedforward_layer_norm/beta": "-> hidden# | offset",
    "feedforward_intermediate_dense/kernel": "hidden# -> ffn#",
    "feedforward_intermediate_dense/bias": "-> ffn#",
    "feedforward_output_dense/kernel": "ffn# -> hidden# | residual_out",
    "feedforward_output_dense/bias": "-> hidden# | residual_out",
}


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
        for path, axes in _BLOCK.items():
            rules[f"stage{s}_block_{{stage{s}}}/{path}"] = axes.replace(
                "#", str(s)
            )
        if s < last:
            four = f"(4 hidden{s})"
            rules |= {
                f"stage{s}_merging/layer_norm/gamma": f"-> {four} | scale",
                f"stage{s}_merging/layer_norm/beta": f"-> {four} | offset",
                f"stage{s}_merging/reduction_dense/kernel": (
                    f"{four} -> hidden{s + 1}"
                ),
            }
        # What the norm of the patches puts out is the first stage's stream
        # itself: averages would have to commute with its gain.
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


@keras.saving.register_keras_serializable("kgrow")
class Swin(Family):
    """An image classifier that grows: Swin, a transformer over windows.

    Maps images `(batch, image_size, image_size, num_channels)` to logits
    `(batch, num_classes)`. `embed_dim` grows, of which every stage has its
    multiple, and for each stage by itself `depths`, `num_heads`, `head_dim`
    and `intermediate_dim`; `num_classes` by new classes. The size of images
    and windows stays.

    Windows are shifted in every other block, and so copies of blocks stand at
    places of the same parity. Where one patch's features are normalised
    beside those of its neighbours, and where a norm's output is the stream,
    copies in equal numbers alone keep the function: `embed_dim` grows by
    whole multiples exactly, or behind a gate (`"msg"`).

    Args:
        num_classes: int, number of classes.
        embed_dim: int, width of the first stage; each has twice that of the
            one before.
        depths: list of ints, number of blocks of each stage.
        num_heads: list of ints, attention heads per block of each stage.
        head_dim: optional list of ints, size of one head; a stage's width
            divided by its heads by default. As it is a field of its own,
            heads grow by their number or by their size.
        intermediate_dim: optional list of ints, width of the feedforward
            networks; four times a stage's width by default.
        window_size: int, height and width of a window.
        image_size: int, height and width of the images.
        patch_size: int, height and width of a patch.
        num_channels: int, channels of the images.
        dropout: float in `[0, 1)`.
        drop_path: float in `[0, 1)`, how often an image goes past a branch of
            the last block in training, past those below in proportion.
        layer_norm_epsilon: float.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: a size is no positive integer or list of one for each
            stage, or patches, windows or heads do not divide what they are
            to.

    Example:

    >>> import kgrow
    >>> model = Swin(num_classes=10, embed_dim=8, depths=[1, 2],
    ...     num_heads=[2, 4], window_size=2, image_size=8, patch_size=2)
    >>> model.grow({"embed_dim": 16, "depths": [1, 4]}, seed=0).exact
    True

    Reference:

    - Liu et al., "Swin Transformer" (2103.14030), its first version.
    """

    network_class = SwinNetwork
    axes = swin_axes(4)

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
        name=None,
        dtype=None,
    ):
        super().__init__(
            name=name,
            dtype=dtype,
            num_classes=num_classes,
            embed_dim=embed_dim,
            depths=depths,
            num_heads=num_heads,
            head_dim=head_dim,
            intermediate_dim=intermediate_dim,
            window_size=window_size,
            image_size=image_size,
            patch_size=patch_size,
            num_channels=num_channels,
            dropout=dropout,
            drop_path=drop_path,
            layer_norm_epsilon=layer_norm_epsilon,
        )

    @classmethod
    def make_axes(cls, network):
        return swin_axes(len(network.depths))
