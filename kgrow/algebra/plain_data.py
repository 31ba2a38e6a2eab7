"""Plain data: what JSON can hold, and gives back as it was.

Everything that a file or a record says is made plain where it is made, so that
writing cannot fail half-way for a NumPy scalar, and reading finds what was
written.
"""

import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from kgrow.algebra.errors import GrowthError

_LARGEST_INTEGER = 2**1024
_DEPTH = 64


def plain(value: Any, where: str = "value") -> Any:
    """The same value as dicts, lists, strings, numbers, flags and `None`.

    NumPy scalars become Python's, tuples become lists.

    Args:
        value: nested dicts, lists and tuples.
        where: string, what it is, for the message.

    Raises:
        GrowthError: it holds something else, or a key that is no string.

    Example:

    >>> plain({"loss": np.float32(0.5), "shape": (2, np.int64(3))})
    {'loss': 0.5, 'shape': [2, 3]}
    """
    return _plain(value, where, 0)


def _plain(value: Any, where: str, depth: int) -> Any:
    if depth > _DEPTH:
        raise GrowthError(
            f"`{where}` is nested more than {_DEPTH} deep, or holds itself. "
            "Files hold plain data: dicts, lists, strings, numbers."
        )
    if value is None or isinstance(value, (bool, np.bool_)):
        return value if value is None else bool(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, numbers.Integral) and (
        abs(int(value)) < _LARGEST_INTEGER
    ):
        return int(value)
    if isinstance(value, numbers.Real) and not _is_integer(value):
        return float(value)
    if isinstance(value, (list, tuple)):
        return [
            _plain(entry, f"{where}[{i}]", depth + 1)
            for i, entry in enumerate(value)
        ]
    if isinstance(value, Mapping):
        return {
            _key(key, where): _plain(entry, f"{where}[{key!r}]", depth + 1)
            for key, entry in value.items()
        }
    raise GrowthError(
        f"`{where}` cannot be saved. Files hold plain data: dicts with string "
        "keys, lists, strings, numbers, flags and None; of an array, keep "
        f"`array.tolist()`. Received: {short(value)} (of type "
        f"{type(value).__name__})"
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise GrowthError(
            f"The keys of `{where}` must be strings, as files hold no others. "
            f"Received: {short(key)} (of type {type(key).__name__})"
        )
    return str(key)


def short(value: object) -> str:
    """A value as an error shows it, of 80 characters at most.

    Example:

    >>> short("x" * 100)[-5:]
    'xx...'
    """
    try:
        text = repr(value)
    except Exception as error:
        # An integer of many thousand digits, or a broken `__repr__`.
        text = f"<{type(error).__name__} in its repr>"
    return text if len(text) <= 80 else f"{text[:77]}..."
