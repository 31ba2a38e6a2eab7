"""One summand of a plan, and how it meets the axes of a variable."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from kgrow.axes import CONSUME
from kgrow.errors import GrowthError
from kgrow.expansion import Expansion
from kgrow.mixing import Mixing

FRESH = ("zeros", "initializer")


@dataclass(frozen=True)
class Fresh:
    """What stands in entries of a grown dimension that no map writes.

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
class Term:
    """One summand of a plan: an expansion per dimension, a mixing per stack.

    Args:
        widths: dict from dim names to an `Expansion`, or to a tuple with one
            per new block for a dimension local to a stack.
        depths: dict from stack names to a `Mixing`.
    """

    widths: Mapping[str, Expansion | tuple[Expansion, ...]] = field(
        default_factory=dict
    )
    depths: Mapping[str, Mixing] = field(default_factory=dict)

    def width(self, dim, block):
        expansion = self.widths.get(dim)
        if isinstance(expansion, tuple):
            return expansion[block]
        return expansion

    def map(self, change_width, change_depth):
        """The term with every expansion and every mixing replaced."""
        widths = {
            dim: tuple(change_width(e) for e in expansion)
            if isinstance(expansion, tuple)
            else change_width(expansion)
            for dim, expansion in self.widths.items()
        }
        depths = {s: change_depth(m) for s, m in self.depths.items()}
        return Term(widths, depths)


def factors(axes):
    """The factors of all axes in a row, each with its axis' role; an axis
    without a name is one factor, `None`."""
    return [
        (factor, axis.role)
        for axis in axes
        for factor in (axis.factors or (None,))
    ]


def factor_shape(variable, sizes):
    shape = []
    for axis, size in zip(variable.axes, variable.shape, strict=True):
        if axis.factors:
            shape += [sizes.get(f, f) for f in axis.factors]
        else:
            shape.append(size)
    return tuple(shape)


def factor_maps(term, variable):
    axes = variable.axes
    maps = []
    for factor, role in factors(axes):
        e = (
            term.width(factor, variable.block)
            if isinstance(factor, str)
            else None
        )
        if e is None:
            maps.append(None)
        elif role == CONSUME:
            maps.append(e.consume)
        else:
            maps.append(e.gain if axes.gain else e.produce)
    return maps


def blocks(term, variable):
    """`[(source path, weight), ...]` that a target variable is mixed from."""
    if variable.stack is None:
        return [(variable.path, 1.0)]
    mixing = term.depths.get(variable.stack)
    if mixing is None:
        return [(variable.path, 1.0)]
    return [
        (variable.at(old), weight)
        for old, weight in mixing.reads(variable.block)
    ]


def compose_terms(outer, inner, plan):
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
    return Term(widths, depths)


def _composeblocks(outer, inner, dim, plan):
    stack = plan.source.stack_of(dim)
    mixing = outer.depths.get(stack)
    if mixing is None:
        mixing = Mixing.identity(plan.source.depths[stack])
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


def _compose(after, before):
    if after is None or before is None:
        return after or before
    return after @ before
