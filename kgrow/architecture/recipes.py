"""How a network is made again with other sizes in its config.

A class whose `get_config()` has the sizes as fields is made from its config; a
function that builds a network is called again. Other recipes are registered
by the packages that know such networks.
"""

import importlib
import numbers

import keras
import numpy as np

from kgrow.algebra.config_fields import check_size
from kgrow.algebra.deserialization import registered_function
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plain_data import plain
from kgrow.architecture.nested_config import closed, opened
from kgrow.architecture.stable_paths import counted_names
from kgrow.backend.keras_internals import (
    Functional,
    functional_like_constructor,
    set_untracked,
)
from kgrow.backend.lazy_variables import without_values

# Attribute of a network that holds the function that built it.
_MARK = "growth_recipe"


# Recipes by the kind that their `source()` names, and those that are chosen by
# what a network is, `(function, class)`.
_RECIPES, _RECOGNIZED = {}, []


def register_recipe(kind, recognizes=None):
    """Class decorator: makes a recipe known.

    A recipe has `config`, a dict of fields; `make(fields)`; `source()`, data
    that JSON can hold, with `kind`, `module` and `name`; and the class method
    `from_source(found, source)`, which makes it again from the class or the
    function found there.

    Args:
        kind: string, unique.
        recognizes: optional function of a network, whether this recipe makes
            it; the class then takes the network.
    """

    def add(cls):
        _RECIPES[kind] = cls
        if recognizes is not None:
            _RECOGNIZED.append((recognizes, cls))
        return cls

    return add


def recipe_of(network):
    """The recipe that a network is made by, or `None` for a plain Functional
    or Sequential model, whose sizes are in its layers."""
    recipe = vars(network).get(_MARK)
    if recipe is not None:
        return recipe
    if is_plain(network):
        return None
    for recognizes, recipe in _RECOGNIZED:
        if recognizes(network):
            return recipe(network)
    return ClassRecipe(network)


def load_recipe(source, module=None):
    """The recipe that `source()` of another process described.

    Args:
        source: dict.
        module: optional module that has the class or function; by default the
            one that `source` names.

    Raises:
        GrowthError: the class or the function is not where it was.
    """
    found = module or importlib.import_module(source["module"])
    for name in source["name"].split("."):
        found = getattr(found, name, None)
    if found is None:
        raise GrowthError(
            f"There is no {source['name']!r} in {source['module']!r}."
        )
    return _RECIPES[source["kind"]].from_source(found, source)


def is_plain(network):
    """Whether it is a Functional or Sequential model, or of a subclass that
    only adds methods: its config lists its layers."""
    cls = type(network)
    if issubclass(cls, keras.Sequential):
        return cls.__init__ is keras.Sequential.__init__
    return (
        issubclass(cls, Functional)
        and functional_like_constructor(cls)
        and cls.get_config is Functional.get_config
    )


def twin_of(network):
    """A network like the given one, made anew and without values, or `None`
    if there is no recipe for it or it is not built at once."""
    recipe = recipe_of(network)
    # Our own networks name all their layers.
    if recipe is None or type(network).__module__.startswith("kgrow."):
        return None
    try:
        with without_values():
            twin = recipe.make({})
    except Exception:
        # Ignore build errors here; `grow()` reports them.
        return None
    return twin if twin.built else None


@register_recipe("class")
class ClassRecipe:
    """A network that is made from its config.

    Args:
        network: a `keras.Model`.
    """

    def __init__(self, network):
        self.network_class = type(network)
        self.config = opened(network.get_config())

    @classmethod
    def from_source(cls, found, source):
        recipe = object.__new__(cls)
        recipe.network_class = found
        config = keras.saving.deserialize_keras_object(source["config"])
        recipe.config = opened(
            {
                name: keras.saving.serialize_keras_object(value)
                if isinstance(value, keras.Model)
                else value
                for name, value in config.items()
            }
        )
        return recipe

    @property
    def has_fields(self):
        """Whether the config has more in it than every Keras model's."""
        return bool(set(self.config) - {"name", "trainable", "dtype"})

    def make(self, fields):
        """A network with the given fields in its config."""
        with counted_names() as remember:
            return remember(self.remade(fields))

    def remade(self, fields):
        """The same under the names that Keras goes on to make up."""
        config = closed({**self.config, **fields})
        return self.network_class.from_config(config)

    def source(self):
        """Data that JSON can hold, and that `load_recipe()` reads."""
        return {
            "kind": "class",
            "module": self.network_class.__module__,
            "name": self.network_class.__qualname__,
            "config": keras.saving.serialize_keras_object(closed(self.config)),
        }


@register_recipe("function")
@keras.saving.register_keras_serializable("kgrow")
class ModelBuilder:
    """A function that builds a network, and the sizes to build it with.

    Takes the place of a network in `GrowableModel`: growing calls the function
    again with larger sizes. The function is registered with
    `keras.saving.register_keras_serializable()`, if the model is to be saved.

    Args:
        build: function from the fields of `config`, by name, to a
            `keras.Model`. Its layers have names of their own, the same at
            every call.
        config: dict of its arguments. Integers and lists of them are sizes,
            which may grow; anything else is passed on as it is. To save the
            model they must be plain data: numbers, strings, flags, `None`,
            lists and dicts of these.

    Raises:
        GrowthError: what it builds is no model, or has no weights yet.

    Example:

    >>> import keras, kgrow
    >>> @keras.saving.register_keras_serializable("example")
    ... def build(units):
    ...     return keras.Sequential([keras.Input((4,)),
    ...         keras.layers.Dense(units, activation="relu", name="inner"),
    ...         keras.layers.Dense(2, name="outer")])
    >>> ModelBuilder(build, {"units": 8}).make({"units": 12}).count_params()
    86
    """

    def __init__(self, build, config):
        if not callable(build) or not isinstance(config, dict):
            raise GrowthError(
                "A `ModelBuilder` takes a function and a dict of the sizes to "
                f"call it with. Received: build={build!r}, config={config!r}"
            )
        self.build = build
        self.config = {f: _argument(f, v) for f, v in config.items()}

    def make(self, fields=None):
        """The network with the given sizes."""
        config = {**self.config, **(fields or {})}
        with counted_names() as remember:
            network = self.build(**config)
        if not isinstance(network, keras.Model):
            raise GrowthError(
                f"`build` must return a `keras.Model`. Received: {network!r} "
                f"(of type {type(network).__name__})"
            )
        set_untracked(network, _MARK, ModelBuilder(self.build, config))
        return remember(network)

    @classmethod
    def from_source(cls, found, source):
        return cls(found, source["config"])

    def source(self):
        return {
            "kind": "function",
            "module": self.build.__module__,
            "name": self.build.__qualname__,
            "config": plain(self.config, "config"),
        }

    def get_config(self):
        return {
            "build": keras.saving.serialize_keras_object(self.build),
            "config": plain(self.config, "config"),
        }

    @classmethod
    def from_config(cls, config):
        build = registered_function(config["build"], "what builds a network")
        return cls(build, config["config"])


def _argument(field, value):
    """A size, or a value that is fixed."""
    if _is_size(value) or _is_sizes(value):
        return check_size(field, value)
    return value


def _is_size(value):
    integer = isinstance(value, numbers.Integral)
    return integer and not isinstance(value, (bool, np.bool_))


def _is_sizes(value):
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(_is_size(v) or _is_sizes(v) for v in value)
    )
