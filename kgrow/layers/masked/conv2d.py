"""A convolution whose new channels come in gradually."""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError


@keras.saving.register_keras_serializable("kgrow")
class MaskedConv2D(keras.layers.Conv2D):
    """The stock convolution, with an optional gate on its channels.

    With `padding="centered"` as many zeros are set before the image as after
    it, `(kernel size - 1) / 2`, whatever the stride. With a stride of two,
    `"same"` would set them after it only, at even sizes, and the output depend
    on the size's parity.

    Args:
        filters: int, and all other arguments of `keras.layers.Conv2D`.

    Call arguments:
        inputs: tensor of shape `(batch, height, width, channels)`.
        gate: optional tensor of shape `(filters,)` with values in `[0, 1]`,
            applied after the activation.

    Raises:
        GrowthError: padding is to be centered, and the kernel's size is even.

    Example:

    >>> layer = MaskedConv2D(2, 3, strides=2, padding="centered")
    >>> gate = keras.ops.convert_to_tensor([1.0, 0.0])
    >>> y = layer(keras.ops.ones((1, 4, 4, 1)), gate=gate)
    >>> y.shape == (1, 2, 2, 2), bool(keras.ops.any(y[..., 1] != 0))
    (True, False)

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eq. 12, for a dense
      layer.
    """

    def __init__(self, filters, kernel_size, padding="valid", **kwargs):
        self.centered = padding == "centered"
        kwargs.setdefault("data_format", "channels_last")
        padding = "valid" if self.centered else padding
        super().__init__(filters, kernel_size, padding=padding, **kwargs)
        if self.centered and any(size % 2 == 0 for size in self.kernel_size):
            raise GrowthError(
                "Zeros are set evenly on both sides of an image for kernels "
                f"of an odd size. Received: kernel_size={kernel_size}, "
                "padding='centered'"
            )

    def call(self, inputs, gate=None):
        if self.centered and max(self.kernel_size) > 1:
            sides = [(size // 2, size // 2) for size in self.kernel_size]
            inputs = ops.pad(inputs, [(0, 0), *sides, (0, 0)])
        x = super().call(inputs)
        return x if gate is None else x * ops.cast(gate, x.dtype)

    def compute_output_shape(self, input_shape):
        if self.centered:
            batch, *sizes, channels = input_shape
            sizes = [
                None if size is None else size + 2 * (kernel // 2)
                for size, kernel in zip(sizes, self.kernel_size, strict=True)
            ]
            input_shape = (batch, *sizes, channels)
        return super().compute_output_shape(input_shape)

    def get_config(self):
        config = super().get_config()
        return {**config, "padding": "centered"} if self.centered else config
