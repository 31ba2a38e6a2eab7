"""The networks of families: their fields, their axes and their gates."""

import inspect

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.backend.scopes import relative_to
from kgrow.layers import Gates
from kgrow.layers.float64 import float64_exact


class Network(keras.Model):
    """Base class of the networks of families.

    A subclass names every layer and writes the axes of its variables down in
    `axes`. Its constructor keeps each argument as an attribute of the same
    name and ends with `self.finish(gates)`, which builds the network. From
    then on `self.gates(training=training)` is a dict with a mask, or `None`,
    for every dimension and every stack of the axes; `call()` hands them to the
    layers. In a network of dtype float64 it computes in float64, which Keras'
    own layers do not on every backend.

    Args:
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Attributes:
        axes: `AxisMap`. Where arguments decide more than sizes, `make_axes()`
            returns the network's own.
        training_options: names of the arguments that change how it trains and
            leave its weights as they are.

    Raises:
        GrowthError: an argument is not kept, or a variable has no axes.

    Example:

    >>> import kgrow
    >>> network = kgrow.models.MLP.small().network
    >>> isinstance(network, Network)
    True
    >>> sorted(network.gates(training=False))
    ['ffn', 'hidden', 'layers']
    """

    axes = None
    training_options = ()

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if "call" in vars(cls):
            cls.call = float64_exact(cls.call)

    @classmethod
    def field_parameters(cls):
        """The constructor's parameters that are fields of the config: all but
        `gates` and those of `keras.Model`.

        Raises:
            GrowthError: it has none of its own, or takes `*args`.
        """
        parameters = inspect.signature(cls.__init__).parameters.values()
        if any(p.kind == p.VAR_POSITIONAL for p in parameters):
            raise GrowthError(
                f"`{cls.__name__}` must have a constructor that names its "
                "arguments, for they are the fields of its config. Received: "
                f"{cls.__name__}{inspect.signature(cls.__init__)}"
            )
        return [
            p
            for p in list(parameters)[1:]
            if p.kind != p.VAR_KEYWORD and p.name != "gates"
        ]

    def make_axes(self):
        """The `AxisMap` of this network: `axes`, unless arguments decide more
        than sizes, such as the number of stages."""
        return self.axes

    def get_config(self):
        return {
            **super().get_config(),
            **self._fields(),
            "gates": self.gates.get_config()["active_gates"],
        }

    def _fields(self):
        """`{argument: its value}`; lists as they are without Keras' tracking.

        Raises:
            GrowthError: an argument has no attribute of its name.
        """
        names = [parameter.name for parameter in self.field_parameters()]
        missing = [name for name in names if not hasattr(self, name)]
        if missing:
            raise GrowthError(
                f"`{type(self).__name__}` must keep each argument of its "
                "constructor as an attribute of the same name. Received: a "
                f"constructor with {names}, of which {missing} are no "
                f"attributes. Write `self.{missing[0]} = {missing[0]}`."
            )
        values = {name: getattr(self, name) for name in names}
        return {
            name: list(value) if isinstance(value, (list, tuple)) else value
            for name, value in values.items()
        }

    def finish(self, gates):
        """Builds the network and makes its gates, at a constructor's end.

        Args:
            gates: list of `Gate`s, or of their configs.
        """
        fields = self._fields()
        # Before `build()`, after which Keras takes no further layers.
        self.gates = Gates({}, name="gates")
        self.build()
        variables = [(relative_to(self, w.path), w.shape) for w in self.weights]
        axes = self.make_axes()
        self.gates.set_sizes(gate_sizes(axes, axes.spec(variables, fields)))
        self.gates.set_active_gates(gates)


def gate_sizes(axes, spec):
    """The sizes of the gates: of every stack, and of every dimension but those
    whose entries have places of their own.

    Args:
        axes: `AxisMap`.
        spec: `ModelSpec` of a network with these axes. A dimension of blocks
            alone has no size, 0, while there are none.

    Example:

    >>> import kgrow
    >>> axes = kgrow.AxisMap({"b{layers}/kernel": "_ -> units"})
    >>> gate_sizes(axes, axes.spec([("b0/kernel", (2, 3))], {}))
    {'units': 3, 'layers': 1}
    """
    dims = [name for name, dim in axes.dims.items() if not dim.is_placed]
    return {**{dim: spec.sizes.get(dim, 0) for dim in dims}, **spec.depths}
