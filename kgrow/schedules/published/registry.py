"""How a paper's schedule becomes known by its name."""

import difflib

from kgrow.algebra.errors import GrowthError
from kgrow.schedules.schedule import GrowthSchedule

_PUBLISHED = {}

BERT_BASE = {
    "hidden_dim": 768,
    "intermediate_dim": 3072,
    "num_heads": 12,
    "head_dim": 64,
    "num_layers": 12,
}
BERT_LARGE = {
    "hidden_dim": 1024,
    "intermediate_dim": 4096,
    "num_heads": 16,
    "head_dim": 64,
    "num_layers": 24,
}


def names():
    """Names of all published schedules.

    Example:

    >>> "Sch1-B" in names()
    True
    """
    return sorted(_PUBLISHED, key=str.lower)


def get(name, **arguments):
    """A published schedule.

    Args:
        name: string, one of `names()`; upper and lower case are the same.
        **arguments: of the function that makes it, if it takes any.

    Returns:
        `GrowthSchedule`, with its `source` and what was `expected` of it.

    Raises:
        GrowthError: there is no such schedule.

    Example:

    >>> schedule = get("Sch1-B")
    >>> schedule.total_steps, schedule.sizes[0]["num_layers"]
    (900000, 3)
    """
    if isinstance(name, GrowthSchedule):
        return name
    known = {key.lower(): key for key in _PUBLISHED}
    key = known.get(str(name).lower())
    if key is None:
        near = difflib.get_close_matches(str(name).lower(), known, n=1)
        hint = f" Did you mean {known[near[0]]!r}?" if near else ""
        raise GrowthError(
            f"Unknown schedule.{hint} Received: {name!r}. There are: "
            f"{', '.join(names())}"
        )
    return _PUBLISHED[key](**arguments).replaced(name=key)


def published(*keys):
    """Decorator: makes a function's schedule known by its names."""

    def add(function):
        for key in keys:
            _PUBLISHED[key] = function
        return function

    return add


def expected_of(speed_up, counts):
    """The published cost, as a speed-up and as a saving."""
    return {
        "speed_up": speed_up,
        "saving": round(1 - 1 / speed_up, 3),
        "counts": counts,
    }
