"""Learned absolute positions."""

import keras

from kgrow.layers import argument_checks


@keras.saving.register_keras_serializable("kgrow")
class PositionEmbedding(keras.layers.Layer):
    """A trainable vector for each position of a sequence.

    Returns the vectors of the first `length` positions, without a batch axis:
    they broadcast when they are added to the embedded tokens.

    Example:

    >>> layer = PositionEmbedding(max_sequence_length=16)
    >>> layer(keras.ops.zeros((2, 10, 4))).shape == (10, 4)
    True

    Args:
        max_sequence_length: int, the number of positions.
        embeddings_initializer: initializer of the table.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, length, features)`; only its shape is used.
        Optionally `gate`, a tensor with shape `(features,)` and values in
        `[0, 1]` that the vectors are multiplied by.

    Output shape:
        Tensor with shape `(length, features)`.

    Reference:

    - [Devlin et al., 2019](https://arxiv.org/abs/1810.04805)
    """

    def __init__(
        self, max_sequence_length, embeddings_initializer="uniform", **kwargs
    ):
        super().__init__(**kwargs)
        self.max_sequence_length = argument_checks.integer(
            "max_sequence_length", max_sequence_length
        )
        self.embeddings_initializer = keras.initializers.get(
            embeddings_initializer
        )

    def build(self, input_shape):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.max_sequence_length, input_shape[-1]),
            initializer=self.embeddings_initializer,
        )

    def call(self, inputs, gate=None):
        length = keras.ops.shape(inputs)[1]
        if isinstance(length, int) and length > self.max_sequence_length:
            raise ValueError(
                "The inputs must not be longer than `max_sequence_length`: "
                "shorten them, or grow `max_sequence_length`. "
                f"Received: inputs of length {length}, "
                f"max_sequence_length={self.max_sequence_length}"
            )
        x = keras.ops.convert_to_tensor(self.embeddings)[:length]
        return x if gate is None else x * keras.ops.cast(gate, x.dtype)

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[1:])

    def get_config(self):
        return {
            **super().get_config(),
            "max_sequence_length": self.max_sequence_length,
            "embeddings_initializer": keras.initializers.serialize(
                self.embeddings_initializer
            ),
        }
