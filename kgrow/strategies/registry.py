"""Strategies by name, as Keras finds its optimizers."""

import difflib

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.strategies.base import Strategy
from kgrow.strategies.bert2bert import AKI, FPI
from kgrow.strategies.compoundgrow import CompoundGrow
from kgrow.strategies.depth_maps import (
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
from kgrow.strategies.llama_pro import LlamaPro
from kgrow.strategies.mslt import MSLT
from kgrow.strategies.net2net import Net2Net
from kgrow.strategies.solar import SOLAR
from kgrow.strategies.staged import Staged

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
    "solar": SOLAR,
    "mslt": MSLT,
    "llama_pro": LlamaPro,
    "compoundgrow": CompoundGrow,
}

# Other names of strategies, those of the papers.
_ALIASES = {"stackbert": "stack", "midas": "middle"}


def register(name):
    """Class decorator: makes a strategy known by a name.

    Args:
        name: string, lower case.

    Example:

    >>> @register("mine")
    ... class Mine(Strategy):
    ...     pass
    >>> get("mine")
    Mine()
    >>> del _STRATEGIES["mine"]
    """

    def add(cls):
        _STRATEGIES[name] = cls
        return cls

    return add


def names(aliases=True):
    """Names of all strategies, sorted.

    Args:
        aliases: bool, whether second names are listed too, `"stackbert"` for
            `"stack"` and `"midas"` for `"middle"`; each strategy is listed
            once if not.

    Example:

    >>> "net2net" in names(), "midas" in names(), "midas" in names(False)
    (True, True, False)
    """
    return sorted([*_STRATEGIES, *(_ALIASES if aliases else ())])


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
        name = _ALIASES.get(name, name)
        if name in _STRATEGIES:
            return _STRATEGIES[name]()
        near = difflib.get_close_matches(name, names(), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise GrowthError(
            f"Unknown strategy.{hint} Received: {identifier!r}. "
            f"There are: {', '.join(names())}, and Combine(width=..., "
            "depth=...) to combine two."
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
