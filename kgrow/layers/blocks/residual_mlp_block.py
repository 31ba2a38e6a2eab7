"""The block of a residual multilayer perceptron."""

import keras

from kgrow.layers import argument_checks
from kgrow.layers.dropout import Dropout
from kgrow.layers.float64 import float64_exact
from kgrow.layers.masked.dense import MaskedDense


@keras.saving.register_keras_serializable("kgrow")
class ResidualMLPBlock(keras.layers.Layer):
    """Two dense layers on a residual branch, without normalisation.

    `outputs = inputs + W2 activation(W1 inputs + b1) + b2`

    Example:

    >>> block = ResidualMLPBlock(intermediate_dim=16)
    >>> block(keras.ops.zeros((2, 8))).shape == (2, 8)
    True

    Args:
        intermediate_dim: int, the width between the two dense layers.
        activation: activation between them.
        dropout: float in `[0, 1)`, the rate at the end of the branch.
        kernel_initializer: initializer of both kernels.
        **kwargs: of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, features)`, and optionally `gates`, a dict
        as `Gates` makes it, of which `"hidden"` and `"ffn"` are used.

    Output shape:
        The same.

    Raises:
        ValueError: `intermediate_dim` is not a positive integer or `dropout`
            is not in `[0, 1)`.
    """

    def __init__(
        self,
        intermediate_dim,
        activation="relu",
        dropout=0.0,
        kernel_initializer="glorot_uniform",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.intermediate_dim = argument_checks.integer(
            "intermediate_dim", intermediate_dim
        )
        self.activation = keras.activations.get(activation)
        self.dropout = argument_checks.rate("dropout", dropout)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    def build(self, input_shape):
        self.intermediate_dense = MaskedDense(
            self.intermediate_dim,
            activation=self.activation,
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="intermediate_dense",
        )
        self.intermediate_dense.build(input_shape)
        self.output_dense = MaskedDense(
            input_shape[-1],
            kernel_initializer=argument_checks.fresh(self.kernel_initializer),
            dtype=self.dtype_policy,
            name="output_dense",
        )
        self.output_dense.build((*input_shape[:-1], self.intermediate_dim))
        self.output_dropout = Dropout(
            self.dropout, dtype=self.dtype_policy, name="output_dropout"
        )
        self.output_dropout.build(input_shape)

    @float64_exact
    def call(self, inputs, training=None, gates=None):
        gates = gates or {}
        x = self.intermediate_dense(inputs, gate=gates.get("ffn"))
        # Nothing is normalised, so the stream is masked where it is made.
        x = self.output_dense(x, gate=gates.get("hidden"))
        return inputs + self.output_dropout(x, training=training)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "intermediate_dim": self.intermediate_dim,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "kernel_initializer": keras.initializers.serialize(
                self.kernel_initializer
            ),
        }
