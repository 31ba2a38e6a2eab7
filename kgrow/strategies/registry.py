"""The registry of strategies: `get("name")`, as for Keras' optimizers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from kgrow.algebra.deserialization import object_of
from kgrow.algebra.discovery import place
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import keras, serializable
from kgrow.strategies.base import Strategy

# What `get()` makes a strategy of.
StrategyLike: TypeAlias = (
    "Strategy | str | Mapping[str, Any] | Sequence[int | None]"
)

_Class = TypeVar("_Class", bound=type[Strategy])

# Classes by name, and names by alias.
_STRATEGIES: dict[str, type[Strategy]] = {}
_ALIASES: dict[str, str] = {}
# Every decorated class, including those without a name.
_CLASSES: list[type[Strategy]] = []


def register(
    name: str | None = None, aliases: Iterable[str] = ()
) -> Callable[[_Class], _Class]:
    """Class decorator: registers a strategy by name, and with Keras.

    The tests of kgrow's laws, `preservation_table()` and the benchmarks run
    over every registered strategy. Classes in `kgrow/strategies/` are imported
    with the package; any other class is registered when its module is
    imported.

    Args:
        name: string, lower case. Without a name the class can be saved and
            loaded, and `get()` does not find it: for strategies that need
            arguments, or that only combine others.
        aliases: strings, further names.

    Raises:
        GrowthError: the class is no `Strategy`, does not say what it grows,
            or the name is taken.

    Example:

    >>> from kgrow.strategies import Net2Net
    >>> @register("mine")
    ... class Mine(Net2Net):
    ...     pass
    >>> get("mine")
    Mine(split='uneven')
    >>> forget("mine")
    """

    def add(cls):
        _check(cls, name, aliases)
        if name is not None:
            cls.registered_name = name
            _STRATEGIES[name] = cls
            _ALIASES.update(dict.fromkeys(aliases, name))
        _CLASSES.append(cls)
        return serializable(cls)

    return add


def _check(cls: Any, name: str | None, aliases: Iterable[str]) -> None:
    if not (isinstance(cls, type) and issubclass(cls, Strategy)):
        raise GrowthError(
            f"`register` decorates a subclass of `Strategy`. Received: {cls!r}"
        )
    if name is None:
        return
    if not cls.grows or not set(cls.grows) <= {"width", "depth"}:
        raise GrowthError(
            f"`{cls.__name__}` must say what it grows: "
            'grows = {"width", "depth"}, or one of the two. Received: '
            f"grows={cls.grows!r}"
        )
    for word in (name, *aliases):
        other = _STRATEGIES.get(_ALIASES.get(word, word))
        if word != str(word).lower():
            raise GrowthError(f"A name is in lower case. Received: {word!r}")
        # The same class once more is a module or a cell that ran again.
        if other and place(other) != place(cls):
            raise GrowthError(
                f"{word!r} is the name of {place(other)} already. Received: "
                f"{place(cls)}. Choose another name."
            )


def forget(name: str) -> None:
    """Removes a strategy and its aliases from the registry.

    Args:
        name: string, the name it is registered by.
    """
    _CLASSES.remove(_STRATEGIES.pop(name))
    for alias in [a for a, n in _ALIASES.items() if n == name]:
        del _ALIASES[alias]


def classes() -> list[type[Strategy]]:
    """All decorated classes, including those without a name, as a list."""
    return list(_CLASSES)


def registered() -> dict[str, type[Strategy]]:
    """All classes with a name: a dict from names to classes, sorted.

    Example:

    >>> registered()["lemon"].__name__
    'LEMON'
    """
    return dict(sorted(_STRATEGIES.items()))


def names(aliases: bool = True) -> list[str]:
    """Names of all strategies, sorted.

    Args:
        aliases: bool, whether aliases are included, such as `"stackbert"` for
            `"stack"`.

    Example:

    >>> "net2net" in names(), "midas" in names(), "midas" in names(False)
    (True, True, False)
    """
    return sorted([*_STRATEGIES, *(_ALIASES if aliases else ())])


def get(identifier: StrategyLike) -> Strategy:
    """Finds a strategy.

    Args:
        identifier: a `Strategy`, a name, a config made by `serialize()`, or a
            list of blocks, from which a `StackingList` is made.

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
        # Imported here, for `depth_maps` imports this module.
        from kgrow.strategies.depth_maps import StackingList

        return StackingList(list(identifier))
    if isinstance(identifier, dict):
        try:
            strategy = object_of(identifier, Strategy, "a strategy")
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


def serialize(strategy: Strategy) -> dict[str, Any]:
    """The config of a strategy, from which `get()` makes it again."""
    return keras.saving.serialize_keras_object(strategy)
