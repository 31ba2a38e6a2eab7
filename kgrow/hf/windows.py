"""A large tensor grown in windows, so that little of it is in memory.

A window is some of the new rows along one axis, along which every map is a
gather: each row reads one old row. The plan of a window is the plan of a small
network, in which the axis is named by its number, `window0`. So windows of an
expert, which is one entry along the first axis, are windows of a window.
"""

import dataclasses

import numpy as np

from kgrow.algebra.axes import PRODUCE
from kgrow.algebra.expansion import Expansion, Pair
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap
from kgrow.algebra.plan_term import blocks, factor_maps, factors

_NAME = "window{}"


def window_axis(plan, variable):
    """The axis to divide a variable along, or `None` if there is none.

    It has one factor, several entries and only gathers along it. One that
    produces comes first: noise is projected along axes that consume.

    Returns:
        `(axis, factor)`, or `None`.
    """
    places = _window_axes(plan, variable)
    places = [p for p in places if variable.shape[p[1]] > 1]
    return min(places)[1:] if places else None


def entry_plan(plan, path, entry):
    """The plan of one entry along the first axis of a variable.

    Args:
        plan: `Plan`.
        path: string, of the variable in the target.
        entry: int.

    Returns:
        `(plan, old entries)`, as `windows()` yields them, or `None` where the
        entry is not to be had without the others.
    """
    variable = plan.target.variables[path]
    if 0 not in [axis for _, axis, _ in _window_axes(plan, variable)]:
        return None
    return _window(plan, variable, 0, 0, slice(entry, entry + 1))


def _window_axes(plan, variable):
    if any(isinstance(k, tuple) for t in plan.terms for k in t.widths):
        return []  # products of dimensions have maps of their own
    maps = [factor_maps(term, variable) for term in plan.terms]
    found, start = [], 0
    roles = factors(variable.axes)
    for axis, names in enumerate(variable.axes):
        width = len(names.factors) or 1
        along = [m[start] for m in maps]
        noisy = plan.noise.get(roles[start][0]) and names.role != PRODUCE
        gathers = all(m is None or isinstance(m, GatherMap) for m in along)
        if width == 1 and gathers and not noisy:
            found.append((names.role != PRODUCE, axis, start))
        start += width
    return found


def windows(plan, path, place, rows):
    """The windows of a variable of the target.

    Args:
        plan: `Plan`.
        path: string, of the variable in the target.
        place: `(axis, factor)`, as `window_axis()` finds it.
        rows: int, new rows in a window.

    Yields:
        `(slice of the new rows, plan of the window, old rows)`: the plan grows
        arrays of the old rows only.
    """
    axis, factor = place
    variable = plan.target.variables[path]
    size = variable.shape[axis]
    for start in range(0, size, rows):
        span = slice(start, min(start + rows, size))
        yield span, *_window(plan, variable, axis, factor, span)


def _window(plan, variable, axis, factor, span):
    name, _ = factors(variable.axes)[factor]
    window = _NAME.format(axis)
    new = np.arange(span.start, span.stop)
    along = []
    for term in plan.terms:
        m = factor_maps(term, variable)[factor]
        along.append(_restricted(m, variable.shape[axis], new))
    reads = np.concatenate([m.indices for m in along])
    # A window of new rows alone reads none; an array has to have one.
    old = np.unique(reads[reads != UNWRITTEN]) if reads.max() >= 0 else [0]
    old = np.asarray(old)
    terms = tuple(
        dataclasses.replace(
            t,
            widths={**t.widths, window: _same(m, old)},
            parts=t.parts | {window} if name in t.parts else t.parts,
        )
        for t, m in zip(plan.terms, along, strict=True)
    )
    sources = {p for term in plan.terms for p, _ in blocks(term, variable)}
    state = np.random.SeedSequence([plan.seed, span.start]).generate_state(1)
    fresh = plan.new_entries
    if name in fresh:
        fresh = {**fresh, window: fresh[name]}
    small = dataclasses.replace(
        plan,
        source=_cut(plan.source, sources, axis, window, len(old)),
        target=_cut(plan.target, {variable.path}, axis, window, len(new)),
        terms=terms,
        new_entries=fresh,
        seed=int(state[0]),
    )
    return small, old


def _restricted(m, size, rows):
    if m is None:
        return GatherMap(size, rows)
    weights = None if m.weights is None else m.weights[rows]
    return GatherMap(m.source, m.indices[rows], weights)


def _same(m, old):
    """An expansion whose every map is `m`, from the old rows that are read."""
    indices = np.where(
        m.indices == UNWRITTEN, UNWRITTEN, np.searchsorted(old, m.indices)
    )
    small = GatherMap(len(old), indices, m.weights)
    pair = Pair(small, small)
    return Expansion(small, small, pair, pair, pair, pair)


def _cut(spec, paths, axis, name, size):
    """A spec of some variables, one axis of which is a window."""
    variables = {}
    for path in paths:
        v = spec.variables[path]
        axes = list(v.axes)
        axes[axis] = dataclasses.replace(axes[axis], factors=(name,))
        shape = list(v.shape)
        shape[axis] = size
        variables[path] = dataclasses.replace(
            v,
            shape=tuple(shape),
            axes=dataclasses.replace(v.axes, axes=tuple(axes)),
        )
    sizes = {**spec.sizes, name: size}
    return dataclasses.replace(spec, variables=variables, sizes=sizes)
