"""How a network is made again at another size.

Two ways, found by looking at the network: a class whose `get_config()` has the
sizes as fields is made again from its config; a plain Functional or Sequential
model, whose sizes are in its layers, has those changed.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.config_fields import (
    base,
    check_size,
    read,
    same_form,
    shrinks,
)
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.architecture.functional_resize import resized_layer_config
from kgrow.architecture.recipes import recipe_of, twin_of
from kgrow.architecture.size_forecast import check_imaginable
from kgrow.architecture.stable_paths import inherit_paths, stable_path
from kgrow.backend.lazy_variables import without_values
from kgrow.layers.masked.gates import Gates


class Architecture:
    """A network, the names of its axes, and how to make it larger.

    Args:
        axes: `AxisMap`.
        network: a built `keras.Model`.

    Attributes:
        frozen: `{path: Boolean mask}` of the entries that a growth let rest.
        update_scales: list of `UpdateScale`s of entries that learn slower than
            others.
        rate_factors: `{path: float}`, by which the optimizer's steps are
            multiplied since a growth with `learning_rate="transfer"`; 1
            for a variable that is not listed.
        first_copies: `Plan` of where the last growth left old entries, or
            the `GrowthError` that says why there is none; `None` before it.

    Raises:
        GrowthError: the axes do not fit the network, or no config field sets
            the size of a dimension.
    """

    def __init__(self, axes: AxisMap, network: keras.Model) -> None:
        self.axes = axes
        self.network = network
        self.frozen: dict[str, np.ndarray] = {}
        self.update_scales: list[Any] = []  # of `kgrow.growth`, above
        self.rate_factors: dict[str, float] = {}
        self.first_copies: Plan | GrowthError | None = None
        if not network.built:
            raise GrowthError(
                "The network has no weights yet, so there is nothing to grow. "
                "Call it on data, or `build()` it, first. Received: "
                f"{network.name!r}, unbuilt"
            )
        self.spec = read_spec(axes, network)

    def variables(self) -> list[tuple[str, tuple[int, ...]]]:
        """`[(path, shape)]` of the network's weights as they are now."""
        return _variables(self.network)

    @property
    def config(self) -> dict[str, Any]:
        """`{field: value}` for every field that can grow."""
        config = {}
        for part in self.axes.parts.values():
            field = base(part.field)
            value = _value(self.spec, part)
            if value is not None and field == part.field:
                config.setdefault(field, value)
            elif value is not None:
                config[field] = list(self.spec.config[field])
        for dim in self.spec.dims.values():
            if dim.top_k:
                config[dim.top_k] = self.spec.config[dim.top_k]
        return config

    def check(
        self, target_config: Mapping[str, Any], smaller: bool = False
    ) -> dict[str, Any]:
        """The whole config with the target's fields in it.

        Args:
            target_config: dict of the fields that change.
            smaller: whether the target is the smaller network, as in
                `project()`, and not the larger one.

        Raises:
            GrowthError: an unknown field, or a size that is no integer or
                changes the other way.
        """
        if not isinstance(target_config, dict):
            raise GrowthError(
                "`target_config` is a dict of the fields that change, such as "
                f"{{'hidden_dim': 192}}. Received: {target_config!r}"
            )
        current = self.config
        for field, value in target_config.items():
            if field not in current:
                raise GrowthError(
                    f"Cannot grow `{field}`{self._why_not(field)} Received: "
                    f"{field}={value!r}. Fields that grow: {current}"
                )
            value = check_size(field, value)
            if not same_form(value, current[field]):
                raise GrowthError(
                    f"`{field}` must have the form of {current[field]!r}, "
                    f"what it is now. Received: {field}={value!r}"
                )
            _check_direction(field, current[field], value, smaller)
        wanted = {f: check_size(f, v) for f, v in target_config.items()}
        config = {**current, **wanted}
        check_imaginable(self.spec, config)
        return config

    def _why_not(self, field):
        """The end of a message about a field that does not grow."""
        if field in self.axes.notes:
            return f": {'; '.join(self.axes.notes[field])}."
        near = difflib.get_close_matches(str(field), self.config, n=1)
        return f". Did you mean `{near[0]}`?" if near else "."

    @property
    def training_options(self) -> dict[str, Any]:
        """`{field: value}` of the options that change how the network trains
        and not what its weights are."""
        names = getattr(self.network, "training_options", ())
        config = self.network.get_config() if names else {}
        return {name: config[name] for name in names}

    def check_training_options(
        self, training_options: Mapping[str, Any]
    ) -> None:
        """Raises unless the network has all of these options."""
        known = self.training_options
        unknown = sorted(set(training_options) - set(known))
        if unknown:
            raise GrowthError(
                f"The network has no training option {unknown}. Received: "
                f"{training_options}. There are: {known}"
            )

    def build(
        self,
        config: Mapping[str, Any],
        options: Mapping[str, Any] | None = None,
    ) -> tuple[keras.Model, ModelSpec]:
        """A network of the sizes in `config`, its variables without values.

        Args:
            config: dict of sizes.
            options: dict of other fields of its config that change.

        Returns:
            `(network, spec)`.

        Raises:
            GrowthError: the network cannot be built so.
        """
        try:
            with without_values():
                network = self._make(config, dict(options or {}))
                if not network.built:
                    network.build_from_config(self.network.get_build_config())
                    network.built = True
        except GrowthError:
            raise
        except Exception as error:
            raise GrowthError(
                f"A network with {config} cannot be built: {error}"
            ) from error
        try:
            spec = read_spec(self.axes, network)
        except GrowthError as error:
            raise GrowthError(f"{error}{self._notes_on(config)}") from None
        for part in self.axes.parts.values():
            made, wanted = _value(spec, part), read(config, part.field)
            if made is not None and made != wanted:
                raise GrowthError(
                    f"The network was asked for {part.field}={wanted} and "
                    f"came out with {made}. If other fields decide it, ask "
                    f"for sizes that agree with them. Received: {config}"
                )
        self._check_fixed(spec, config)
        return network, spec

    def _check_fixed(self, target, config):
        """Raises if an axis would grow that has no dimension."""
        for path, new in target.variables.items():
            old = self.spec.variables.get(path)
            for axis, before, after in zip(
                new.axes,
                old.shape if old else new.shape,
                new.shape,
                strict=True,
            ):
                if not axis.dims and before != after:
                    notes = self._notes_on(config)
                    raise GrowthError(
                        f"{path!r} would grow from {old.shape} to {new.shape}, "
                        f"and its axes '{new.axes}' name no dimension there."
                        f"{notes} Received: {config}"
                    )

    def _notes_on(self, config):
        current = self.config
        found = [
            note
            for field, notes in self.axes.notes.items()
            if base(field) in config
            and config[base(field)] != current.get(base(field))
            for note in notes
        ]
        return f" What is known: {'; '.join(found)}." if found else ""

    def _make(self, config, options):
        cls, recipe = type(self.network), recipe_of(self.network)
        if recipe is not None:
            return recipe.make({**options, **config})
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
        network = cls.from_config(
            resized_layer_config(self.network, self.spec, sizes)
        )
        inherit_paths(network, self.network)
        return network


