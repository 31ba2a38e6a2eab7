"""Entries of grown variables that no map writes, and noise that none reads."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from kgrow.algebra.axes import CONSUME, PRODUCE
from kgrow.algebra.coordinates import Coordinates
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.initializers import is_elementwise, sample
from kgrow.algebra.lazy_keras import numpy_dtype
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.plan_term import (
    NewEntryInit,
    factor_maps,
    factor_shape,
    factors,
    joint_maps,
)
from kgrow.algebra.types import Array

if TYPE_CHECKING:
    from kgrow.algebra.arrays import Arrays
    from kgrow.algebra.plan import Plan
    from kgrow.algebra.spec import VariableSpec

# Entries of one generator: parts of a variable are drawn without the rest.
_AT_ONCE = 1 << 20


def unwritten(plan: Plan, variable: VariableSpec) -> list:
    """Where no term of a plan writes a variable.

    Returns:
        `[(position, rows, role, dim), ...]`: along which factor of the axes,
        which rows, and what they are rows of.
    """
    found = []
    for position, (factor, role) in enumerate(factors(variable.axes)):
        left = None
        for term in plan.terms:
            m = _written_by(term, variable)[position]
            rows = np.empty(0, np.int64) if m is None else m.unwritten
            left = rows if left is None else np.intersect1d(left, rows)
        if left is not None and left.size:
            found.append((position, left, role, factor))
    return found


def _written_by(term, variable):
    """The map of each factor; `None` too for one whose map is a part of the
    map of a product that writes everything."""
    alone, maps = factor_maps(term, variable), []
    for count, m in joint_maps(term, variable):
        whole = count > 1 and not m.unwritten.size
        here = alone[len(maps) : len(maps) + count]
        maps += [None] * count if whole else here
    return maps


def fill_unwritten(
    plan: Plan,
    value: Array,
    variable: VariableSpec,
    arrays: Arrays,
    fill: Array | None = None,
) -> Array:
    """Fills the entries of a grown variable that no term writes.

    Args:
        plan: `Plan`.
        value: the grown variable, zero in these entries.
        variable: `VariableSpec` of the target.
        arrays: `Arrays`, where the value is.
        fill: an array of the variable's shape or a number to take them from;
            the plan's own `new_entries` values by default.
    """
    places = _places(plan, variable)
    if fill is None:
        source = plan.given.get(variable.path)
        if all(_is_zero(plan, role, dim) for _, _, role, dim in places):
            return value
    else:
        source = fill
    if not places:
        return value
    if arrays.is_elsewhere(source):

        def mask(index):
            out = _piece_of(variable, index, bool)
            for place in places:
                zero = fill is None and _is_zero(plan, *place[2:])
                _write(plan, variable, place, index, out, not zero)
            return out

        return arrays.taken(value, mask, source)

    def write(index, out):
        for place in places:
            _write(plan, variable, place, index, out, fill)

    return arrays.written(value, write)


def new_variable(
    plan: Plan,
    variable: VariableSpec,
    values: Sequence[Array],
    arrays: Arrays,
    fill: Array | None = None,
) -> Array:
    """A variable that is made of no other, as in a block that copies none.

    It is the layer's own initial value, zero if it is an exit of a block that
    starts as the identity; or `fill`, as it is.

    Args:
        plan: `Plan`.
        variable: `VariableSpec` of the target.
        values: arrays of whose kind and dtype it is.
        arrays: `Arrays`, where it is to be.
        fill: see `fill_unwritten()`.
    """
    source, share = fill, 1.0
    if fill is None:
        source, share = plan.given.get(variable.path), _exit(plan, variable)
    if arrays.is_elsewhere(source):
        return arrays.scaled(arrays.copied(source), share)

    def make(index):
        if source is None:
            at = Coordinates.of(variable, plan.target.sizes, index)
            piece = _draw(plan, variable, at, "")
        elif fill is None:
            piece = np.asarray(source).reshape(variable.shape)[index]
        else:
            piece = np.broadcast_to(source, variable.shape)[index]
        return piece if share == 1.0 else piece * share

    dtype = numpy_dtype(values[0]).name
    made = arrays.made(variable.shape, dtype, make)
    return arrays.as_values(made, values)


def add_noise(
    plan: Plan, value: Array, variable: VariableSpec, arrays: Arrays
) -> Array:
    """Adds the plan's noise, in the null space of what copies produce.

    With `P = produce` and `C = consume`, noise `N` on the reading side becomes
    `N - C P' N`; as `P' C = I`, copies of a value read nothing of it. Entries
    that no term writes get none: they are filled afterwards.
    """
    if variable.axes.scale or variable.axes.elementwise:
        return value
    places = _places(plan, variable)
    for position, (factor, role) in enumerate(factors(variable.axes)):
        std = plan.noise.get(factor)
        if not std or role != CONSUME:
            continue
        deviation = arrays.deviation(value)

        def make(index, factor=factor, std=std, deviation=deviation):
            at = Coordinates.of(variable, plan.target.sizes, index)
            count = math.prod(variable.shape)
            out = draw_noise(plan, variable, count, factor, at.flat())
            out = out.reshape(at.shape) * std * deviation
            for place in places:
                _write(plan, variable, place, index, out, 0.0)
            return out

        e = (plan.effect or plan.terms)[0].width(factor, variable.block)
        noise = arrays.made(variable.shape, arrays.precision, make)
        read = MatrixMap(e.produce.matrix().T)
        sizes = factor_shape(variable, plan.target.sizes)
        seen = arrays.contract(noise, [_along(variable, sizes, position, read)])
        back = _along(variable, sizes, position, e.consume)
        noise = noise - arrays.contract(seen, [back])
        value = arrays.added(value, noise)
    return value


def _along(variable, sizes, position, m):
    """The segment of a map along one factor of a variable's axes."""
    ends = np.cumsum([len(a.factors) or 1 for a in variable.axes])
    number = int(np.searchsorted(ends, position, side="right"))
    start, stop = [0, *ends][number], ends[number]
    inside = [(size, None) for size in sizes[start:stop]]
    others = math.prod(n for n, _ in inside) // inside[position - start][0]
    inside[position - start] = (m.source, m)
    return number, number + 1, (others * m.target,), inside


