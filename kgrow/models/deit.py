"""The data-efficient image transformer, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack
from kgrow.models.deit_network import DeiTNetwork
from kgrow.models.family import Family
from kgrow.models.vision_axes import image_dims
from kgrow.models.vit import VIT_RULES


@keras.saving.register_keras_serializable("kgrow")
class DeiT(Family):
    """A classifier of images that grows: ViT with a distillation token.

    Maps images `(batch, height, width, num_channels)` to logits `(batch,
    num_classes)`, the mean of what is read from the class token and from the
    distillation token. All sizes grow as in `ViT`. Without the second token
    the models of the DeiT paper are `ViT`s.

    It trains by one loss on the mean as any classifier does. For distillation,
    `logits="both"` puts both out, each for a loss of its own: the class token
    learns the labels, the other one what a teacher says. As a training option,
    it changes back for inference with `set_training_options(logits="mean")`;
    compile anew.

    Args:
        image_size: int, height and width of the largest images.
        patch_size: int, height and width of a patch.
        num_layers: int, number of transformer blocks.
        num_heads: int, attention heads per block.
        hidden_dim: int, width of the residual stream.
        intermediate_dim: int, width of the feedforward networks.
        num_classes: int, number of classes.
        num_channels: int, number of colours.
        dropout: float in `[0, 1)`.
        head_dim: optional int, see `GPT2`.
        layer_norm_epsilon: float.
        layer_drop: float in `[0, 1)`, how often the last block is skipped in
            training; `set_training_options()` changes it, and `dropout` and
            `logits`.
        logits: `"mean"` or `"both"`.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: see `ViT`; or `logits` is neither of the two.

    Example:

    Hard distillation: the teacher's decisions are the labels of its token.

    >>> import numpy as np
    >>> from kgrow.models.vit import ViT
    >>> sizes = dict(image_size=8, patch_size=4, num_layers=1, num_heads=2,
    ...     hidden_dim=8, intermediate_dim=16, num_classes=3)
    >>> teacher, model = ViT(**sizes), DeiT(**sizes, logits="both")
    >>> x, y = np.zeros((4, 8, 8, 3), "float32"), np.array([0, 1, 2, 0])
    >>> loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    >>> model.compile("adam", {"class": loss, "distillation": loss})
    >>> said = teacher.predict(x, verbose=0).argmax(-1)
    >>> _ = model.fit(x, {"class": y, "distillation": said}, verbose=0)
    >>> model.grow({"num_layers": 2}).exact
    True

    With augmented images, ask the teacher batch by batch, in the `map()` or
    `__getitem__()` of the dataset.

    Reference:

    - Touvron et al., "Training data-efficient image transformers &
      distillation through attention" (2012.12877), Sec. 4; the variables are
      those of KerasHub's `DeiTBackbone`, with the table of positions divided
      into the tokens' and the grid's.
    """

    network_class = DeiTNetwork
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
        name=None,
        dtype=None,
    ):
        super().__init__(
            name=name,
            dtype=dtype,
            image_size=image_size,
            patch_size=patch_size,
            num_layers=num_layers,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            num_classes=num_classes,
            num_channels=num_channels,
            dropout=dropout,
            head_dim=head_dim,
            layer_norm_epsilon=layer_norm_epsilon,
            layer_drop=layer_drop,
            logits=logits,
        )
