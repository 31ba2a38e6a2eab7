"""Layer normalization over the units that take part."""

import keras
from keras import ops

from kgrow.layers.masked.weighted_norm import weighted_mean


@keras.saving.register_keras_serializable("kgrow")
class MaskedLayerNormalization(keras.layers.LayerNormalization):
    """The stock layer normalization, with an optional gate on its units.

    Mean and variance are weighted by the gate, so that a unit behind a shut
    one does not take part in them, and the result is multiplied by it:
    `gate * (gamma * (x - mean) / std + beta)`. Without a gate it is
    `keras.layers.LayerNormalization`.

    Args:
        axis: the last axis, the only one that a gate lies along.
        **kwargs: of `keras.layers.LayerNormalization`.

    Call arguments:
        inputs: tensor of shape `(..., features)`.
        gate: optional tensor of shape `(features,)` with values in `[0, 1]`,
            not all zero.

    Example:

    >>> layer = MaskedLayerNormalization(epsilon=0.0)
    >>> gate = keras.ops.convert_to_tensor([1.0, 1.0, 0.0])
    >>> layer(keras.ops.convert_to_tensor([[2.0, 4.0, 99.0]]), gate=gate
    ...     ).tolist()
    [[-1.0, 1.0, 0.0]]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eqs. 17 and 19.
    """

    def call(self, inputs, gate=None):
        if gate is None:
            return super().call(inputs)
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        if self.rms_scaling or axes not in ([-1], [len(inputs.shape) - 1]):
            raise ValueError(
                "A gate lies along the last axis, and the norm with it, with "
                "`rms_scaling=False`; for RMS use MaskedRMSNormalization. "
                f"Received: axis={self.axis}, rms_scaling={self.rms_scaling}"
            )
        dtype = keras.backend.result_type(inputs.dtype, "float32")
        if inputs.dtype == "float64":
            dtype = "float64"
        x = ops.cast(inputs, dtype)
        gate = ops.cast(gate, dtype)
        x = x - weighted_mean(x, gate)
        variance = weighted_mean(ops.square(x), gate)
        x = x * ops.rsqrt(variance + self.epsilon)
        scale = gate
        if self.scale:
            scale = gate * ops.cast(self.gamma, dtype)
        x = x * scale
        if self.center:
            x = x + gate * ops.cast(self.beta, dtype)
        return ops.cast(x, self.compute_dtype)
