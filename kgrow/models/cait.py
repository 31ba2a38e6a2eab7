"""CaiT."""

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.blocks.class_attention_block import ClassAttentionBlock
from kgrow.layers.blocks.layer_scale_block import LayerScaleBlock
from kgrow.layers.float64 import float64_exact
from kgrow.layers.gelu import gelu_exact
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.registry import register
from kgrow.models.transformer import BLOCK_DIMS, block_rules
from kgrow.models.vision import IMAGE_RULES, VisionNetwork, image_dims

_BLOCK = "transformer_layer_{layers}"
_CLASS_BLOCK = "class_layer_{class_layers}"
# The dimensions inside a block may grow differently in each block, and so in
# each stack.
_CLASS_DIMS = {dim: f"class_{dim}" for dim in BLOCK_DIMS if dim != "hidden"}


def _scaled_block_rules(block, names=None):
    """The rules of a block whose branches end in factors.

    With zeros there a block is the identity. The projections before them keep
    their values, and get gradients as soon as the factors move; with zeros in
    both, neither would ever move.
    """
    rules = {
        path: axes.removesuffix(" | residual_out")
        for path, axes in block_rules(block, names).items()
    }
    for branch in ("self_attention", "feedforward"):
        rules[f"{block}/{branch}_layer_scale/gamma"] = (
            "-> hidden | elementwise, residual_out"
        )
    return rules


_TALKING_RULES = {
    f"{_BLOCK}/self_attention/{name}_projection/{path}": axes
    for name in ("score", "weight")
    for path, axes in (("kernel", "heads -> heads"), ("bias", "-> heads"))
}


class CaiTNetwork(VisionNetwork):
    """The network of `CaiT`, which documents its arguments.

    The variables exist as soon as it is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = AxisMap(
        {
            **IMAGE_RULES,
            **_scaled_block_rules(_BLOCK),
            **_TALKING_RULES,
            **_scaled_block_rules(_CLASS_BLOCK, _CLASS_DIMS),
        },
        # Factors of its own units multiply the stream: copies only.
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
        self.finish(gates, layer_drop, token_drop)

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
        of_class = {dim: gates[name] for dim, name in _CLASS_DIMS.items()}
        token = run_blocks(
            self.class_layers,
            token,
            training=training,
            gate=gates["class_layers"],
            patches=patches,
            gates={"hidden": stream, **of_class},
        )
        return self.layer_norm(token, gate=stream)


@register("images")
class CaiT(Family):
    """A classifier of images that grows: CaiT, deep and with class attention.

    Maps images to logits in two stages. Patches go through blocks with talking
    heads, whose branches end in a `LayerScale`; then a class token attends to
    them, in blocks of class attention that change nothing but the token.

    `hidden_dim`, `intermediate_dim`, `num_heads`, `head_dim`, `num_layers` and
    `num_class_layers` grow, and the tables `num_classes` and `image_size`, as
    in `ViT`. `LayerScale` multiplies every unit of a branch by a factor of its
    own, with which averages of units do not commute: where units of
    `hidden_dim` are copied equally often the function is kept, and by gates
    ('msg') at any width. New blocks start with factors of zero and keep it.

    Args:
        image_size: int, height and width of the largest images.
        patch_size: int, height and width of a patch.
        num_layers: int, the number of blocks for the patches; may be 0.
        num_heads: int, the number of attention heads in a block.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width of the feedforward networks.
        num_classes: int, the number of classes.
        num_class_layers: int, the number of blocks for the class token.
        layer_scale_init_value: float, the initial value of the factors of the
            branches; the paper has 0.1 for up to 18 blocks, 1e-5 for 24, 1e-6
            for more.
        num_channels: int, the number of colours.
        dropout: float in `[0, 1)`, the rate after the embeddings, after each
            branch and on the attention weights.
        head_dim: int or `None`, the size of one head, by default
            `hidden_dim // num_heads`. Growing `hidden_dim` or `num_heads` does
            not change it.
        layer_norm_epsilon: float, added to the variance in every norm.
        layer_drop: float in `[0, 1)`, the rate at which the last block for
            the patches is skipped in training, see `DropSettings`: stochastic
            depth. Blocks of class attention are always run, as in the paper's
            code.
        token_drop: float in `[0, 1)`, the part of the patches that goes past
            the middle blocks in training.
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

    >>> model = CaiT(image_size=8, patch_size=4, num_layers=1, num_heads=2,
    ...     hidden_dim=8, intermediate_dim=16, num_classes=3)
    >>> model.grow({"hidden_dim": 16, "num_heads": 3, "num_layers": 2}).exact
    True

    Reference:

    - Touvron et al., "Going deeper with Image Transformers" (2103.17239).
      Stochastic depth grows with the depth, and skips a block for the whole
      batch; the paper's code has one rate for all.
    """

    network_class = CaiTNetwork
    example = Example(
        sizes={
            "image_size": 8,
            "patch_size": 4,
            "num_layers": 2,
            "num_class_layers": 2,
            "num_heads": 3,
            "head_dim": 2,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "num_classes": 5,
        },
        exact={"hidden_dim": 16, "intermediate_dim": 14},
        gated={"hidden_dim": 19, "num_class_layers": 3},
    )
