"""Batch normalization whose new channels come in gradually."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kgrow")
class MaskedBatchNormalization(keras.layers.BatchNormalization):
    """The stock batch normalization, with an optional gate on its channels.

    Statistics are taken of each channel by itself, so that a gate leaves them
    alone and only multiplies what comes out: `gate * (gamma * (x - mean) / std
    + beta)`. A gate in front of it would be divided out again.

    Args:
        **kwargs: of `keras.layers.BatchNormalization`; the axis is the last.

    Call arguments:
        inputs: tensor of shape `(..., channels)`.
        training: bool or `None`.
        gate: optional tensor of shape `(channels,)` with values in `[0, 1]`.

    Example:

    >>> layer = MaskedBatchNormalization(beta_initializer="ones", epsilon=0.0)
    >>> gate = keras.ops.convert_to_tensor([1.0, 0.0])
    >>> layer(keras.ops.ones((1, 2)), gate=gate).tolist()
    [[2.0, 0.0]]

    Reference:

    - Ioffe and Szegedy, "Batch Normalization" (1502.03167); Yao et al.,
      "Masked Structural Growth" (2305.02869), Eq. 12, for the gate.
    """

    def call(self, inputs, training=None, mask=None, gate=None):
        x = super().call(inputs, training=training, mask=mask)
        return x if gate is None else x * ops.cast(gate, x.dtype)
