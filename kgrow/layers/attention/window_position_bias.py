"""Relative position bias of window attention."""

import keras
import numpy as np
from keras import ops

from kgrow.layers import argument_checks


@keras.saving.register_keras_serializable("kgrow")
class WindowPositionBias(keras.layers.Layer):
    """A learned number for each head and each offset of two tokens.

    A window of `size` by `size` tokens has `(2 size - 1)²` offsets; the table
    holds one row for each, and a column for each head.

    Args:
        window_size: int, height and width of a window.
        num_heads: int.
        initializer: initializer of the table.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Returns:
        Tensor of shape `(num_heads, window_size², window_size²)`, to be added
        to the scores of queries (rows) and keys.

    Example:

    >>> layer = WindowPositionBias(window_size=2, num_heads=3)
    >>> layer().shape == (3, 4, 4), layer.table.shape == (9, 3)
    (True, True)

    Reference:

    - Liu et al., "Swin Transformer" (2103.14030), Eq. 4.
    """

    def __init__(
        self,
        window_size,
        num_heads,
        initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.window_size = argument_checks.integer("window_size", window_size)
        self.num_heads = argument_checks.integer("num_heads", num_heads)
        self.initializer = keras.initializers.get(initializer)
        self._offsets = _offsets(self.window_size)
        self.build()

    def build(self, input_shape=None):
        del input_shape
        if self.built:
            return
        self.table = self.add_weight(
            name="table",
            shape=((2 * self.window_size - 1) ** 2, self.num_heads),
            initializer=self.initializer,
        )
        self.built = True

    def call(self, inputs=None):
        del inputs
        bias = ops.take(self.table, self._offsets.ravel(), axis=0)
        bias = ops.reshape(bias, (*self._offsets.shape, self.num_heads))
        return ops.transpose(bias, (2, 0, 1))

    def compute_output_spec(self, inputs=None):
        length = self.window_size**2
        return keras.KerasTensor(
            (self.num_heads, length, length), dtype=self.compute_dtype
        )

    def get_config(self):
        return {
            **super().get_config(),
            "window_size": self.window_size,
            "num_heads": self.num_heads,
            "initializer": keras.initializers.serialize(self.initializer),
        }


def _offsets(size):
    """Row of the table for each pair of tokens, `(size², size²)`."""
    places = np.stack(np.divmod(np.arange(size**2), size))
    row, column = places[:, :, None] - places[:, None, :] + size - 1
    return (row * (2 * size - 1) + column).astype("int32")
