"""A dense layer whose new units come in gradually."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kgrow")
class MaskedDense(keras.layers.Dense):
    """The stock dense layer, with an optional gate on its units.

    `outputs = gate * activation(inputs @ kernel + bias)`. The gate comes
    after the activation, so that a shut unit is zero whatever the activation
    makes of zero. Without a gate it is `keras.layers.Dense`, with the same
    variables and the same computation.

    Args:
        units: int, and all other arguments of `keras.layers.Dense`.

    Call arguments:
        inputs: tensor of shape `(..., features)`.
        gate: optional tensor of shape `(units,)` with values in `[0, 1]`, as
            `Gates` makes them.

    Example:

    >>> layer = MaskedDense(3, activation="exponential")
    >>> gate = keras.ops.convert_to_tensor([1.0, 1.0, 0.0])
    >>> layer(keras.ops.zeros((1, 2)), gate=gate).tolist()
    [[1.0, 1.0, 0.0]]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eq. 12. The public
      code masks before the activation, which is the same only where that
      makes zero of zero.
    """

    def call(self, inputs, gate=None, training=None):
        x = super().call(inputs, training=training)
        return x if gate is None else x * ops.cast(gate, x.dtype)
