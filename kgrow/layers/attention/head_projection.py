"""A linear map over the heads of an attention."""

import keras
from keras import ops

from kgrow.layers import argument_checks


@keras.saving.register_keras_serializable("kgrow")
class HeadProjection(keras.layers.Layer):
    """Makes every head of all heads, at each query and key alike.

    `outputs[m] = sum_n inputs[n] kernel[n, m] + bias[m]`. The stock
    `EinsumDense` adds such a bias wrongly on TensorFlow where there are as
    many keys as heads, taking the last axis for that of the bias.

    Example:

    >>> HeadProjection()(keras.ops.zeros((1, 2, 3, 3))).shape == (1, 2, 3, 3)
    True

    Args:
        kernel_initializer: initializer of the kernel.
        bias_initializer: initializer of the bias.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: tensor of shape `(batch, heads, queries, keys)`.
        gate: optional tensor of shape `(heads,)` with values in `[0, 1]` that
            the inputs are multiplied by.

    Returns:
        Tensor of the shape of the inputs.

    Reference:

    - [Shazeer et al., 2020](https://arxiv.org/abs/2003.02436)
    """

    def __init__(
        self,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.supports_masking = True

    def build(self, input_shape):
        heads = input_shape[1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(heads, heads),
            initializer=argument_checks.fresh(self.kernel_initializer),
        )
        self.bias = self.add_weight(
            name="bias",
            shape=(heads,),
            initializer=argument_checks.fresh(self.bias_initializer),
        )

    def call(self, inputs, gate=None):
        x = inputs
        if gate is not None:
            x = x * ops.cast(ops.reshape(gate, (-1, 1, 1)), x.dtype)
        x = ops.einsum("bnts,nm->bmts", x, self.kernel)
        # By the tensor's own operator, not `ops.add`, see above.
        return x + ops.reshape(ops.convert_to_tensor(self.bias), (-1, 1, 1))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
            "bias_initializer": keras.initializers.serialize(
                self.bias_initializer
            ),
        }
