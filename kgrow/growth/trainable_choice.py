"""The argument `trainable` of `grow()`: all, new entries, or a choice."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from kgrow.algebra.errors import GrowthError
from kgrow.strategies.base import Strategy

TRAIN = ("all", "new")
# A word of `TRAIN`, regular expressions, or a function of a variable's path.
Choice: TypeAlias = str | Sequence[str] | Callable[[str], bool]


def check_train(trainable: Choice | None, strategy: Strategy) -> Choice:
    """Check the argument of `grow()`.

    Args:
        trainable: `"all"`, `"new"`, patterns, a function, or `None`.
        strategy: `Strategy` that decides where it is `None`.

    Returns:
        The same, patterns as a tuple.

    Raises:
        GrowthError: it is none of these.
    """
    if trainable is None:
        return strategy.default_trainable
    if callable(trainable) or is_word(trainable):
        return trainable
    return check_patterns(trainable, "trainable")


def is_word(trainable: Any) -> bool:
    """Whether it is one of `TRAIN`; an array is not."""
    return isinstance(trainable, str) and trainable in TRAIN


def check_patterns(patterns: Any, name: str) -> tuple[str, ...]:
    """Regular expressions as a tuple.

    Args:
        patterns: a list or tuple of strings.
        name: string, of the argument.

    Raises:
        GrowthError: they are something else.

    Example:

    >>> check_patterns(["output_dense", "norm/scale$"], "trainable")
    ('output_dense', 'norm/scale$')
    """
    fits = isinstance(patterns, (list, tuple)) and patterns
    if not fits or not all(isinstance(p, str) and p for p in patterns):
        words = " 'all', 'new'," if name == "trainable" else ""
        raise GrowthError(
            f"`{name}` must be{words} a function of a variable's path, or a "
            "list of regular expressions that are searched for in the paths. "
            f"Received: {name}={patterns!r}"
        )
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise GrowthError(
                f"`{name}` takes regular expressions, as module `re` has "
                f"them, not globs: '.*' matches anything. Received: "
                f"{pattern!r} ({error})"
            ) from None
    return tuple(patterns)


def chosen_paths(
    choice: Choice, candidates: Mapping[str, bool], name: str = "trainable"
) -> set[str]:
    """The paths that patterns or a function choose.

    Args:
        choice: what `check_train()` returned.
        candidates: `{path: whether a user froze the variable}`, of all
            variables that training could change.
        name: string, of the argument.

    Returns:
        set of paths.

    Raises:
        GrowthError: a pattern, or the function, chooses nothing that could
            train.

    Example:

    >>> paths = {"head/kernel": False, "head/bias": False, "body": False}
    >>> sorted(chosen_paths(["head/"], paths))
    ['head/bias', 'head/kernel']
    """
    if is_word(choice):
        return set()
    if callable(choice):
        rules = {_name(choice): choice}
    else:
        rules = {repr(p): re.compile(p).search for p in choice}
    chosen = set()
    for said, matches in rules.items():
        found = _matching(matches, candidates, said, name)
        if not any(not candidates[path] for path in found):
            _refuse(said, found, candidates, name)
        chosen |= found
    return chosen


def _matching(matches, candidates, said, name):
    try:
        return {path for path in candidates if matches(path)}
    except Exception as error:
        raise GrowthError(
            f"`{name}`: {said} must take the path of a variable and say "
            f"whether it is chosen. Received: {type(error).__name__}: {error}"
        ) from error


def _name(function):
    return f"the function {getattr(function, '__name__', function)!r}"


def _refuse(said, found, candidates, name):
    if found:
        raise GrowthError(
            f"`{name}`: all that {said} chooses was frozen by hand, which "
            "stays so: set `trainable = True` of its layers first. Received: "
            f"{sorted(found)}"
        )
    paths = sorted(candidates)
    more = f" and {len(paths) - 12} more" if len(paths) > 12 else ""
    raise GrowthError(
        f"`{name}`: {said} chooses no variable. There are: {paths[:12]}{more}"
    )
