"""A dense layer of several axes whose new entries come in gradually."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kgrow")
class MaskedEinsumDense(keras.layers.EinsumDense):
    """The stock einsum layer, with an optional gate on its outputs.

    Args:
        equation: string, and all other arguments of
            `keras.layers.EinsumDense`.

    Call arguments:
        inputs: tensor.
        gate: optional tensor with values in `[0, 1]` that broadcasts to the
            last axes of the outputs: `(head_dim,)`, `(heads, 1)` or `(heads,
            head_dim)` for a projection to heads. It follows the
            activation.

    Example:

    >>> layer = MaskedEinsumDense("bd,dhk->bhk", output_shape=(2, 1),
    ...     kernel_initializer="ones")
    >>> gate = keras.ops.convert_to_tensor([[1.0], [0.0]])
    >>> layer(keras.ops.ones((1, 3)), gate=gate).tolist()
    [[[3.0], [0.0]]]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eqs. 12 and 23.
    """

    def call(self, inputs, gate=None, training=None):
        x = super().call(inputs, training=training)
        return x if gate is None else x * ops.cast(gate, x.dtype)
