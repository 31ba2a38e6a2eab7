"""The config of a strategy, read off its constructor's arguments."""

from __future__ import annotations

import inspect
from typing import Any

from kgrow.algebra.deserialization import object_of, registered_function
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import keras


def argument_names(cls: type) -> list[str]:
    """Names of the constructor's arguments, in order.

    If the constructor takes `**kwargs`, the arguments of the base class's
    constructor follow.

    Raises:
        GrowthError: the constructor takes `*args`, which have no names.

    Example:

    >>> from kgrow.strategies import LiGO
    >>> argument_names(LiGO)[:3]
    ['init', 'tying', 'steps']
    """
    names = []
    for base in cls.__mro__:
        if base is object or "__init__" not in vars(base):
            continue
        passes_on = False
        parameters = inspect.signature(vars(base)["__init__"]).parameters
        for parameter in list(parameters.values())[1:]:
            if parameter.kind == parameter.VAR_POSITIONAL:
                raise GrowthError(
                    f"`{cls.__name__}` takes *{parameter.name}, from which no "
                    "config can be read. Name its arguments, or write "
                    "`get_config()`."
                )
            if parameter.kind == parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.name not in names:
                names.append(parameter.name)
        if not passes_on:
            break
    return names


def read_arguments(instance: object) -> dict[str, Any]:
    """The constructor's arguments, from the attributes of the same names.

    Returns:
        dict from names to values.

    Raises:
        GrowthError: an argument has no attribute of its name.

    Example:

    >>> from kgrow.strategies import Net2Net
    >>> read_arguments(Net2Net("even"))
    {'split': 'even'}
    """
    cls = type(instance)
    names = argument_names(cls)
    missing = [name for name in names if not hasattr(instance, name)]
    if missing:
        raise GrowthError(
            f"`{cls.__name__}` must keep each argument of its constructor as "
            "an attribute of the same name, so that it can be saved and "
            f"compared. Received: a constructor with {names}, of which "
            f"{missing} are no attributes. Write `self.{missing[0]} = "
            f"{missing[0]}`, or a `get_config()` of its own."
        )
    return {name: getattr(instance, name) for name in names}


def to_config(value: Any) -> Any:
    """An argument as plain data: objects with a config, and functions, are
    serialized as Keras does it."""
    if isinstance(value, (list, tuple)):
        return [to_config(v) for v in value]
    if isinstance(value, dict):
        return {name: to_config(v) for name, v in value.items()}
    if hasattr(value, "get_config") or inspect.isfunction(value):
        return keras.saving.serialize_keras_object(value)
    return value


def from_config(value: Any) -> Any:
    """The inverse of `to_config()`, except that tuples come back as lists."""
    if isinstance(value, list):
        return [from_config(v) for v in value]
    if isinstance(value, dict):
        if value.get("class_name") == "function":
            return registered_function(value, "an argument of a strategy")
        if {"class_name", "config"} <= value.keys():
            return object_of(value, object, "an argument of a strategy")
        return {name: from_config(v) for name, v in value.items()}
    return value
