"""A residual multilayer perceptron, growable."""

import keras

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.models.family import Family
from kgrow.models.mlp_network import MLPNetwork

_BLOCK = "layer_{layers}"


@keras.saving.register_keras_serializable("kgrow")
class MLP(Family):
    """A residual multilayer perceptron that grows, without norms.

    Maps `(batch, input_dim)` to `(batch, output_dim)` through `num_layers`
    blocks `x + W2 activation(W1 x + b1) + b2`. `hidden_dim`,
    `intermediate_dim` and `num_layers` grow, and `output_dim` by new outputs.

    Args:
        input_dim: int, number of features.
        output_dim: int, number of outputs.
        hidden_dim: int, width of the residual stream.
        intermediate_dim: int, width inside a block.
        num_layers: int, number of blocks.
        activation: activation inside a block.
        dropout: float in `[0, 1)`.
        name: optional string.
        dtype: optional dtype or dtype policy.

    Raises:
        GrowthError: a size is no positive integer.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=4, output_dim=2, hidden_dim=8,
    ...     intermediate_dim=16, num_layers=2)
    >>> model.grow({"hidden_dim": 11, "num_layers": 3}, seed=0).exact
    True
    """

    network_class = MLPNetwork
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

    def __init__(
        self,
        input_dim,
        output_dim,
        hidden_dim,
        intermediate_dim,
        num_layers,
        activation="relu",
        dropout=0.0,
        name=None,
        dtype=None,
    ):
        super().__init__(
            name=name,
            dtype=dtype,
            input_dim=input_dim,
            output_dim=output_dim,
            hidden_dim=hidden_dim,
            intermediate_dim=intermediate_dim,
            num_layers=num_layers,
            activation=activation,
            dropout=dropout,
        )
