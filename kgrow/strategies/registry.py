"""Strategies by name, as Keras finds its optimizers."""

import difflib

import keras

from kgrow.errors import GrowthError
from kgrow.strategies.bert2bert import AKI, FPI
from kgrow.strategies.depth import (
    Identity,
    Interpolate,
    Middle,
    Stack,
    StackingList,
    Top,
)
from kgrow.strategies.direct import Direct, Random
from kgrow.strategies.hypercloning import HyperCloning
from kgrow.strategies.lemon import LEMON
from kgrow.strategies.net2net import Net2Net
from kgrow.strategies.staged import Staged
from kgrow.strategies.strategy import Strategy

_STRATEGIES = {
    "direct": Direct,
    "random": Random,
    "net2net": Net2Net,
    "fpi": FPI,
    "aki": AKI,
    "lemon": LEMON,
    "staged": Staged,
    "hypercloning": HyperCloning,
    "stack": Stack,
    "interpolate": Interpolate,
    "middle": Middle,
    "top": Top,
    "identity": Identity,
}


def names():
    """Names of all strategies, sorted.

    Example:

    >>> "net2net" in names()
    True
    """
    return sorted(_STRATEGIES)


def get(identifier):
    """Finds a strategy.

    Args:
        identifier: a `Strategy`, the name of one, a config made by
            `serialize()`, or a list of blocks, which becomes a
            `StackingList`.

    Raises:
        GrowthError: there is no such strategy.

    Example:

    >>> get("stack")
    Stack(zero_exits=False)
    >>> get(serialize(get("net2net"))).split
    'uneven'
    """
    if isinstance(identifier, Strategy):
        return identifier
    if isinstance(identifier, str):
        name = identifier.lower()
        if name in _STRATEGIES:
            return _STRATEGIES[name]()
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise GrowthError(
            f"Unknown strategy.{hint} Received: {identifier!r}. "
            f"There are: {', '.join(names())}, and Copy(width=..., depth=...) "
            "to combine two."
        )
    if isinstance(identifier, (list, tuple)):
        return StackingList(list(identifier))
    if isinstance(identifier, dict):
        try:
            strategy = keras.saving.deserialize_keras_object(identifier)
        except Exception as error:
            raise GrowthError(
                f"A strategy cannot be made of its config: {error} Received: "
                f"{identifier!r}"
            ) from error
        if isinstance(strategy, Strategy):
            return strategy
    raise GrowthError(
        "A strategy is a `Strategy`, its name, its config or a stacking list. "
        f"Received: {identifier!r}"
    )


def serialize(strategy):
    """The config from which `get()` makes the same strategy again."""
    return keras.saving.serialize_keras_object(strategy)
