"""A layer that adds a bias vector."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kgrow")
class Bias(keras.layers.Layer):
    """Adds a trainable vector along the last axis.

    For outputs of a tied projection, which has no variables of its own.

    Example:

    >>> Bias()(keras.ops.zeros((2, 3))).shape == (2, 3)
    True

    Args:
        bias_initializer: initializer of the vector.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(..., features)`.

    Output shape:
        The same.
    """

    def __init__(self, bias_initializer="zeros", **kwargs):
        super().__init__(**kwargs)
        self.bias_initializer = keras.initializers.get(bias_initializer)

    def build(self, input_shape):
        self.bias = self.add_weight(
            name="bias",
            shape=(input_shape[-1],),
            initializer=self.bias_initializer,
        )

    def call(self, inputs):
        return inputs + ops.cast(self.bias, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "bias_initializer": keras.initializers.serialize(
                self.bias_initializer
            ),
        }
