"""Values of config fields that set sizes: an integer, or one per stage.

`"depths[2]"` names one entry of a field whose value is a list. Users write the
whole list.
"""

import numbers
import re
from collections.abc import Sequence
from typing import Any

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plain_data import short
from kgrow.algebra.scalar_checks import LARGEST_COUNT
from kgrow.algebra.types import Config

_ENTRY = re.compile(r"(\w+)\[(\d+)\]")


def base(field: str) -> str:
    """The config field that a field or an entry of one belongs to.

    Example:

    >>> base("depths[2]"), base("hidden_dim")
    ('depths', 'hidden_dim')
    """
    return _split(field)[0]


def read(config: Config, field: str) -> Any:
    """The value of a field or of an entry of one, `None` if there is none.

    Example:

    >>> read({"depths": [2, 2, 6]}, "depths[2]"), read({}, "hidden_dim")
    (6, None)
    """
    name, entry = _split(field)
    value = config.get(name)
    if entry is None or value is None:
        return value
    if not isinstance(value, Sequence) or entry >= len(value):
        raise GrowthError(
            f"`{name}` must be a list with an entry {entry}, which the axes "
            f"name. Received: {name}={value!r}"
        )
    return value[entry]


def check_size(field: str, value: Any) -> Any:
    """The value as an integer or a list of them.

    Raises:
        GrowthError: it is neither.

    Example:

    >>> check_size("depths", (2, 2))
    [2, 2]
    """
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [check_size(field, entry) for entry in value]
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise GrowthError(
            f"`{field}` must be an integer. Received: {field}={value!r} (of "
            f"type {type(value).__name__})"
        )
    if abs(int(value)) > LARGEST_COUNT:
        raise GrowthError(
            f"`{field}` must not exceed 2**53. Received: {field}={short(value)}"
        )
    return int(value)


def same_form(one: Any, other: Any) -> bool:
    """Whether both are integers, or lists of the same length.

    Example:

    >>> same_form([1, 2], [3, 4]), same_form([1, 2], 3)
    (True, False)
    """
    if isinstance(one, list) or isinstance(other, list):
        return (
            isinstance(one, list)
            and isinstance(other, list)
            and len(one) == len(other)
        )
    return True


def shrinks(new: Any, old: Any) -> bool:
    """Whether a value, or an entry of it, is smaller than it was.

    Example:

    >>> shrinks([2, 6], [2, 4]), shrinks(3, 4)
    (False, True)
    """
    if isinstance(new, list):
        return any(shrinks(n, o) for n, o in zip(new, old, strict=True))
    return new < old


def text(value: Any) -> str:
    """A value as text for a table.

    Example:

    >>> text(50257), text([2, 6])
    ('50,257', '2/6')
    """
    if isinstance(value, list):
        return "/".join(text(entry) for entry in value)
    return f"{value:,}"


def total(value: Any) -> int:
    """An integer as it is, the sum of a list.

    Example:

    >>> total(3), total([2, 6])
    (3, 8)
    """
    return sum(map(total, value)) if isinstance(value, list) else value


def _split(field):
    match = _ENTRY.fullmatch(field)
    return (match[1], int(match[2])) if match else (field, None)
