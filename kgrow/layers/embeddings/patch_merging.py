"""Halving a feature map between two stages."""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.dense import MaskedDense
from kgrow.layers.masked.layer_normalization import MaskedLayerNormalization


@keras.saving.register_keras_serializable("kgrow")
class PatchMerging(keras.layers.Layer):
    """Four neighbouring tokens beside each other, normalised and projected.

    The norm runs over all features of the four.

    Args:
        units: int, the number of features that it puts out.
        layer_norm_epsilon: float, added to the variance.
        kernel_initializer: initializer of the kernel.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(batch, height, width, features)`, whose
            height and width are known and even.
        gate: optional tensor of shape `(features,)`, the gate of the inputs'
            features.

    Output shape:
        `(batch, height / 2, width / 2, units)`.

    Raises:
        GrowthError: `units` is no positive integer, or height or width is odd.

    Example:

    >>> layer = PatchMerging(16)
    >>> layer(keras.ops.zeros((1, 4, 4, 8))).shape == (1, 2, 2, 16)
    True

    Reference:

    - Liu et al., "Swin Transformer" (2103.14030), Sec. 3.1.
    """

    def __init__(
        self,
        units,
        layer_norm_epsilon=1e-5,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.units = argument_checks.integer("units", units)
        self.layer_norm_epsilon = layer_norm_epsilon
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        batch, height, width, features = input_shape
        if height % 2 or width % 2:
            raise GrowthError(
                "Tokens are merged two by two: a feature map must have an "
                "even height and width. Choose another `image_size`, or fewer "
                f"stages. Received: a map of {height} x {width}"
            )
        merged = (batch, height // 2, width // 2, 4 * features)
        self.layer_norm = MaskedLayerNormalization(
            epsilon=self.layer_norm_epsilon,
            dtype=self.dtype_policy,
            name="layer_norm",
        )
        self.layer_norm.build(merged)
        self.reduction_dense = MaskedDense(
            self.units,
            use_bias=False,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="reduction_dense",
        )
        self.reduction_dense.build(merged)

    @float64_exact
    def call(self, inputs, gate=None):
        _, height, width, features = inputs.shape
        rows, columns = height // 2, width // 2
        x = ops.reshape(inputs, (-1, rows, 2, columns, 2, features))
        # Down first, then right: the order of the public code.
        x = ops.transpose(x, (0, 1, 3, 4, 2, 5))
        x = ops.reshape(x, (-1, rows, columns, 4 * features))
        gate = None if gate is None else ops.tile(gate, (4,))
        return self.reduction_dense(self.layer_norm(x, gate=gate))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape
        return batch, height // 2, width // 2, self.units

    def get_config(self):
        return {
            **super().get_config(),
            "units": self.units,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }
