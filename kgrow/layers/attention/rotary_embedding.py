"""Positions as rotations of pairs of entries."""

import keras
import numpy as np
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers.float64 import float64_exact


@keras.saving.register_keras_serializable("kgrow")
class RotaryEmbedding(keras.layers.Layer):
    """Turns each pair of a head's entries by an angle that grows with the
    position.

    Of `2 n` entries, number `i` and number `n + i` are a pair, which at the
    position `p` is turned by `p * max_wavelength ** (-i / n)`. The product of
    two vectors that are turned so depends on their distance. There
    are no variables, and no longest sequence.

    With `k n` pairs the frequency of pair `i` is that of pair `k i`: so a head
    grows, see `kgrow.strategies.fixed_dims`.

    Args:
        max_wavelength: number above 0; the slowest pair takes nearly `2 pi`
            times as many positions for one turn.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, length, heads, size)`, of even size.

    Output shape:
        The same.

    Raises:
        GrowthError: `max_wavelength` is no number above 0, or the size is odd.

    Example:

    >>> layer = RotaryEmbedding()
    >>> x = keras.ops.ones((1, 2, 1, 2))
    >>> [[round(float(y), 3) for y in head[0]] for head in layer(x)[0]]
    [[1.0, 1.0], [-0.301, 1.382]]

    Reference:

    - Su et al., "RoFormer" (2104.09864), Eqs. 15 and 34. Pairs are entries
      half a head apart, as in KerasHub and in the weights of Llama that are
      published there; the paper pairs neighbours.
    """

    def __init__(self, max_wavelength=10000, **kwargs):
        super().__init__(**kwargs)
        number = isinstance(max_wavelength, (int, float))
        if (
            not number
            or isinstance(max_wavelength, bool)
            or max_wavelength <= 0
        ):
            raise GrowthError(
                "`max_wavelength` must be a number above 0. Received: "
                f"max_wavelength={max_wavelength!r}"
            )
        self.max_wavelength = max_wavelength

    def build(self, input_shape):
        if input_shape[-1] % 2:
            raise GrowthError(
                "A head whose entries are turned in pairs has an even size. "
                f"Received: inputs of shape {tuple(input_shape)}"
            )
        self.built = True

    @float64_exact
    def call(self, inputs):
        # Angles of far positions need more digits than half precision has.
        exact = self.compute_dtype == "float64"
        dtype = "float64" if exact else "float32"
        pairs = inputs.shape[-1] // 2
        frequencies = float(self.max_wavelength) ** (-np.arange(pairs) / pairs)
        positions = ops.arange(ops.shape(inputs)[1], dtype=dtype)
        angles = positions[:, None] * ops.convert_to_tensor(
            frequencies, dtype=dtype
        )
        cos = ops.cast(ops.cos(angles), inputs.dtype)[:, None, :]
        sin = ops.cast(ops.sin(angles), inputs.dtype)[:, None, :]
        first, second = ops.split(inputs, 2, axis=-1)
        return ops.concatenate(
            [first * cos - second * sin, second * cos + first * sin], axis=-1
        )

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "max_wavelength": self.max_wavelength}
