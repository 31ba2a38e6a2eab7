"""Entries of grown variables that no map writes, and noise that none reads."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops
from keras.backend import standardize_dtype

from kgrow.algebra.axes import CONSUME, PRODUCE
from kgrow.algebra.contraction import contract
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.initializers import is_elementwise, sample
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.plan_term import (
    NewEntryInit,
    factor_maps,
    factor_shape,
    factors,
)
from kgrow.algebra.types import Array

if TYPE_CHECKING:
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
            m = factor_maps(term, variable)[position]
            rows = np.empty(0, np.int64) if m is None else m.unwritten
            left = rows if left is None else np.intersect1d(left, rows)
        if left is not None and left.size:
            found.append((position, left, role, factor))
    return found


def fill_unwritten(
    plan: Plan, value: Array, variable: VariableSpec, fill: Array | None = None
) -> Array:
    """Fills the entries of a grown variable that no term writes.

    Args:
        plan: `Plan`.
        value: the grown variable, an array or a tensor.
        variable: `VariableSpec` of the target.
        fill: an array of the variable's shape or a number to take them from;
            the plan's own `new_entries` values by default.
    """
    places = unwritten(plan, variable)
    if not places:
        return value
    host = isinstance(value, np.ndarray)
    shape = factor_shape(variable, plan.target.sizes)
    out = value if host else np.zeros(shape, standardize_dtype(value.dtype))
    out = out.reshape(shape)
    # What is new on a producing axis is incoming, whatever else it is.
    for position, rows, role, dim in sorted(
        places, key=lambda place: place[2] == PRODUCE
    ):
        index = (slice(None),) * position + (rows,)
        if fill is None:
            out[index] = _new_entries(plan, variable, dim, role, index)
        elif isinstance(fill, np.ndarray):
            out[index] = fill.reshape(shape)[index]
        else:
            out[index] = fill
    out = out.reshape(variable.shape)
    # Maps leave zeros where they do not write, so that a tensor, which may be
    # one of a traced step, takes what is new by addition.
    return out if host else value + ops.convert_to_tensor(out)


def new_block(plan: Plan, variable: VariableSpec) -> Array:
    """A variable of a block that copies none: the layer's own initial value,
    zero if it is an exit of a block that starts as the identity."""
    shape = factor_shape(variable, plan.target.sizes)
    if variable.path in plan.given:
        value = np.array(plan.given[variable.path]).reshape(shape)
    else:
        value = _draw(plan, variable, shape, "")
    depths = plan.terms[0].depths if plan.terms else {}
    stack = variable.stack if variable.axes.residual_out else None
    if stack is not None and stack in depths:
        value *= depths[stack].exits[variable.block]
    return value.reshape(variable.shape)


def add_noise(plan: Plan, value: Array, variable: VariableSpec) -> Array:
    """Adds the plan's noise, in the null space of what copies produce.

    With `P = produce` and `C = consume`, noise `N` on the reading side becomes
    `N - C P' N`; as `P' C = I`, copies of a value read nothing of it.
    """
    if variable.axes.scale or variable.axes.elementwise:
        return value
    for position, (factor, role) in enumerate(factors(variable.axes)):
        std = plan.noise.get(factor)
        if not std or role != CONSUME:
            continue
        e = (plan.effect or plan.terms)[0].width(factor, variable.block)
        shape = factor_shape(variable, plan.target.sizes)
        host = np.asarray(ops.convert_to_numpy(value)).reshape(shape)
        drawn = draw_noise(plan, variable, host.size, factor)
        noise = drawn.reshape(shape) * std * host.std()
        maps: list[Any] = [None] * len(shape)
        maps[position] = MatrixMap(e.produce.matrix().T)
        seen = contract(noise, maps)
        maps[position] = e.consume
        noise = (noise - contract(seen, maps)).reshape(variable.shape)
        if isinstance(value, np.ndarray):
            value = value + noise.astype(value.dtype)
        else:
            value = value + ops.cast(noise, value.dtype)
    return value


def _new_entries(plan, variable, dim, role, index):
    """New rows of one dimension in a variable: zeros, given, or drawn."""
    new_entries = plan.new_entries.get(dim, NewEntryInit())
    side = new_entries.incoming if role == PRODUCE else new_entries.outgoing
    if side == "zeros":
        return 0
    shape = factor_shape(variable, plan.target.sizes)
    if variable.path in plan.given:
        return plan.given[variable.path].reshape(shape)[index]
    part = np.empty(shape, bool)[index].shape
    return _draw(plan, variable, part, f"{dim}/{role}")


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
            them are wanted, by default all. No more is drawn than what stands
            near.

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


def _draw(plan, variable, part, name):
    """Initial values for a part of a variable, given by its sizes along all
    factors of the axes."""
    return draw(plan, variable, int(np.prod(part)), name).reshape(part)


def _rng(plan, name, block=0):
    seed = [plan.seed, zlib.crc32(name.encode())]
    return np.random.default_rng(seed + [block] * (block > 0))