def _places(plan, variable):
    """`unwritten()`, in the order in which they are written: what is new on a
    producing axis is incoming, whatever else it is."""
    places = unwritten(plan, variable)
    return sorted(places, key=lambda place: place[2] == PRODUCE)


def _is_zero(plan, role, dim):
    """Whether new rows of a dimension start from zeros."""
    new = plan.new_entries.get(dim, NewEntryInit())
    return (new.incoming if role == PRODUCE else new.outgoing) == "zeros"


def _write(plan, variable, place, index, out, fill):
    """Writes the entries of one place into a piece of a variable: a number or
    part of an array, or, where `fill` is `None`, zeros, given or drawn."""
    position, rows, role, dim = place
    at = Coordinates.of(variable, plan.target.sizes, index)
    mine, part = at.part(position, rows)
    if fill is None and _is_zero(plan, role, dim):
        out[mine] = 0
    elif fill is None and variable.path in plan.given:
        given = plan.given[variable.path].reshape(variable.shape)
        out[mine] = given[index][mine]
    elif fill is None:
        out[mine] = _draw(plan, variable, part, f"{dim}/{role}")
    elif np.ndim(fill):
        fill = np.broadcast_to(fill, variable.shape)
        out[mine] = fill[index][mine]
    else:
        out[mine] = fill


def _piece_of(variable, index, dtype):
    """Zeros in the shape of a piece of a variable."""
    shape = np.broadcast_to(False, variable.shape)[index].shape
    return np.zeros(shape, dtype)


def _exit(plan, variable):
    """The factor on the exits of a new block."""
    depths = plan.terms[0].depths if plan.terms else {}
    stack = variable.stack if variable.axes.residual_out else None
    if stack is None or stack not in depths:
        return 1.0
    return float(depths[stack].exits[variable.block])


def draw(
    plan: Plan,
    variable: VariableSpec,
    count: int,
    name: str,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """Initial values for entries of a variable.

    Args:
        plan: `Plan`.
        variable: `VariableSpec` of the target.
        count: int, how many entries there are.
        name: string, which of the variable's entries they are.
        positions: optional array of ints, ascending in storage order: which of
            them are wanted, by default all. No more is drawn than the blocks
            around these.

    Returns:
        numpy array, flat or in the shape of `positions`.
    """
    if variable.initializer is None:
        raise GrowthError(
            f"New entries of {variable.path!r} need an initializer, and the "
            "target spec names none. Build the spec with `initializers=`."
        )
    size = _AT_ONCE if is_elementwise(variable.initializer) else count

    def block(number, length):
        return sample(
            variable.initializer,
            variable.shape,
            "float32",
            _rng(plan, f"{variable.path}/{name}", number),
            count=length,
        )

    return _in_blocks(block, count, size, positions)


def draw_noise(
    plan: Plan,
    variable: VariableSpec,
    count: int,
    dim: str,
    positions: np.ndarray | None = None,
) -> np.ndarray:
    """Standard normal numbers for entries of a variable, see `draw()`."""

    def block(number, length):
        name = f"{variable.path}/noise/{dim}"
        return _rng(plan, name, number).standard_normal(length)

    return _in_blocks(block, count, _AT_ONCE, positions)


def _in_blocks(block, count, size, positions):
    """What `block(number, length)` makes, as far as it is wanted."""
    starts = range(0, count, size)
    if positions is None:
        found = [block(n, min(size, count - s)) for n, s in enumerate(starts)]
        return found[0] if len(found) == 1 else np.concatenate(found or [()])
    flat, found = positions.reshape(-1), []
    for number, start in enumerate(starts):
        first, last = np.searchsorted(flat, [start, start + size])
        if first < last:
            drawn = block(number, min(size, count - start))
            found.append(drawn[flat[first:last] - start])
    return np.concatenate(found or [()]).reshape(positions.shape)


def _draw(plan, variable, at, name):
    """Initial values for the entries at some coordinates."""
    drawn = draw(plan, variable, math.prod(at.sizes), name, at.flat())
    return drawn.reshape(at.shape)


def _rng(plan, name, block=0):
    seed = [plan.seed, zlib.crc32(name.encode())]
    return np.random.default_rng(seed + [block] * (block > 0))
