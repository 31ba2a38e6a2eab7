"""Checks of arguments that layers, networks and data sets share."""

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.scalar_checks import check_count, check_number


def integer(name, value, minimum=1):
    """Checks an integer argument and returns it as an `int`.

    Args:
        name: string, the argument's name, for the message.
        value: the argument.
        minimum: int, the smallest value allowed.

    Returns:
        int.

    Raises:
        GrowthError: `value` is no integer, or smaller than `minimum`.

    Example:

    >>> integer("num_heads", 4)
    4
    """
    return check_count(name, value, minimum)


def head_size(hidden_dim, num_heads, head_dim=None):
    """The size of one attention head: as given, or `hidden_dim // num_heads`.

    Args:
        hidden_dim: int, the width of the residual stream.
        num_heads: int, the number of attention heads.
        head_dim: int or `None`, the size asked for.

    Returns:
        int.

    Raises:
        GrowthError: `head_dim` is `None` and the heads do not divide the width,
            or `head_dim` is not a positive integer.

    Example:

    >>> head_size(768, 12), head_size(768, 10, head_dim=64)
    (64, 64)
    """
    if head_dim is not None:
        return integer("head_dim", head_dim)
    if hidden_dim % num_heads:
        raise GrowthError(
            "`hidden_dim` must be divisible by `num_heads`, unless `head_dim` "
            "is given: heads of any size may be asked for with it. "
            f"Received: hidden_dim={hidden_dim}, num_heads={num_heads}, "
            "head_dim=None"
        )
    return hidden_dim // num_heads


def rate(name, value):
    """Checks a dropout rate and returns it as a `float`.

    Args:
        name: string, the argument's name, for the message.
        value: the argument.

    Returns:
        float.

    Raises:
        GrowthError: `value` is not in `[0, 1)`.

    Example:

    >>> rate("dropout", 0)
    0.0
    """
    return check_number(name, value, 0, 1)


def one_of(name, value, allowed):
    """Checks an argument that is one of a few words and returns it.

    Args:
        name: string, the argument's name, for the message.
        value: the argument.
        allowed: tuple of strings.

    Returns:
        string.

    Raises:
        GrowthError: `value` is none of them.

    Example:

    >>> one_of("norm", "rms", ("layer", "rms"))
    'rms'
    """
    if value not in allowed:
        raise GrowthError(
            f"`{name}` must be one of {allowed}. Received: {name}={value!r}"
        )
    return value


def fresh(initializer):
    """Clones an initializer so that the copy draws its own numbers.

    An initializer object without a seed draws the same numbers each time it
    is called, so every variable needs a copy.

    Args:
        initializer: a `keras.initializers.Initializer`.

    Returns:
        An initializer with the same configuration.

    Example:

    >>> import keras
    >>> type(fresh(keras.initializers.RandomNormal(0.0, 0.02))).__name__
    'RandomNormal'
    """
    return type(initializer).from_config(initializer.get_config())


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
        integer(f"{name}[{stage}]", value, minimum)
        for stage, value in enumerate(values)
    ]
