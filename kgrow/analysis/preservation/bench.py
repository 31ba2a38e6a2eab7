"""A network and grown versions of it, with the difference of their outputs."""

import contextlib

import numpy as np

from kgrow import backend
from kgrow.analysis.preservation.small_transformer import (
    FEATURES,
    PLACEMENTS,
    SmallTransformer,
    axes,
)
from kgrow.architecture.architecture import (
    Architecture,
    grown_weights,
    relative_path,
)
from kgrow.architecture.output_check import difference
from kgrow.backend.lazy_variables import give_value, without_values
from kgrow.growth.gates import carry_gates, open_all

_BEFORE = {
    "hidden_dim": 8,
    "intermediate_dim": 16,
    "num_heads": 2,
    "num_layers": 2,
}
_MULTIPLE = {
    "hidden_dim": 16,
    "intermediate_dim": 32,
    "num_heads": 4,
    "num_layers": 4,
}
_ANY = {
    "hidden_dim": 12,
    "intermediate_dim": 24,
    "num_heads": 3,
    "num_layers": 3,
}
SIZES = {"multiple": _MULTIPLE, "any": _ANY}

# Fields that grow together; widths grow by one factor.
DIMS = {
    "hidden": ["hidden_dim"],
    "ffn": ["intermediate_dim"],
    "heads": ["num_heads"],
    "width": ["hidden_dim", "intermediate_dim", "num_heads"],
    "depth": ["num_layers"],
}

_SEED = 3


def growth(dim, size):
    """The config fields that grow, before and after.

    Example:

    >>> growth("heads", "any")
    ({'num_heads': 2}, {'num_heads': 3})
    """
    return tuple(
        {field: sizes[field] for field in DIMS[dim]}
        for sizes in (_BEFORE, SIZES[size])
    )


class Bench:
    """One small network with noise in every weight, and its larger versions.

    Networks are built when they are asked for, each once; what is measured
    next only changes their weights, so that nothing is compiled twice.

    Args:
        placement: `"pre-LN"`, `"post-LN"` or `"RMSNorm"`.
        dtype: `"float32"` or `"float64"`.

    Example:

    >>> bench = Bench("pre-LN", "float64")
    >>> bench.target("ffn", "any")[1].sizes["ffn"]
    24
    """

    def __init__(self, placement, dtype):
        self.placement = placement
        self.dtype = dtype
        norm, norm_first = PLACEMENTS[placement]
        with self.precision():
            with without_values():
                network = SmallTransformer(
                    norm=norm,
                    norm_first=norm_first,
                    name="network",
                    dtype=dtype,
                    **_BEFORE,
                )
            self.source = Architecture(axes(placement), _alive(network))
            self.values = _noise(self.source.spec, dtype)
            _assign(network, self.values)
            rng = np.random.default_rng(1)
            self.inputs = rng.standard_normal((4, 6, FEATURES)).astype(dtype)
            self.before = backend.forwarder(network)(self.inputs)
        self._targets = {}

    def precision(self):
        """Context to compute in."""
        if self.dtype == "float64":
            return backend.double_precision()
        return contextlib.nullcontext()

    def target(self, dim, size):
        """`(network, spec, outputs)` of the network grown along `dim`, where
        `outputs` is a function of inputs that is compiled once."""
        if (dim, size) not in self._targets:
            _, config = growth(dim, size)
            config = self.source.check(config)
            with self.precision():
                network, spec = self.source.build(config)
                outputs = backend.forwarder(_alive(network))
            self._targets[dim, size] = network, spec, outputs
        return self._targets[dim, size]

    def plan(self, strategy, dim, size):
        """The plan by which a strategy grows the network along `dim`.

        Raises:
            GrowthError: the strategy refuses.
        """
        _, spec, _ = self.target(dim, size)
        return strategy.plan(self.source.spec, spec, _SEED)

    def grow(self, plan, dim, size):
        """Gives the grown network its weights, and returns them."""
        network, _, _ = self.target(dim, size)
        with self.precision():
            grown = plan.apply(self.values)
            _assign(network, grown)
        return grown

    def difference(self, plan, dim, size):
        """How far the grown network's outputs lie from the small one's,
        relative to the largest."""
        self.grow(plan, dim, size)
        network, _, outputs = self.target(dim, size)
        with self.precision():
            if plan.gate is not None:
                carry_gates(network, self.source.network, plan)
                outputs = backend.forwarder(network)
            try:
                after = outputs(self.inputs)
            finally:
                open_all(network)
        return difference([self.before], [after], plan)[1]


def _alive(network):
    """The network with a value in every variable."""
    for variable in network.variables:
        give_value(variable, np.zeros(variable.shape, variable.dtype))
    backend.register_parameters(network)
    return network


def _assign(network, values):
    for weight in grown_weights(network):
        weight.assign(values[relative_path(network, weight)])


def _noise(spec, dtype):
    """Noise for every weight; gains and biases too, for zeros hide errors."""
    rng = np.random.default_rng(0)
    values = {}
    for path, variable in spec.variables.items():
        shape = variable.shape
        std = 0.4 if len(shape) < 2 else np.prod(shape[:-1]) ** -0.5
        mean = 1.0 if variable.axes.scale or variable.axes.elementwise else 0.0
        noise = mean + std * rng.standard_normal(shape)
        values[path] = noise.astype(dtype)
    return values
