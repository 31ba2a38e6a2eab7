"""Images cut into patches, each projected to a vector."""

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks
from kgrow.layers.masked.conv2d import MaskedConv2D

# Arguments that a projection of non-overlapping patches fixes.
_SETTLED = (
    "kernel_size",
    "strides",
    "padding",
    "data_format",
    "dilation_rate",
    "groups",
)


@keras.saving.register_keras_serializable("kgrow")
class PatchEmbedding(MaskedConv2D):
    """The convolution whose stride is its kernel's size.

    Every patch of `patch_size` times `patch_size` pixels becomes one vector.
    Channels come last, whatever `keras.config.image_data_format()` says, so
    that a network and its files do not depend on it.

    Args:
        filters: int, the number of features of a patch.
        patch_size: int, height and width of a patch in pixels.
        **kwargs: of `keras.layers.Conv2D`, such as `kernel_initializer`, but
            for those that say how patches lie.

    Call arguments:
        inputs: tensor of shape `(batch, height, width, channels)`.
        gate: optional tensor of shape `(filters,)` with values in `[0, 1]`
            that the features are multiplied by.

    Returns:
        Tensor of shape `(batch, height // patch_size, width // patch_size,
        filters)`.

    Raises:
        GrowthError: height or width is not known, or no multiple of
            `patch_size`.

    Example:

    >>> layer = PatchEmbedding(filters=8, patch_size=4)
    >>> layer(keras.ops.zeros((2, 12, 8, 3))).shape == (2, 3, 2, 8)
    True

    Reference:

    - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929), Eq. 1
    """

    def __init__(self, filters, patch_size, **kwargs):
        self.patch_size = argument_checks.integer("patch_size", patch_size)
        super().__init__(
            filters,
            kernel_size=self.patch_size,
            strides=self.patch_size,
            data_format="channels_last",
            **kwargs,
        )

    def call(self, inputs, gate=None):
        sides = tuple(inputs.shape[1:3])
        if any(s is None or not s or s % self.patch_size for s in sides):
            raise GrowthError(
                "Height and width of the images must be multiples of "
                "`patch_size`: resize or crop them. Received: inputs of shape "
                f"{tuple(inputs.shape)}, patch_size={self.patch_size}"
            )
        return super().call(inputs, gate=gate)

    def get_config(self):
        config = super().get_config()
        for name in _SETTLED:
            config.pop(name)
        return {**config, "patch_size": self.patch_size}
