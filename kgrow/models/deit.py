"""The data-efficient image transformer."""

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.layers import argument_checks
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.registry import register
from kgrow.models.vision import image_dims
from kgrow.models.vit import VIT_RULES, ViTNetwork

LOGITS = ("mean", "both")


class DeiTNetwork(ViTNetwork):
    """The network of `DeiT`, which documents its arguments.

    KerasHub's `DeiTBackbone` with a dense layer on each of the two tokens.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = AxisMap(
        {
            **VIT_RULES,
            "distillation_token/token": "_ _ -> hidden",
            "distillation_token/position": "_ _ -> hidden",
            "distillation_predictions/kernel": "hidden -> classes",
            "distillation_predictions/bias": "-> classes",
        },
        dims=image_dims(hidden="stream"),
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ -> classes",
    )

    training_options = (*ViTNetwork.training_options, "logits")

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
        logits="mean",
        gates=(),
        **kwargs,
    ):
        # Before the layers: `keras.Model` starts to track attributes then.
        self.logits = argument_checks.one_of("logits", logits, LOGITS)
        super().__init__(
            image_size,
            patch_size,
            num_layers,
            num_heads,
            hidden_dim,
            intermediate_dim,
            num_classes,
            num_channels,
            dropout,
            head_dim,
            layer_norm_epsilon,
            layer_drop,
            gates,
            **kwargs,
        )

    def _make_tokens(self):
        return [
            *super()._make_tokens(),
            self._token("distillation_token", has_position=True),
        ]

    def _make_heads(self):
        return [*super()._make_heads(), self._head("distillation_predictions")]

    def _answer(self, logits):
        by_class, by_teacher = logits
        if self.logits == "both":
            return {"class": by_class, "distillation": by_teacher}
        return 0.5 * (by_class + by_teacher)

    def compute_output_spec(self, inputs, training=None):
        spec = super().compute_output_spec(inputs, training)
        if self.logits == "both":
            return {"class": spec, "distillation": spec}
        return spec


@register("images")
class DeiT(Family):
    """A classifier of images that grows: ViT with a distillation token.

    Maps images to logits, the mean of those read from the class token and from
    the distillation token. All sizes grow as in `ViT`. Without the second
    token the models of the DeiT paper are `ViT`s.

    It trains by one loss on the mean as any classifier does. For distillation,
    `logits="both"` makes two outputs, each for a loss of its own: the class
    token learns the labels, the other one the decisions of a teacher. Being a
    training option, `logits` changes back for inference with
    `set_training_options(logits="mean")`; compile anew.

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
        logits: `"mean"`, the mean of the logits of both heads; or `"both"`, a
            dict of the two, for a loss on each.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Tensor with shape `(batch, height, width, num_channels)`, channels
        last whatever `keras.config.image_data_format()` says; height and width
        are multiples of `patch_size` and at most `image_size`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, or a dict of two, `"class"`
        and `"distillation"`.

    Raises:
        GrowthError: a size is no positive integer, a rate is not in `[0, 1)`,
            `patch_size` does not divide `image_size`, or `num_heads` does not
            divide `hidden_dim` and no `head_dim` is given, or
            `logits` is neither of the two.

    Example:

    Hard distillation: the teacher's decisions are the labels of its token.

    >>> import keras
    >>> import numpy as np
    >>> from kgrow.models.vit import ViT
    >>> sizes = dict(image_size=8, patch_size=4, num_layers=1, num_heads=2,
    ...     hidden_dim=8, intermediate_dim=16, num_classes=3)
    >>> teacher, model = ViT(**sizes), DeiT(**sizes, logits="both")
    >>> x, y = np.zeros((4, 8, 8, 3), "float32"), np.array([0, 1, 2, 0])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("adam", {"class": loss, "distillation": loss})
    >>> decided = teacher.predict(x, verbose=0).argmax(-1)
    >>> _ = model.fit(x, {"class": y, "distillation": decided}, verbose=0)
    >>> model.grow({"num_layers": 2}).exact
    True

    With augmented images, ask the teacher batch by batch, see
    `kgrow.models.deit_distillation.TaughtDataset`.

    Reference:

    - Touvron et al., "Training data-efficient image transformers &
      distillation through attention" (2012.12877), Sec. 4; the variables are
      those of KerasHub's `DeiTBackbone`, with the table of positions divided
      into the tokens' and the grid's. As the paper's code does, this averages
      logits, where the paper adds up softmax outputs.
    """

    network_class = DeiTNetwork
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
        gated={"num_heads": 4},
    )
