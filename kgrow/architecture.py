"""How a network is made again at another size.

Two ways, found by looking at the network: a class whose `get_config()` has the
sizes as fields is made again from its config; a plain Functional or Sequential
model, whose sizes stand in its layers, has those changed.
"""

import difflib
import numbers

import keras
from keras.src.models.functional import Functional

from kgrow.deferred import without_values
from kgrow.errors import GrowthError
from kgrow.rebuild import resized_layer_config


class Architecture:
    """A network, the names of its axes, and how to make it larger.

    Args:
        axes: `AxisMap`.
        network: a built `keras.Model`.

    Attributes:
        frozen: `{path: Boolean mask}` of the entries that a growth let rest.

    Raises:
        GrowthError: the axes do not fit the network, or no config field sets
            the size of a dimension.
    """

    def __init__(self, axes, network):
        self.axes = axes
        self.network = network
        self.frozen = {}
        if not network.built:
            raise GrowthError(
                "The network has no weights yet, so there is nothing to grow. "
                "Call it on data, or `build()` it, first. Received: "
                f"{network.name!r}, unbuilt"
            )
        self.spec = read_spec(axes, network)

    @property
    def config(self):
        """`{field: value}` for every field that can grow."""
        config = {}
        for field, parts in self.axes.fields.items():
            for part in parts:
                size = self.spec.sizes.get(part, self.spec.depths.get(part))
                size = self.spec.config.get(field, size)
                if size is not None:
                    config[field] = size
        return config

    def check(self, target_config):
        """The whole config with the target's fields in it.

        Raises:
            GrowthError: an unknown field, or a size that is no integer or
                smaller than what there is.
        """
        if not isinstance(target_config, dict):
            raise GrowthError(
                "`target_config` is a dict of the fields that change, such as "
                f"{{'hidden_dim': 192}}. Received: {target_config!r}"
            )
        current = self.config
        for field, value in target_config.items():
            if field not in current:
                near = difflib.get_close_matches(str(field), current, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
                raise GrowthError(
                    f"Cannot grow `{field}`.{hint} Received: "
                    f"{field}={value!r}. Fields that grow: {current}"
                )
            if isinstance(value, bool) or not isinstance(
                value, numbers.Integral
            ):
                raise GrowthError(
                    f"`{field}` must be an integer. Received: "
                    f"{field}={value!r} (of type {type(value).__name__})"
                )
            if value < current[field]:
                raise GrowthError(
                    f"`{field}` cannot shrink: {current[field]} -> {value}. "
                    "Growth only increases dimensions; to make a smaller "
                    "model, build a new one."
                )
        return {**current, **{f: int(v) for f, v in target_config.items()}}

    def build(self, config):
        """A network of the sizes in `config`, its variables without values.

        Returns:
            `(network, spec)`.

        Raises:
            GrowthError: the network cannot be built so.
        """
        try:
            with without_values():
                network = self._make(config)
                if not network.built:
                    network.build_from_config(self.network.get_build_config())
                    network.built = True
        except GrowthError:
            raise
        except Exception as error:
            raise GrowthError(
                f"A network with {config} cannot be built: {error}"
            ) from error
        spec = read_spec(self.axes, network)
        for field, value in config.items():
            for part in self.axes.fields[field]:
                size = spec.sizes.get(part, spec.depths.get(part))
                if spec.config.get(field, size) != value:
                    raise GrowthError(
                        f"The network was asked for {field}={value} and came "
                        f"out with {spec.config.get(field, size)}. If other "
                        "fields decide it, ask for sizes that agree with "
                        f"them. Received: {config}"
                    )
        return network, spec

    def _make(self, config):
        cls = type(self.network)
        if not _is_plain(self.network):
            return cls.from_config({**self.network.get_config(), **config})
        if set(config) & {s.field for s in self.spec.stacks.values()}:
            unchanged = self.config
            for stack in self.spec.stacks.values():
                if config[stack.field] != unchanged[stack.field]:
                    raise GrowthError(
                        f"`{stack.field}` cannot grow: a {cls.__name__} model "
                        "has no recipe for another block. Write the network "
                        "as a `keras.Model` subclass with the depth in its "
                        "config."
                    )
        sizes = {
            part: config[field]
            for field, parts in self.axes.fields.items()
            for part in parts
            if part in self.spec.sizes
        }
        return cls.from_config(
            resized_layer_config(self.network, self.spec, sizes)
        )


def read_spec(axes, network):
    """The `ModelSpec` of a built network."""
    config = {} if _is_plain(network) else network.get_config()
    variables = [(relative_path(network, w), w.shape) for w in network.weights]
    initializers = {
        relative_path(network, w): getattr(w, "_initializer", None)
        for w in network.weights
    }
    return axes.spec(variables, config, initializers)


def relative_path(network, variable):
    """A variable's path from the network on, without the network's name."""
    return variable.path.removeprefix(f"{network.name}/")


def variable_paths(network):
    """`{id: path}` of a network's weights, see `relative_path()`."""
    return {id(w): relative_path(network, w) for w in network.weights}


def _is_plain(network):
    """Whether the sizes of the network stand in its layers, not in fields."""
    return type(network) in (Functional, keras.Sequential)
