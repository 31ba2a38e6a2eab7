"""Objects from configs in files: looked at first, and made only then.

Keras finds whatever a config names, functions that change the process among
them (`keras.config.set_max_epochs`), and calls it. Here a name must be that of
what is meant: a class of the right kind, or a function that the user has
registered. Nothing is called, and no module imported, before all names in a
config are known to be of their kind.
"""

import sys
from typing import Any

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import keras
from kgrow.algebra.plain_data import short

# Where Keras has functions that compute something of tensors.
_COMPUTING = (
    "activations",
    "constraints",
    "initializers",
    "losses",
    "metrics",
    "nn",
    "ops",
    "regularizers",
)
_COMPUTING_IN = tuple(
    f"{package}.{name}"
    for package in ("keras", "keras.src")
    for name in _COMPUTING
)


def registered_function(config: Any, meaning: str) -> Any:
    """The function of the user's that a config names.

    Args:
        config: what `keras.saving.serialize_keras_object()` made of it.
        meaning: string, what it is for, for the message.

    Raises:
        GrowthError: it is no function that the user has registered.

    Example:

    >>> @keras.saving.register_keras_serializable("example")
    ... def square(t):
    ...     return t * t
    >>> config = keras.saving.serialize_keras_object(square)
    >>> registered_function(config, "the shape of a ramp") is square
    True
    """
    found = None
    if isinstance(config, dict) and config.get("class_name") == "function":
        names = (config.get("registered_name"), config.get("config"))
        found = _registered(*names)
    if found is None or isinstance(found, type) or not callable(found):
        raise GrowthError(
            f"A file may name a function only as {meaning}, and only one that "
            "is registered: decorate it with `@keras.saving."
            "register_keras_serializable()`, in a module that is imported "
            f"before the file is read. Received: {short(config)}"
        )
    return found


def object_of(config: Any, kinds: type | tuple[type, ...], meaning: str) -> Any:
    """The object that a config describes.

    Args:
        config: what `keras.saving.serialize_keras_object()` made of it.
        kinds: class, or tuple of classes, one of which it must be.
        meaning: string, what it is, for the message.

    Raises:
        GrowthError: the config names another kind of thing, or an unknown
            one.

    Example:

    >>> config = keras.saving.serialize_keras_object(keras.layers.Dense(3))
    >>> object_of(config, keras.layers.Layer, "a layer").units
    3
    >>> try:
    ...     object_of(config, keras.optimizers.Optimizer, "an optimizer")
    ... except GrowthError as error:
    ...     print(str(error)[:50])
    A file names something else than an optimizer. Rec
    """
    found = class_of(config)
    if found is None:
        raise GrowthError(
            f"A file names {meaning} that is not known. Register its class "
            "with `@keras.saving.register_keras_serializable()`, in a module "
            f"that is imported before the file is read. Received: "
            f"{short(config)}"
        )
    if not isinstance(found, type) or not issubclass(found, kinds):
        raise GrowthError(
            f"A file names something else than {meaning}. Received: "
            f"{short(config)}"
        )
    check_names(config)
    if issubclass(found, keras.layers.Layer):
        # Built, and with what it shares.
        return keras.saving.deserialize_keras_object(config)
    return found.from_config(config["config"] or {})


def class_of(config: Any) -> Any:
    """The class that a config names, or `None`. Nothing is imported.

    Example:

    >>> class_of({"class_name": "Adam", "module": "keras.optimizers",
    ...     "config": {}}).__name__
    'Adam'
    """
    if not _is_object(config) or config["class_name"] == "function":
        return None
    name, module = config["class_name"], config.get("module")
    found = _registered(config.get("registered_name"), name)
    if found is None and isinstance(module, str):
        if module.split(".")[0] == "keras":
            found = _of_keras(module, name)
        if found is None and module in sys.modules:
            found = getattr(sys.modules[module], name, None)
    return found


def _of_keras(module: str, name: str) -> Any:
    """The object that Keras exports under this name, or `None`."""
    found: Any = keras
    for part in (*module.split(".")[1:], name):
        found = getattr(found, part, None)
    return found


def check_names(config: Any) -> None:
    """Refuses a config that names, anywhere in it, a function of Keras that
    is no computation, or a function where an object is meant.

    Args:
        config: nested dicts and lists.

    Raises:
        GrowthError: it names one.

    Example:

    >>> try:
    ...     check_names({"activation": {"class_name": "function", "module":
    ...         "keras.config", "config": "set_max_epochs"}})
    ... except GrowthError as error:
    ...     print(str(error)[:36])
    A file names a function that compute
    """
    pending = [config]
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple)):
            pending.extend(value)
        elif isinstance(value, dict):
            if _is_object(value):
                _check_name(value)
            pending.extend(value.values())


def _check_name(config: dict[str, Any]) -> None:
    if config["class_name"] == "function":
        named, module = config["config"], str(config.get("module"))
        own = _registered(config.get("registered_name"), named)
        computes = module == "builtins" or module.startswith(_COMPUTING_IN)
        if own is None and not computes:
            raise GrowthError(
                "A file names a function that computes nothing of tensors, "
                f"or is not registered. Received: {short(f'{module}.{named}')}"
            )
        return
    found = class_of(config)
    if found is not None and not isinstance(found, type):
        raise GrowthError(
            "A file names a function where an object is meant. Received: "
            f"{short(config)}"
        )


def _is_object(config: Any) -> bool:
    return (
        isinstance(config, dict)
        and isinstance(config.get("class_name"), str)
        and "config" in config
    )


def _registered(*names: Any) -> Any:
    for name in names:
        if isinstance(name, str):
            found = keras.saving.get_registered_object(name)
            if found is not None:
                return found
    return None
