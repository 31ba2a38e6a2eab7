"""Dimensions whose entries have fixed positions; no strategy chooses there.

Entries that are looked up keep their index. Entries that the network treats
by their position, the pairs of rotary embeddings and the heads of ALiBi, move
to the position at which the larger network has the same frequency or slope.
"""

from __future__ import annotations

import math

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan_term import NewEntryInit
from kgrow.algebra.spec import Dim

_ALL_NEW = NewEntryInit(incoming="initializer", outgoing="initializer")
_UNREAD = NewEntryInit(incoming="initializer", outgoing="zeros")
_UNMADE = NewEntryInit(incoming="zeros", outgoing="initializer")


def is_placed(dim: Dim) -> bool:
    """Whether entries of a dimension have places of their own."""
    return dim.is_placed


def place(dim: Dim, source: int, target: int) -> tuple[Expansion, NewEntryInit]:
    """The expansion of such a dimension, and how its new entries start.

    - `"lookup"`: new entries follow the old ones.
    - `"rotary"`: `n` pairs are rotated by the frequencies `b^(-i / n)`. With
      `k n` pairs, pair `k i` has the frequency that pair `i` had. New pairs of
      queries are zero, those of keys are random. The `dim^0.5` flag of the
      axes compensates the division by the root of the head's size.
    - `"alibi"`: of `n` heads, a power of two, head `i` (from 1) has the slope
      `2^(-8 i / n)`; with `k n` heads, head `k i` has it. The outgoing weights
      of new heads are zero.

    Returns:
        `(Expansion, NewEntryInit)`

    Raises:
        GrowthError: the larger network has no position for an old entry.

    Example:

    >>> from kgrow.algebra.spec import Dim
    >>> place(Dim("heads", kind="alibi"), 2, 4)[0].produce.indices.tolist()
    [-1, 0, -1, 1]
    >>> place(Dim("pairs", kind="rotary"), 2, 4)[0].produce.indices.tolist()
    [0, -1, 1, -1]

    Reference:

    - Su et al., "RoFormer" (2104.09864), Eq. 15; Press et al., "Train Short,
      Test Long" (2108.12409), Sec. 3, the slopes.
    """
    if dim.kind == "lookup":
        return Expansion.pad(source, target), _ALL_NEW
    times, rest = divmod(target, source)
    if rest:
        raise GrowthError(
            f"`{dim.field}` is of kind {dim.kind!r}: its entries have "
            "frequencies of their own, which only whole multiples hold again. "
            f"Received: {source} -> {target}. Choose {2 * source} or another "
            "multiple."
        )
    steps = np.arange(source) * times
    if dim.kind == "rotary":
        return Expansion.place(source, target, steps), _UNMADE
    if not math.log2(source).is_integer() or not math.log2(times).is_integer():
        raise GrowthError(
            f"`{dim.field}` is of kind 'alibi': the slopes of its heads are a "
            "geometric series for powers of two only. Received: "
            f"{source} -> {target}. Choose {2 * source} of a power of two."
        )
    return Expansion.place(source, target, steps + times - 1), _UNREAD
