"""Names for the axes of a variable: what it consumes and what it produces.

The pattern string is the interface and the documentation:

    "hidden -> ffn"                      a Dense kernel
    "-> ffn"                             its bias
    "hidden -> heads head_dim"           a query kernel of three axes
    "hidden -> (3 heads head_dim)"       a packed one, of two
    "-> hidden | scale"                   the gain of a norm
    "-> hidden | offset"                  what the norm adds
    "-> hidden | elementwise"                 multiplies entry by entry, no norm
    "-> ~hidden | scale"                  a gain that tied weights read
    "heads head_dim -> hidden | residual_out"    the last projection of a branch
    "hidden -> heads qk | qk^0.5"        compensates a 1/sqrt(qk) in the model
    "_ _ c_in -> c_out"                  `_` marks an axis that never grows
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.types import Sizes

CONSUME = "consume"
PRODUCE = "produce"
_FLAGS = (
    "scale",
    "offset",
    "elementwise",
    "attention_norm",
    "ffn_norm",
    "residual_out",
)
_OTHER = {CONSUME: PRODUCE, PRODUCE: CONSUME}

_TOKEN = re.compile(r"(~?)\s*(?:\(([^()]+)\)|(\w+))(?!\w)")
_is_factor = re.compile(r"[A-Za-z]\w*|[1-9]\d*", re.ASCII).fullmatch
_POWER = re.compile(r"([A-Za-z]\w*)\^(-?\d+(?:\.\d+)?(?:e-?\d+)?)")


@dataclass(frozen=True)
class Axis:
    """One axis: an ordered product of dimensions, and its role.

    Args:
        factors: tuple. Dimension names (strings) and fixed sizes (integers),
            in row-major order; empty for an axis that never grows.
        role: `"produce"` if the axis carries values of the dimension out of
            the variable, `"consume"` if it contracts with values of it.
    """

    factors: tuple[str | int, ...]
    role: str

    @property
    def dims(self) -> tuple[str, ...]:
        return tuple(f for f in self.factors if isinstance(f, str))

    def __str__(self):
        if not self.factors:
            return "_"
        text = " ".join(map(str, self.factors))
        return f"({text})" if len(self.factors) > 1 else text


@dataclass(frozen=True)
class Axes:
    """The axes of one variable, in storage order.

    The axes left of the arrow consume, those right of it produce. `~name`
    flips the role of one axis: the activations there live in the dual space,
    as those do that a tied embedding or the other side of a dot product reads.
    Flags follow after `|`: `scale` and `offset` (the factor and the shift of a
    norm), `elementwise` (a factor for each entry outside a norm: a layer scale,
    a depthwise kernel), `attention_norm` and `ffn_norm` (of the norm after the
    first and the last addition of a post-norm block), `residual_out` (the last
    projection of a residual branch: with zeros there the block is the identity)
    and `dim^power` (multiply by `(new / old) ** power` when `dim` grows, for a
    network whose own arithmetic depends on the size).

    Example:

    >>> axes = Axes.parse("hidden -> heads head_dim")
    >>> [axis.role for axis in axes]
    ['consume', 'produce', 'produce']
    >>> str(Axes.parse("hidden -> heads ~qk | qk^0.5"))
    'hidden -> heads ~qk | qk^0.5'
    """

    axes: tuple[Axis, ...]
    scale: bool = False
    offset: bool = False
    elementwise: bool = False
    attention_norm: bool = False
    ffn_norm: bool = False
    residual_out: bool = False
    powers: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, pattern: Axes | str) -> Axes:
        if isinstance(pattern, cls):
            return pattern
        if not isinstance(pattern, str):
            raise GrowthError(
                "The axes of a variable are written as a string such as "
                f"'hidden -> ffn'. Received: {pattern!r}"
            )
        body, _, flags = pattern.partition("|")
        left, arrow, right = body.partition("->")
        if not arrow or "->" in right:
            raise GrowthError(
                "A pattern of axes has exactly one arrow: consumed axes are "
                "left of it, produced ones right of it. "
                f"Received: {pattern!r}"
            )
        axes = (
            *_parse_side(left, CONSUME, pattern),
            *_parse_side(right, PRODUCE, pattern),
        )
        return cls(axes, **_parse_flags(flags, pattern))

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of all dimensions that occur, each once, in order."""
        return tuple(dict.fromkeys(d for axis in self.axes for d in axis.dims))

    def shape(self, sizes: Sizes, fixed: Sequence[int]) -> tuple[int, ...]:
        """The shape under `sizes`; axes without a name keep `fixed`'s."""
        shape = []
        for axis, size in zip(self.axes, fixed, strict=True):
            if axis.dims:
                size = 1
                for factor in axis.factors:
                    size *= factor if isinstance(factor, int) else sizes[factor]
            shape.append(size)
        return tuple(shape)

    def __iter__(self):
        return iter(self.axes)

    def __len__(self):
        return len(self.axes)

    def __str__(self):
        split = 0
        for axis in self.axes:
            if axis.factors and axis.role == PRODUCE:
                break
            split += 1
        left = [str(a) for a in self.axes[:split]]
        right = [
            f"~{a}" if a.factors and a.role == CONSUME else str(a)
            for a in self.axes[split:]
        ]
        flags = [flag for flag in _FLAGS if getattr(self, flag)]
        flags += [f"{dim}^{power!r}" for dim, power in self.powers]
        text = " ".join([*left, "->", *right])
        return f"{text} | {', '.join(flags)}" if flags else text


def _parse_side(text, role, pattern):
    axes, end = [], 0
    for match in _TOKEN.finditer(text):
        flip, product, single = match.groups()
        words = (product or single).split()
        readable = single == "_" or (words and all(map(_is_factor, words)))
        if text[end : match.start()].strip() or not readable:
            break
        end = match.end()
        words = [] if single == "_" else words
        factors = tuple(int(f) if f.isdecimal() else f for f in words)
        axis_role = _OTHER[role] if flip else role
        # What never grows has no role; one and the same makes axes compare.
        axes.append(Axis(factors, axis_role if factors else CONSUME))
    if text[end:].strip():
        raise GrowthError(
            f"Cannot read {text[end:].strip()!r} in the axes {pattern!r}. "
            "An axis is a name, a number, `_`, or a product such as "
            "`(3 heads head_dim)`; `~` before it flips its role."
        )
    return axes


def _parse_flags(text, pattern):
    flags: dict[str, Any] = {"powers": ()}
    for flag in filter(None, (part.strip() for part in text.split(","))):
        power = _POWER.fullmatch(flag)
        if power:
            flags["powers"] += ((power[1], float(power[2])),)
        elif flag in _FLAGS:
            flags[flag] = True
        else:
            raise GrowthError(
                f"Unknown flag {flag!r} in the axes {pattern!r}. Flags are "
                f"{', '.join(_FLAGS)} and `dim^power`."
            )
    return flags
