"""A trainable factor for each feature of a residual branch."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kgrow")
class LayerScale(keras.layers.Layer):
    """Multiplies each feature by a trainable factor.

    At the end of a residual branch, with factors that start small, it lets
    deep networks begin as nearly the identity; with zeros the block is the
    identity.

    Example:

    >>> LayerScale(init_value=0.5)(keras.ops.ones((1, 2))).tolist()
    [[0.5, 0.5]]

    Args:
        init_value: float, what every factor starts as.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(..., features)`.

    Output shape:
        The same.

    Reference:

    - [Touvron et al., 2021](https://arxiv.org/abs/2103.17239), Sec. 2
    """

    def __init__(self, init_value=1e-5, **kwargs):
        super().__init__(**kwargs)
        self.init_value = float(init_value)

    def build(self, input_shape):
        self.gamma = self.add_weight(
            name="gamma",
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.init_value),
        )

    def call(self, inputs):
        return inputs * ops.cast(self.gamma, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "init_value": self.init_value}
