"""Checks that all processes of a distributed run plan the same growth.

Each process plans for itself. If two plans differed, the pieces of a weight
would come from different networks without any error. So the processes compare
their plans before anything is changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan

_WORDS = 2


def check_agreement(facts: Callable[[], dict[str, Any]]) -> None:
    """Makes sure that some facts are equal in all processes.

    Args:
        facts: function that makes a dict from names to numpy arrays, numbers,
            strings, `None`, or structures of these. It is called only where
            there is more than one process.

    Raises:
        GrowthError: in every process, if any two differ, with the names of
            what differs.
    """
    if backend.processes() == 1:
        return
    own = facts()
    words = np.concatenate([_digest(value) for value in own.values()])
    rows = backend.gathered(words).reshape(-1, len(own), _WORDS)
    differ = np.any(rows != rows[0], axis=(0, 2))
    names = [name for name, d in zip(own, differ, strict=True) if d]
    if names:
        raise GrowthError(
            "The processes of this run would not grow alike: they differ in "
            f"{', '.join(names)}. Give all of them the same arguments, the "
            "same `data` (the whole batch, not a part of it) and the same "
            "seed: grow(..., seed=0), or keras.utils.set_random_seed(0) "
            "before. The model is as it was."
        )


def agreed_number(value: float) -> float:
    """The first process' value of a number, in all processes.

    For decisions by a clock, which differs from process to process.

    Example:

    >>> agreed_number(0.5)
    0.5
    """
    if backend.processes() == 1:
        return value
    words = np.frombuffer(np.float64(value).tobytes(), np.uint32)
    return float(np.frombuffer(backend.gathered(words)[0].tobytes())[0])


def plan_facts(plan: Plan) -> list[Any]:
    """All of a `Plan`, as data for `check_agreement()`."""
    terms = [
        [
            [[str(d), _of_expansions(e)] for d, e in term.widths.items()],
            [
                [stack, _of_map(m.rows), m.exits]
                + [[name, _of_map(part)] for name, part in m.parts.items()]
                for stack, m in term.depths.items()
            ],
        ]
        for term in plan.terms
    ]
    return [
        terms,
        dict(plan.target.sizes),
        dict(plan.target.depths),
        {d: [f.incoming, f.outgoing] for d, f in plan.new_entries.items()},
        dict(plan.noise),
        plan.seed,
        dict(plan.given),
    ]


def _of_expansions(expansions):
    if isinstance(expansions, tuple):
        return [_of_expansions(e) for e in expansions]
    return [_of_map(expansions.produce), _of_map(expansions.consume)]


def _of_map(m):
    if hasattr(m, "indices"):
        return [m.source, m.indices, m.weights]
    return m.matrix()


def _digest(value):
    """Hash of a value: a few 32-bit words."""
    found = hashlib.sha256()
    for leaf in keras.tree.flatten([value]):
        if backend.is_spread(leaf):
            # Computed from inputs that are hashed already; hash the shape only.
            found.update(f"{leaf.dtype}{leaf.shape}".encode())
        elif hasattr(leaf, "shape"):
            leaf = np.ascontiguousarray(leaf)
            found.update(f"{leaf.dtype}{leaf.shape}".encode())
            found.update(leaf.tobytes())
        else:
            found.update(f"{type(leaf).__name__}{leaf!r}".encode())
    for key in _keys(value):
        found.update(key.encode())
    return np.frombuffer(found.digest()[: 4 * _WORDS], np.uint32)


def _keys(value):
    """The keys of all dicts in a structure."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield str(key)
            yield from _keys(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from _keys(part)
