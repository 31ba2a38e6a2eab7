"""Learned absolute positions on a square grid."""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks


@keras.saving.register_keras_serializable("kgrow")
class GridPositionEmbedding(keras.layers.Layer):
    """A trainable vector for each place on a grid of rows and columns.

    Returns the vectors of the upper left part that the inputs cover, without a
    batch axis. The table keeps its rows and columns apart, so that a larger
    grid is the old one with more of both, or the old one stretched along both.

    Example:

    >>> layer = GridPositionEmbedding(grid_size=4)
    >>> layer(keras.ops.zeros((2, 3, 4, 8))).shape == (3, 4, 8)
    True

    Args:
        grid_size: int, the number of rows and of columns.
        embeddings_initializer: initializer of the table.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, rows, columns, features)`; only its shape is
        used. Optionally `gate`, a tensor with shape `(features,)` and values
        in `[0, 1]` that the vectors are multiplied by.

    Output shape:
        Tensor with shape `(rows, columns, features)`.

    Raises:
        GrowthError: `grid_size` is no positive integer, or the inputs have
            more rows or columns.

    Reference:

    - [Dosovitskiy et al., 2020](https://arxiv.org/abs/2010.11929), Sec. 3.1;
      the table there has one axis for rows and columns, and a row in front of
      it for the class token, which is `ClassToken`'s here.
    """

    def __init__(self, grid_size, embeddings_initializer="uniform", **kwargs):
        super().__init__(**kwargs)
        self.grid_size = argument_checks.integer("grid_size", grid_size)
        self.embeddings_initializer = keras.initializers.get(
            embeddings_initializer
        )

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.grid_size, self.grid_size, input_shape[-1]),
            initializer=self.embeddings_initializer,
        )

    def call(self, inputs, gate=None):
        rows, columns = inputs.shape[1:3]
        if max(rows, columns) > self.grid_size:
            raise GrowthError(
                "The inputs must not have more rows or columns than the grid: "
                "make the images smaller, or grow `image_size`. Received: "
                f"inputs of shape {tuple(inputs.shape)}, "
                f"grid_size={self.grid_size}"
            )
        x = ops.convert_to_tensor(self.embeddings)[:rows, :columns]
        return x if gate is None else x * ops.cast(gate, x.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[1:])

    def get_config(self):
        return {
            **super().get_config(),
            "grid_size": self.grid_size,
            "embeddings_initializer": keras.initializers.serialize(
                self.embeddings_initializer
            ),
        }