def _check_direction(field, old, new, smaller):
    if smaller and shrinks(old, new):
        raise GrowthError(
            f"`{field}` cannot grow in a projection: {old} -> {new}. "
            "`project()` goes back to a smaller network; use `grow()`."
        )
    if not smaller and shrinks(new, old):
        raise GrowthError(
            f"`{field}` cannot shrink: {old} -> {new}. "
            "Growth only increases dimensions; to make a smaller "
            "model, build a new one, or go back with `project()`."
        )


def _value(spec, part):
    """What the field of a `Dim` or `Stack` says: its value in the config, or
    else the size itself; `None` for a part that the network has not."""
    size = spec.sizes.get(part.name, spec.depths.get(part.name))
    value = read(spec.config, part.field)
    return size if value is None else value


def read_spec(axes: AxisMap, network: keras.Model) -> ModelSpec:
    """The `ModelSpec` of a built network."""
    recipe = recipe_of(network)
    config = {} if recipe is None else recipe.config
    weights = grown_weights(network)
    initializers = {
        relative_path(network, w): getattr(w, "_initializer", None)
        for w in weights
    }
    return axes.spec(_variables(network), config, initializers)


def _variables(network):
    weights = grown_weights(network)
    return [(relative_path(network, w), w.shape) for w in weights]


def grown_weights(network: keras.Model) -> list[keras.Variable]:
    """The weights of a network that plans map: all but what counts the steps
    of its gates."""
    counters = {
        id(counter)
        for layer in network._flatten_layers()
        if isinstance(layer, Gates)
        for counter in layer.counters
    }
    return [w for w in network.weights if id(w) not in counters]


def trainable_weights(network: keras.Model) -> dict[str, keras.Variable]:
    """`{path: weight}` of what training could change; statistics are not."""
    own = {
        id(variable)
        for layer in network._flatten_layers()
        for variable in layer._trainable_variables
    }
    return {
        relative_path(network, weight): weight
        for weight in grown_weights(network)
        if id(weight) in own
    }


def count_parameters(network: keras.Model) -> int:
    """How many numbers a network has learned or will."""
    return sum(math.prod(w.shape) for w in grown_weights(network))


def relative_path(network: keras.Model, variable: keras.Variable) -> str:
    """A variable's path from the network on, without the network's name; see
    `stable_path()`."""
    return stable_path(network, variable, lambda: twin_of(network))


def variable_paths(network: keras.Model) -> dict[int, str]:
    """`{id: path}` of a network's weights, see `relative_path()`."""
    return {id(w): relative_path(network, w) for w in grown_weights(network)}
