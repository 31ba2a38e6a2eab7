"""A block that takes its place gradually."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kgrow")
class MaskedResidual(keras.layers.Layer):
    """Interpolates between a block's input and its output.

    `gate * block(x) + (1 - gate) * x`: with a shut gate the block is skipped,
    with an open one the block is applied, whether it holds residual
    branches of its own or not. Without a gate it hands the block's outputs on.

    Args:
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Call arguments:
        inputs: list of two tensors of one shape, what went into the block and
            what came out.
        gate: optional scalar tensor in `[0, 1]`.

    Example:

    >>> x, y = keras.ops.zeros((1, 2)), keras.ops.ones((1, 2))
    >>> MaskedResidual()([x, y], gate=keras.ops.convert_to_tensor(0.25)
    ...     ).tolist()
    [[0.25, 0.25]]

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Eq. 20.
    """

    def build(self, input_shape=None):
        self.built = True

    def call(self, inputs, gate=None):
        x, outputs = inputs
        return outputs if gate is None else self.merge(x, outputs, gate)

    @staticmethod
    def merge(x, outputs, gate):
        """The same computation as a function, for blocks kept in a list."""
        gate = ops.cast(gate, outputs.dtype)
        return gate * outputs + (1.0 - gate) * x

    def compute_output_shape(self, input_shape):
        return input_shape[1]
