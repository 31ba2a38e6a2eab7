"""Root mean square normalization over the units that take part."""

import keras
from keras import ops

from kgrow.layers.masked.weighted_norm import weighted_mean


@keras.saving.register_keras_serializable("kgrow")
class MaskedRMSNormalization(keras.layers.RMSNormalization):
    """The stock RMS normalization, with an optional gate on its units.

    The mean square is weighted by the gate and the result multiplied by it.
    Without a gate it is `keras.layers.RMSNormalization`.

    Args:
        axis: the last axis, the only one that a gate lies along.
        epsilon: float, added to the mean square.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(..., features)`.
        gate: optional tensor of shape `(features,)` with values in `[0, 1]`,
            not all zero.

    Example:

    >>> layer = MaskedRMSNormalization(epsilon=0.0)
    >>> gate = keras.ops.convert_to_tensor([1.0, 1.0, 0.0])
    >>> layer(keras.ops.convert_to_tensor([[3.0, 3.0, 99.0]]), gate=gate
    ...     ).tolist()
    [[1.0, 1.0, 0.0]]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eqs. 17 and 19, for
      a norm without a mean.
    """

    def call(self, inputs, gate=None):
        if gate is None:
            return super().call(inputs)
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        if inputs.dtype == "float64":
            dtype = "float64"
        x = ops.cast(inputs, dtype)
        gate = ops.cast(gate, dtype)
        mean_square = weighted_mean(ops.square(x), gate)
        x = x * ops.rsqrt(mean_square + self.epsilon)
        x = x * (gate * ops.cast(self.scale, dtype))
        return ops.cast(x, self.compute_dtype)
