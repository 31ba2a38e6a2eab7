"""Checks of arguments that are one number, which make it Python's own.

What they accept is what files hold: see `kgrow.growth.saving.state_schema`.
"""

import math
import numbers
from typing import Any

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plain_data import short

# No size, count or step comes near; every reader of JSON keeps such integers.
LARGEST_COUNT = 2**53
# The seeds of NumPy's generators; `time.time_ns()` is one.
LARGEST_SEED = 2**64 - 1
# A number that is larger means infinity.
LARGEST_NUMBER = 1e300


def check_count(name: str, value: Any, least: int = 1) -> int:
    """Checks a number of something and returns it as an `int`.

    Args:
        name: string, the argument's name, for the message.
        value: the argument.
        least: int, the smallest value allowed.

    Raises:
        GrowthError: it is no integer, too small, or larger than `2**53`.

    Example:

    >>> import numpy as np
    >>> check_count("steps", np.int64(3))
    3
    """
    if not _is_integer(value) or value < least:
        raise GrowthError(
            f"`{name}` must be an integer of at least {least}. Received: "
            f"{name}={short(value)} (of type {type(value).__name__})"
        )
    if value > LARGEST_COUNT:
        raise GrowthError(
            f"`{name}` must be an integer from {least} to 2**53. Received: "
            f"{name}={short(value)}"
        )
    return int(value)


def check_number(
    name: str,
    value: Any,
    least: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Checks a finite number and returns it as a `float`.

    Args:
        name: string, the argument's name, for the message.
        value: the argument.
        least: float, the smallest value allowed.
        below: float that it must be less than.

    Raises:
        GrowthError: it is no number, or not within the bounds.

    Example:

    >>> check_number("weight", 1, least=0.0)
    1.0
    """
    if not _is_number(value) or not least <= value < below:
        bounds = f"from {least} to less than {below}".replace(
            f" to less than {math.inf}", " on"
        ).replace(f"from {-math.inf} on", "that is finite")
        raise GrowthError(
            f"`{name}` must be a number {bounds}. Received: "
            f"{name}={short(value)} (of type {type(value).__name__})"
        )
    return float(value)


def check_seed(seed: Any, name: str = "seed") -> int:
    """Checks a seed and returns it as an `int`.

    Args:
        seed: integer from 0 to `2**64 - 1`.
        name: string, the argument's name, for the message.

    Raises:
        GrowthError: it is none.

    Example:

    >>> check_seed(3), check_seed(2**64 - 1)
    (3, 18446744073709551615)
    """
    if not _is_integer(seed) or not 0 <= seed <= LARGEST_SEED:
        raise GrowthError(
            f"`{name}` must be an integer of at least 0 and less than 2**64, "
            f"or None. Received: {name}={short(seed)}"
        )
    return int(seed)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    # An integer may be too large for a float, a NumPy scalar too small for
    # the bound; NaN lies within no bounds.
    if isinstance(value, numbers.Integral):
        return abs(int(value)) <= LARGEST_NUMBER
    return abs(float(value)) <= LARGEST_NUMBER
