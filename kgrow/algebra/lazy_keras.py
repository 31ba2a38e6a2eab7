"""Keras without importing it: loaded when a tensor or a config needs it.

The algebra and the strategies grow NumPy arrays without any framework, and
tensors with Keras' operations. They name Keras through this module, so that a
program that grows files of weights imports neither Keras nor its backend.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any, TypeVar

import numpy as np

from kgrow.algebra.types import Array


class _LazyModule:
    """Stands for a module, which is imported with its first attribute."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)

    def __repr__(self) -> str:
        return f"<lazy module {self._name!r}>"


keras: Any = _LazyModule("keras")
ops: Any = _LazyModule("keras.ops")

_Class = TypeVar("_Class", bound=type)
_unregistered: list[type] = []


def serializable(cls: _Class) -> _Class:
    """Class decorator: `keras.saving.register_keras_serializable()` under the
    class' own package, unless the class has a name there already; now if Keras
    is imported, or else by `register_serializable()`."""
    _unregistered.append(cls)
    if "keras" in sys.modules:
        register_serializable()
    return cls


def register_serializable() -> None:
    """Makes every `serializable` class known to Keras, which it imports.

    Example:

    >>> @serializable
    ... class Example:
    ...     def get_config(self):
    ...         return {}
    >>> register_serializable()
    >>> keras.saving.get_registered_name(Example)
    'kgrow>Example'
    """
    while _unregistered:
        cls = _unregistered.pop(0)
        if keras.saving.get_registered_name(cls) == cls.__name__:
            package = cls.__module__.partition(".")[0]
            keras.saving.register_keras_serializable(package)(cls)


def numpy_dtype(value: Array) -> np.dtype:
    """The NumPy dtype of an array, or of a tensor of Keras' backend."""
    if isinstance(value, np.ndarray):
        return value.dtype
    return np.dtype(keras.backend.standardize_dtype(value.dtype))
