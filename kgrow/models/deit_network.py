"""The data-efficient image transformer as one Keras model."""

import keras

from kgrow.layers import argument_checks
from kgrow.models.vit_network import ViTNetwork

LOGITS = ("mean", "both")


@keras.saving.register_keras_serializable("kgrow")
class DeiTNetwork(ViTNetwork):
    """A Vision Transformer with a second token, taught by another network.

    It computes what KerasHub's `DeiTBackbone` computes, and a dense layer on
    each of the two tokens.

    Example:

    >>> network = DeiTNetwork(
    ...     image_size=8,
    ...     patch_size=4,
    ...     num_layers=2,
    ...     num_heads=2,
    ...     hidden_dim=8,
    ...     intermediate_dim=32,
    ...     num_classes=5,
    ...     logits="both",
    ... )
    >>> sorted(network(keras.ops.ones((1, 8, 8, 3))))
    ['class', 'distillation']

    Args:
        image_size: int, and all other arguments of `ViTNetwork`.
        logits: `"mean"`, the mean of both heads' logits; or `"both"`, a dict
            of the two, for a loss on each.

    Input shape:
        As for `ViTNetwork`.

    Output shape:
        Tensor with shape `(batch, num_classes)`, or a dict of two, `"class"`
        and `"distillation"`.

    Raises:
        GrowthError: see `ViTNetwork`; or `logits` is neither of the two.

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2012.12877), Sec. 4. Its
      code averages logits, where the paper adds up softmax outputs.
    """

    fields = (*ViTNetwork.fields, "logits")
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
        logits="mean",
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
