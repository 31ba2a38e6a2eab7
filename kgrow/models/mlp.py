"""A residual multilayer perceptron."""

import keras
import numpy as np

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.layers import MaskedDense, ResidualMLPBlock, argument_checks
from kgrow.layers.blocks.block_stack import run_blocks
from kgrow.models.example import Example
from kgrow.models.family import Family
from kgrow.models.network import Network
from kgrow.models.registry import register

_BLOCK = "layer_{layers}"


class MLPNetwork(Network):
    """The network of `MLP`, which documents its arguments.

    Its variables exist as soon as it is constructed.

    Args:
        gates: list of `Gate`s or of their configs, written by `grow()`.
        **kwargs: of `keras.Model`, such as `name` and `dtype`.
    """

    axes = AxisMap(
        {
            "input_dense/kernel": "_ -> hidden",
            "input_dense/bias": "-> hidden",
            f"{_BLOCK}/intermediate_dense/kernel": "hidden -> ffn",
            f"{_BLOCK}/intermediate_dense/bias": "-> ffn",
            f"{_BLOCK}/output_dense/kernel": "ffn -> hidden | residual_out",
            f"{_BLOCK}/output_dense/bias": "-> hidden | residual_out",
            "output_dense/kernel": "hidden -> outputs",
            "output_dense/bias": "-> outputs",
        },
        dims=[
            Dim("hidden", "hidden_dim", kind="stream"),
            Dim("ffn", "intermediate_dim"),
            Dim("outputs", "output_dim", kind="lookup"),
        ],
        stacks=[BlockStack("layers", "num_layers", norm="pre")],
        outputs="_ -> outputs",
    )

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
        self.finish(gates)

    def get_config(self):
        activation = keras.activations.serialize(self.activation)
        return {**super().get_config(), "activation": activation}

    def build(self, input_shape=None):
        stream = (None, self.hidden_dim)
        self.input_dense.build((None, self.input_dim))
        for layer in self.residual_layers:
            layer.build(stream)
        self.output_dense.build(stream)

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


@register("vectors")
class MLP(Family):
    """A residual multilayer perceptron that grows, without norms.

    Stacks `num_layers` blocks `x + W2 activation(W1 x + b1) + b2` between two
    dense layers: the smallest network with a residual stream, a hidden layer
    and a depth. `hidden_dim`, `intermediate_dim` and `num_layers` grow, and
    `output_dim` by new outputs.

    Args:
        input_dim: int, the number of input features.
        output_dim: int, the number of outputs.
        hidden_dim: int, the width of the residual stream.
        intermediate_dim: int, the width inside a block.
        num_layers: int, the number of blocks; may be 0.
        activation: activation inside a block.
        dropout: float in `[0, 1)`, the rate at the end of each branch.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Input shape:
        Tensor with shape `(batch, input_dim)`.

    Output shape:
        Tensor with shape `(batch, output_dim)`.

    Raises:
        GrowthError: a size is no positive integer, or `dropout` is not in
            `[0, 1)`.

    Example:

    >>> import keras
    >>> model = MLP(input_dim=4, output_dim=2, hidden_dim=8,
    ...     intermediate_dim=16, num_layers=2)
    >>> model(keras.ops.ones((3, 4))).shape == (3, 2)
    True
    >>> model.grow({"hidden_dim": 11, "num_layers": 3}, seed=0).exact
    True
    """

    network_class = MLPNetwork
    example = Example(
        sizes={
            "input_dim": 6,
            "output_dim": 7,
            "hidden_dim": 8,
            "intermediate_dim": 10,
            "num_layers": 2,
            "dropout": 0.0,
        },
        exact={"hidden_dim": 11, "num_layers": 3},
        gated={"intermediate_dim": 13},
    )
