"""Checks of arguments that have one value for each stage of a network."""

from kgrow import arguments
from kgrow.errors import GrowthError


def integers(name, values, stages=None, minimum=1):
    """Checks an argument that lists one integer a stage.

    Args:
        name: string, the argument's name, for the message.
        values: the argument, a list or a tuple.
        stages: optional int, the number of stages; by default any number but
            none.
        minimum: int, the smallest value allowed.

    Returns:
        list of ints.

    Raises:
        GrowthError: `values` is no such list, or its length is not `stages`.

    Example:

    >>> integers("depths", (2, 2, 6, 2), stages=4)
    [2, 2, 6, 2]
    """
    if not isinstance(values, (list, tuple)) or not values:
        raise GrowthError(
            f"`{name}` is a list with one integer for each stage. Received: "
            f"{name}={values!r} (of type {type(values).__name__})"
        )
    if stages is not None and len(values) != stages:
        raise GrowthError(
            f"`{name}` has one value for each stage, and there are {stages} "
            f"stages. Received: {name}={list(values)}"
        )
    return [
        arguments.integer(f"{name}[{stage}]", value, minimum)
        for stage, value in enumerate(values)
    ]
