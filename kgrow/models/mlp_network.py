"""A residual multilayer perceptron as one Keras model."""

import keras
import numpy as np

from kgrow.layers import Gates, MaskedDense, ResidualMLPBlock, argument_checks
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.layers.float64 import float64_exact


@keras.saving.register_keras_serializable("kgrow")
class MLPNetwork(keras.Model):
    """A stack of residual two-layer blocks between two dense layers.

    `x + W2 activation(W1 x + b1) + b2` in each block, nothing normalised: the
    smallest network that has a residual stream, a hidden layer and a depth.
    Its variables exist as soon as it is constructed.

    Example:

    >>> network = MLPNetwork(
    ...     input_dim=4,
    ...     output_dim=2,
    ...     hidden_dim=8,
    ...     intermediate_dim=16,
    ...     num_layers=2,
    ... )
    >>> network(keras.ops.ones((3, 4))).shape == (3, 2)
    True

    Args:
        input_dim: int, the number of input features.
        output_dim: int, the number of outputs.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width inside a block.
        num_layers: int, the number of blocks; may be 0.
        activation: activation inside a block.
        dropout: float in `[0, 1)`, the rate at the end of each branch.
        gates: list of `Gate`s or of their configs, what growths keep
            behind gates that are still opening; written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Input shape:
        Tensor with shape `(batch, input_dim)`.

    Output shape:
        Tensor with shape `(batch, output_dim)`.

    Raises:
        ValueError: a size is not a positive integer, or `dropout` is not in
            `[0, 1)`.
    """

    # Options that change how it trains and not what its weights are.
    training_options = ("dropout",)

    def __init__(
        self,
        input_dim,
        output_dim,
        hidden_dim,
        intermediate_dim,
        num_layers,
        activation="relu",
        dropout=0.0,
        gates=(),
        **kwargs,
    ):
        super().__init__(**kwargs)
        integer = argument_checks.integer
        self.input_dim = integer("input_dim", input_dim)
        self.output_dim = integer("output_dim", output_dim)
        self.hidden_dim = integer("hidden_dim", hidden_dim)
        self.intermediate_dim = integer("intermediate_dim", intermediate_dim)
        self.num_layers = integer("num_layers", num_layers, minimum=0)
        self.activation = keras.activations.get(activation)
        self.dropout = argument_checks.rate("dropout", dropout)

        self.input_dense = MaskedDense(
            self.hidden_dim, dtype=self.dtype_policy, name="input_dense"
        )
        self.residual_layers = [
            ResidualMLPBlock(
                self.intermediate_dim,
                activation=self.activation,
                dropout=self.dropout,
                dtype=self.dtype_policy,
                name=f"layer_{i}",
            )
            for i in range(self.num_layers)
        ]
        self.output_dense = keras.layers.Dense(
            self.output_dim, dtype=self.dtype_policy, name="output_dense"
        )
        self.gates = Gates(
            {
                "hidden": self.hidden_dim,
                "ffn": self.intermediate_dim,
                "layers": self.num_layers,
            },
            gates,
            name="gates",
        )
        self.build()

    def build(self, input_shape=None):
        stream = (None, self.hidden_dim)
        self.input_dense.build((None, self.input_dim))
        for layer in self.residual_layers:
            layer.build(stream)
        self.output_dense.build(stream)

    @float64_exact
    def call(self, inputs, training=None):
        gates = self.gates(training=training)
        x = self.input_dense(inputs, gate=gates["hidden"])
        x = run_blocks(
            self.residual_layers,
            x,
            training=training,
            gate=gates["layers"],
            gates=gates,
        )
        return self.output_dense(x)

    def example_inputs(self, batch_size, seed=0):
        """Random features, `(batch_size, input_dim)`, for comparing
        outputs."""
        rng = np.random.default_rng(seed)
        shape = (batch_size, self.input_dim)
        return rng.standard_normal(shape).astype("float32")

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(
            (*inputs.shape[:-1], self.output_dim), dtype=self.compute_dtype
        )

    def get_config(self):
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "hidden_dim": self.hidden_dim,
            "intermediate_dim": self.intermediate_dim,
            "num_layers": self.num_layers,
            "activation": keras.activations.serialize(self.activation),
            "dropout": self.dropout,
            "gates": self.gates.get_config()["active_gates"],
        }
