"""Structures between a small one and a large one, a dimension at a time."""

import difflib
import numbers

from kgrow.algebra.errors import GrowthError


def differences(start, target, known):
    """The dimensions in which a target is larger.

    Args:
        start: dict of sizes.
        target: dict of sizes; those left out are as at the start.
        known: dict of all sizes that the model has.

    Returns:
        dict from fields to `(start, target)`, in the target's order.

    Raises:
        GrowthError: an unknown field, a size that is no integer or smaller
            than at the start, or nothing that differs.

    Example:

    >>> known = {"num_layers": 2, "hidden_dim": 8}
    >>> differences({"num_layers": 2}, {"num_layers": 4}, known)
    {'num_layers': (2, 4)}
    """
    for name, sizes in (("start", start), ("target", target)):
        check_sizes(name, sizes)
        for field in sizes:
            if field not in known:
                near = difflib.get_close_matches(str(field), known, n=1)
                hint = f" Did you mean `{near[0]}`?" if near else ""
                raise GrowthError(
                    f"The model has no size `{field}`.{hint} Received: "
                    f"{name}={sizes}. Fields that grow: {known}"
                )
    found = {}
    for field, size in target.items():
        first = start.get(field, known[field])
        if size < first:
            raise GrowthError(
                f"`{field}` cannot shrink: {first} -> {size}. Received: "
                f"target={target}"
            )
        if size > first:
            found[field] = first, size
    if not found:
        raise GrowthError(
            "The target is no larger than the start in any dimension. "
            f"Received: start={start}, target={target}"
        )
    return found


def check_sizes(name, sizes):
    """Raises unless an argument is a dict from fields to integers."""
    if not isinstance(sizes, dict):
        raise GrowthError(
            f"`{name}` is a dict of sizes, such as {{'hidden_dim': 192}}. "
            f"Received: {name}={sizes!r}"
        )
    for field, size in sizes.items():
        if not is_count(size):
            raise GrowthError(
                f"`{field}` must be an integer of at least 1. Received: "
                f"{name}={sizes}"
            )


def is_count(value, least=1):
    """Whether a value is an integer of at least so much."""
    whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    return whole and value >= least


def ladder(start, target, between):
    """Evenly spaced sizes after the start, up to the target.

    Args:
        start: int.
        target: int, larger.
        between: int, how many are wanted in between; of whole numbers there
            may be fewer.

    Returns:
        list of increasing ints, the last of them the target.

    Example:

    >>> ladder(8, 16, 1), ladder(2, 3, 1)
    ([12, 16], [3])
    """
    parts = between + 1
    sizes = {
        start + (target - start) * part // parts for part in range(1, parts + 1)
    }
    return sorted(sizes - {start})


def given_ladder(name, field, sizes, start, target):
    """Sizes on the way to a target, as a user gave them, the target last.

    Args:
        name: string, the argument they came in, for the message.
        field: string.
        sizes: list of ints, the target among them or not.
        start: int.
        target: int.

    Raises:
        GrowthError: they do not lie between, or do not increase.

    Example:

    >>> given_ladder("moves", "num_layers", [3, 4], 2, 6)
    [3, 4, 6]
    """
    if isinstance(sizes, (list, tuple)) and all(map(is_count, sizes)):
        sizes = list(sizes)
        if not sizes or sizes[-1] != target:
            sizes.append(target)
        if all(a < b for a, b in zip([start, *sizes], sizes, strict=False)):
            return sizes
    raise GrowthError(
        f"`{name}` holds increasing sizes above {start}, where `{field}` "
        f"starts, and up to {target}, its target. Received: "
        f"{name}={{{field!r}: {sizes!r}}}"
    )
