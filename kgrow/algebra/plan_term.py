"""One summand of a plan, and how it meets the axes of a variable."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from kgrow.algebra.axes import CONSUME, PRODUCE, Axes
from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.spec import ModelSpec, VariableSpec
from kgrow.algebra.types import Sizes

if TYPE_CHECKING:
    from kgrow.algebra.arrays import Segment
    from kgrow.algebra.plan import Plan

FRESH = ("zeros", "initializer")


@dataclass(frozen=True)
class NewEntryInit:
    """Initial values of the entries of a grown dimension that no map writes.

    Args:
        incoming: `"zeros"` or `"initializer"` (the layer's own), for weights
            that make the new values.
        outgoing: the same for weights that read them.
    """

    incoming: str = "initializer"
    outgoing: str = "zeros"

    def __post_init__(self):
        for side in (self.incoming, self.outgoing):
            if side not in FRESH:
                raise GrowthError(
                    f"New entries start as one of {FRESH}. Received: {side!r}"
                )


@dataclass(frozen=True, eq=False)
class PlanTerm:
    """One summand of a plan: an expansion per dimension, a mixing per stack.

    Args:
        widths: dict from dim names to an `Expansion`, or to a tuple with one
            per new block for a dimension local to a stack. A tuple of names,
            such as `("heads", "value")`, means the product of dimensions
            that follow one another in a variable's axes, and goes before
            what is said of each alone; `~` marks one of the other role than
            the first.
        depths: dict from stack names to a `DepthExpansion`.
        parts: names of the dimensions whose new entries the terms of a plan
            divide among themselves: of a variable that produces one of them,
            a term writes its part.
        share: float. What a variable that produces none of `parts` gets of
            the term; over the terms, the shares add up to one.
    """

    widths: Mapping[str | tuple, Expansion | tuple[Expansion, ...]] = field(
        default_factory=dict
    )
    depths: Mapping[str, DepthExpansion] = field(default_factory=dict)
    parts: frozenset[str] = frozenset()
    share: float = 1.0

    def width(self, dim: str | tuple[str, ...], block: Any) -> Any:
        expansion = self.widths.get(dim)
        if isinstance(expansion, tuple):
            return expansion[block]
        return expansion

    def map(
        self,
        change_width: Callable[[Expansion], Any],
        change_depth: Callable[[DepthExpansion], Any],
    ) -> PlanTerm:
        """The term with every expansion and every mixing replaced."""
        widths = {
            dim: map_each(expansion, change_width)
            for dim, expansion in self.widths.items()
        }
        depths = {s: change_depth(m) for s, m in self.depths.items()}
        return dataclasses.replace(self, widths=widths, depths=depths)

    def share_of(self, variable: VariableSpec) -> float:
        """The term's share in a variable, see `share`."""
        produced = {
            dim
            for axis in variable.axes
            if axis.role == PRODUCE
            for dim in axis.dims
        }
        return 1.0 if self.parts & produced else self.share


def map_each(expansion: Any, change: Callable[[Expansion], Any]) -> Any:
    """Changes an expansion, or each of a tuple of them."""
    if isinstance(expansion, tuple):
        return tuple(change(e) for e in expansion)
    return change(expansion)


def divisible_dims(spec: ModelSpec) -> set[str]:
    """Dimensions whose entries terms can divide among themselves: those that
    no variable produces beside another one of them, that no index reads, and
    that no softmax normalizes.
    """
    beside = set()
    for variable in spec.variables.values():
        produced = [
            dim
            for axis in variable.axes
            if axis.role == PRODUCE
            for dim in axis.dims
            if spec.dims[dim].norm != "softmax"
        ]
        beside |= set(produced[1:])
    return {
        name
        for name, dim in spec.dims.items()
        if dim.kind in ("stream", "nonlinear")
        and dim.norm != "softmax"
        and name not in beside
    }


def factors(axes: Axes) -> list[tuple[Any, str]]:
    """The factors of all axes in a row, each with its axis' role; an axis
    without a name is one factor, `None`."""
    return [
        (factor, axis.role)
        for axis in axes
        for factor in (axis.factors or (None,))
    ]


def factor_shape(variable: VariableSpec, sizes: Sizes) -> tuple[int, ...]:
    shape: list[Any] = []
    for axis, size in zip(variable.axes, variable.shape, strict=True):
        if axis.factors:
            shape += [
                sizes.get(f, f) if isinstance(f, str) else f
                for f in axis.factors
            ]
        else:
            shape.append(size)
    return tuple(shape)


def factor_maps(term: PlanTerm, variable: VariableSpec) -> list[Any]:
    """The map of each factor of the axes, taken alone."""
    return [
        _factor_map(term, variable, factor, role)
        for factor, role in factors(variable.axes)
    ]


def joint_maps(term: PlanTerm, variable: VariableSpec) -> list[tuple[int, Any]]:
    """The maps of the factors, products taken together.

    Returns:
        `[(number of factors, map), ...]`
    """
    found = factors(variable.axes)
    keys = [key for key in term.widths if isinstance(key, tuple)]
    maps, start = [], 0
    while start < len(found):
        standing = [k for k in keys if stands(k, found[start:])]
        key = max(standing, key=len, default=None)
        if key is None:
            maps.append((1, _factor_map(term, variable, *found[start])))
            start += 1
            continue
        e = term.width(key, variable.block)
        consumes = found[start][1] == CONSUME
        maps.append((len(key), _map_of(e, variable.axes, consumes)))
        start += len(key)
    return maps


def segments(
    term: PlanTerm, variable: VariableSpec, sizes: Sequence[int]
) -> list[Segment]:
    """The maps of a variable by the axes that they fill: an axis and a group
    of factors end together where a segment does.

    Args:
        term: `PlanTerm`.
        variable: `VariableSpec` of the target.
        sizes: of the factors of the old variable.

    Returns:
        list of what `Arrays.contract()` takes, for all axes.
    """
    maps = joint_maps(term, variable)
    axes = np.cumsum([len(axis.factors) or 1 for axis in variable.axes])
    groups = np.cumsum([count for count, _ in maps])
    found, begin, start, group = [], 0, 0, 0
    for end in np.intersect1d(axes, groups):
        stop, last = (int(np.searchsorted(a, end)) + 1 for a in (axes, groups))
        inside = []
        for upto, (_, m) in zip(
            groups[group:last], maps[group:last], strict=True
        ):
            inside.append((math.prod(sizes[begin:upto]), m))
            begin = upto
        found.append((start, stop, variable.shape[start:stop], inside))
        start, group = stop, last
    return found


def stands(key: tuple[str, ...], found: Sequence[tuple[Any, str]]) -> bool:
    """Whether a product of dims is what the next factors are."""
    if len(found) < len(key):
        return False
    first = found[0][1]
    return all(
        name == (factor if role == first else f"~{factor}")
        for name, (factor, role) in zip(key, found, strict=False)
    )


def _factor_map(term, variable, factor, role):
    if not isinstance(factor, str):
        return None
    e = term.width(factor, variable.block)
    return None if e is None else _map_of(e, variable.axes, role == CONSUME)


def _map_of(e, axes, consumes):
    if axes.scale or axes.elementwise:
        return (e.tied_scale if consumes else e.scale).value
    if axes.offset:
        return (e.tied_offset if consumes else e.offset).value
    return e.reader.value if consumes else e.produce


def blocks(term: PlanTerm, variable: VariableSpec) -> list[tuple[str, float]]:
    """`[(source path, weight), ...]` that a target variable is mixed from."""
    if variable.stack is None or variable.block is None:
        return [(variable.path, 1.0)]
    mixing = term.depths.get(variable.stack)
    if mixing is None:
        return [(variable.path, 1.0)]
    rows = mixing.rows_of(variable)
    return [
        (variable.at(old), weight)
        for old, weight in mixing.reads(variable.block, rows)
    ]


def compose_terms(outer: PlanTerm, inner: PlanTerm, plan: Plan) -> PlanTerm:
    if outer.parts or inner.parts:
        raise GrowthError(
            "Plans whose terms divide a network among themselves do not "
            "compose into one. Apply the two one after the other."
        )
    depths = dict(inner.depths)
    for stack, mixing in outer.depths.items():
        before = depths.get(stack)
        depths[stack] = mixing if before is None else mixing @ before
    widths = {}
    for dim in {**inner.widths, **outer.widths}:
        if isinstance(inner.widths.get(dim), tuple) or isinstance(
            outer.widths.get(dim), tuple
        ):
            widths[dim] = _composeblocks(outer, inner, dim, plan)
        else:
            widths[dim] = _compose(outer.width(dim, 0), inner.width(dim, 0))
    return PlanTerm(widths, depths)


def _composeblocks(outer, inner, dim, plan):
    stack = plan.source.stack_of(dim)
    mixing = outer.depths.get(stack)
    if mixing is None:
        mixing = DepthExpansion.identity(plan.source.depths[stack])
    composed = []
    for block in range(mixing.target):
        # A block that reads none is fresh, and any map of the right size does.
        reads = mixing.reads(block) or [(0, 1.0)]
        if len(reads) > 1:
            raise GrowthError(
                f"Block {block} is mixed of {len(reads)} blocks whose "
                f"{dim!r} grew differently; that is no single map. Apply the "
                "two plans one after the other."
            )
        before = inner.width(dim, reads[0][0])
        composed.append(_compose(outer.width(dim, block), before))
    return tuple(composed)


def inverse_term(term: PlanTerm, spec: ModelSpec) -> PlanTerm:
    """The way back of a term.

    Args:
        term: `PlanTerm`.
        spec: `ModelSpec` of the larger network.

    Raises:
        GrowthError: an old entry or block is in none of the grown ones, or
            blocks are mixed that grew differently.
    """
    depths = {stack: m.inverse() for stack, m in term.depths.items()}
    widths = {}
    for dim, expansion in term.widths.items():
        if isinstance(expansion, tuple):
            stack = spec.stack_of(dim if isinstance(dim, str) else dim[0])
            mixing = None if stack is None else depths.get(stack)
            expansion = _of_kept_blocks(dim, expansion, mixing)
        widths[dim] = map_each(expansion, Expansion.inverse)
    return PlanTerm(widths, depths, term.parts, 1 / term.share)


def _of_kept_blocks(dim, expansions, mixing):
    """The expansions of the blocks that a way back keeps, one for each."""
    if mixing is None:
        return expansions
    if isinstance(mixing.rows, MatrixMap):
        raise GrowthError(
            f"There is no way back where {dim!r} grew in each block by itself "
            "and old blocks are mixed of several grown ones."
        )
    return tuple(expansions[block] for block in mixing.rows.indices)


def _compose(after, before):
    if after is None or before is None:
        return after or before
    return after @ before
