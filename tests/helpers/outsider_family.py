"""A family written outside the package: its network, and one decorator.

Importing this module registers it, and pytest can (`-p
helpers.outsider_family`).
"""

import keras
import numpy as np

from kgrow import AxisMap, Dim
from kgrow.layers import MaskedDense
from kgrow.models import Example, Family, Network, register


class PerceptronNetwork(Network):
    """The network of `Perceptron`, which documents its arguments."""

    axes = AxisMap(
        {
            "inner/kernel": "_ -> units",
            "inner/bias": "-> units",
            "outer/kernel": "units -> _",
            "outer/bias": "-> _",
        },
        dims=[Dim("units", "num_units")],
    )

    def __init__(
        self, num_features, num_units, num_outputs=2, gates=(), **kwargs
    ):
        super().__init__(**kwargs)
        self.num_features = num_features
        self.num_units = num_units
        self.num_outputs = num_outputs
        options = {"dtype": self.dtype_policy}
        self.inner = MaskedDense(
            num_units, activation="relu", name="inner", **options
        )
        self.outer = keras.layers.Dense(num_outputs, name="outer", **options)
        self.finish(gates)

    def build(self, input_shape=None):
        self.inner.build((None, self.num_features))
        self.outer.build((None, self.num_units))

    def call(self, inputs, training=None):
        gates = self.gates(training=training)
        return self.outer(self.inner(inputs, gate=gates["units"]))

    def example_inputs(self, batch_size, seed=0):
        rng = np.random.default_rng(seed)
        shape = (batch_size, self.num_features)
        return rng.standard_normal(shape).astype("float32")


@register("vectors")
class Perceptron(Family):
    """One layer of rectified units that grow.

    Args:
        num_features: int, the number of input features.
        num_units: int, the number of units.
        num_outputs: int, the number of outputs.
        name: optional string.
        dtype: optional dtype or dtype policy.
    """

    network_class = PerceptronNetwork
    example = Example(
        sizes={"num_features": 3, "num_units": 4},
        exact={"num_units": 7},
        gated={"num_units": 9},
    )
