"""Growing variables that lie in pieces on several devices, where they lie.

The same growth as `Plan.grow()`, for arrays of which no device and no host
ever sees the whole: maps are applied on the devices, and what is new comes
from the host piece by piece. What stays small enough for one place are the
maps themselves.
"""

import math

import numpy as np
from keras.backend import standardize_dtype

from kgrow import backend
from kgrow.algebra.axes import CONSUME, PRODUCE
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.new_entries import draw, draw_noise, unwritten
from kgrow.algebra.plan_term import (
    NewEntryInit,
    blocks,
    factor_shape,
    factors,
    joint_maps,
)
from kgrow.backend import is_spread, pieces


def grown_value(plan, path, values, variable, fill=None):
    """The value of a grown variable, as `Plan.grow()` makes it, where the
    variable is to lie.

    Args:
        plan: `Plan`.
        path: path in the target.
        values: dict with at least the source's `reads(path)`.
        variable: `keras.Variable` that will hold it.
        fill: see `Plan.grow()`; an array that is spread, too.

    Raises:
        GrowthError: the arrays lie on several devices, and no distribution
            says where the grown ones are to be.
    """
    if not any(is_spread(v) for v in values.values()):
        return plan.grow(path, values, fill)
    place = backend.place_of(variable)
    if place is None:
        raise GrowthError(
            f"The model lies on several devices, and no distribution is active "
            f"that says where {path!r} is to lie once it has grown. Call "
            "`keras.distribution.set_distribution(...)`, or `grow()` inside "
            "`with distribution.scope():`."
        )
    return _Spread(plan, path, values, place).grown(fill)


def grown_values(plan, values, variables):
    """Grows one variable after the other, those of a joint map together.

    Args:
        plan: `Plan`.
        values: dict from paths in the source to arrays.
        variables: dict from paths in the target to `keras.Variable`s, where
            arrays in pieces are to lie.

    Yields:
        `(path, array)`
    """
    if not any(is_spread(v) for v in values.values()):
        yield from plan.each(values)
        return
    made = {}
    for path, variable in variables.items():
        joint = plan.joint_map_of(path)
        if joint is None:
            yield path, grown_value(plan, path, values, variable)
            continue
        if path not in made:
            read = {p: values[p] for p in joint.sources(path)}
            made |= pieces.divided(joint.grow, read)
        value = plan.rescale(made.pop(path), plan.target.variables[path])
        yield path, pieces.moved(value, backend.place_of(variable))


class _Spread:
    """One variable of a plan, of arrays in pieces."""

    def __init__(self, plan, path, values, place):
        self.plan = plan
        self.variable = plan.target.variables[path]
        self.values = values
        self.place = place
        first = next(v for v in values.values() if is_spread(v))
        self.dtype = standardize_dtype(first.dtype)

    def grown(self, fill):
        plan, total = self.plan, None
        for term in plan.terms:
            part = self._read(term)
            if part is not None:
                total = part if total is None else total + part
        if total is None:
            return self._without_source(fill)
        total = self._rescaled(total)
        if plan.degree == 1:
            total = self._with_noise(total)
        return self._filled(total, fill)

    def _read(self, term):
        variable = self.variable
        reads, share = blocks(term, variable), term.share_of(variable)
        if not reads or share == 0:
            return None
        if variable.axes.residual_out and variable.stack in term.depths:
            exits = term.depths[variable.stack].exits
            share = share * float(exits[variable.block])
        total = None
        for path, weight in reads:
            value = self._scaled(self.values[path], float(weight))
            total = value if total is None else total + value
        total = self._expanded(total, joint_maps(term, variable))
        return self._scaled(total, share)

    def _expanded(self, value, maps):
        """One old variable with every axis expanded.

        Args:
            value: array.
            maps: `[(number of factors, map or None), ...]`.
        """
        return pieces.contract(value, self._segments(maps), self.place)

    def _segments(self, maps):
        """The maps by the axes of the variable that they fill: where an axis
        and a group of factors end together, see `pieces.contract()`."""
        plan, variable = self.plan, self.variable
        first = plan.reads(variable.path)[0]
        old = plan.source.variables[first]
        sizes = factor_shape(old, plan.source.sizes)
        axes = np.cumsum([len(axis.factors) or 1 for axis in variable.axes])
        groups = np.cumsum([count for count, _ in maps])
        segments, begin, start, group = [], 0, 0, 0
        for end in np.intersect1d(axes, groups):
            stop, last = (np.searchsorted(a, end) + 1 for a in (axes, groups))
            inside = []
            for upto, (_, m) in zip(
                groups[group:last], maps[group:last], strict=True
            ):
                inside.append((math.prod(sizes[begin:upto]), m))
                begin = upto
            segments.append((start, stop, variable.shape[start:stop], inside))
            start, group = stop, last
        return segments

    def _rescaled(self, value):
        factor = 1.0
        for dim, power in self.variable.axes.powers:
            ratio = self.plan.target.sizes[dim] / self.plan.source.sizes[dim]
            factor *= ratio ** (power * self.plan.degree)
        return self._scaled(value, factor)

    def _scaled(self, value, factor):
        # A number of the host, that belongs to no device.
        if factor == 1.0:
            return value
        return value * np.asarray(factor, np.dtype(self.dtype))

    def _without_source(self, fill):
        """A variable that is made of no other."""
        if fill is None and not is_spread(self._given):
            return self._made(self._new_block)
        if fill is None:
            value = pieces.copy_of(pieces.moved(self._given, self.place))
            return self._scaled(value, self._exit())
        if is_spread(fill):
            return pieces.copy_of(pieces.moved(fill, self.place))
        fill = np.broadcast_to(fill, self.variable.shape)
        return self._made(lambda index: fill[index])

    def _filled(self, value, fill):
        """A grown variable with what no term writes."""
        places = unwritten(self.plan, self.variable)
        if not places:
            return value
        places = sorted(places, key=lambda place: place[2] == PRODUCE)
        if fill is None and is_spread(self._given):
            mask = self._made(lambda i: self._new(places, i, None), "bool")
            return pieces.where(mask, self._given, value)
        if is_spread(fill):
            mask = self._made(lambda i: self._new(places, i, True), "bool")
            return pieces.where(mask, fill, value)
        if fill is None and all(self._is_zero(*place[2:]) for place in places):
            # Maps leave zeros where they do not write.
            return value
        return value + self._made(lambda i: self._new(places, i, fill))

    def _is_zero(self, role, dim):
        return self._fresh(role, dim) == "zeros"

    def _fresh(self, role, dim):
        new_entries = self.plan.new_entries.get(dim, NewEntryInit())
        return new_entries.incoming if role == PRODUCE else new_entries.outgoing

    def _made(self, make, dtype=None):
        shape = self.variable.shape
        return pieces.spread(make, shape, dtype or self.dtype, self.place)

    def _new_block(self, index):
        """A piece of a variable of a block that copies none."""
        plan, variable = self.plan, self.variable
        if self._given is not None:
            value = self._given.reshape(variable.shape)[index]
        else:
            at = _Coordinates.of(variable, plan.target.sizes, index)
            count = math.prod(variable.shape)
            value = draw(plan, variable, count, "", at.flat())
        return value * self._exit()

    @property
    def _given(self):
        """What new entries are taken from, or `None`."""
        return self.plan.given.get(self.variable.path)

    def _exit(self):
        """What the exits of a new block are multiplied by."""
        plan, variable = self.plan, self.variable
        depths = plan.terms[0].depths if plan.terms else {}
        if not variable.axes.residual_out or variable.stack not in depths:
            return 1.0
        return float(depths[variable.stack].exits[variable.block])

    def _new(self, places, index, fill):
        """A piece of what stands where no term writes, zeros elsewhere."""
        plan, variable = self.plan, self.variable
        at = _Coordinates.of(variable, plan.target.sizes, index)
        out = np.zeros(at.shape, "float32")
        for position, rows, role, dim in places:
            mine, part = at.part(position, rows)
            if fill is not None:
                new = np.broadcast_to(fill, variable.shape)[index][mine]
            elif self._is_zero(role, dim):
                new = 0.0
            elif is_spread(self._given):
                # Where it stands, is all that is asked of the host.
                new = 1.0
            elif self._given is not None:
                new = self._given.reshape(variable.shape)[index][mine]
            else:
                count = math.prod(part.sizes)
                name = f"{dim}/{role}"
                new = draw(plan, variable, count, name, part.flat())
            out[mine] = new
        return out

    def _with_noise(self, value):
        """The plan's noise, see `entries.add_noise()`."""
        plan, variable = self.plan, self.variable
        if variable.axes.scale or variable.axes.elementwise:
            return value
        for position, (dim, role) in enumerate(factors(variable.axes)):
            std = plan.noise.get(dim)
            if not std or role != CONSUME:
                continue
            e = (plan.effect or plan.terms)[0].width(dim, variable.block)
            size = std * pieces.deviation(value)

            def make(index, dim=dim, size=size):
                at = _Coordinates.of(variable, plan.target.sizes, index)
                count = math.prod(variable.shape)
                return size * draw_noise(plan, variable, count, dim, at.flat())

            noise = self._made(make, "float32")
            value = value + self._unseen(noise, position, e).astype(value.dtype)
        return value

    def _unseen(self, noise, position, e):
        """What of the noise copies of a value do not read."""
        read = MatrixMap(e.produce.matrix().T)
        seen = pieces.contract(noise, self._along(position, read), self.place)
        back = self._along(position, e.consume)
        return noise - pieces.contract(seen, back, self.place)

    def _along(self, position, m):
        """The one segment of a map along a factor."""
        sizes = factor_shape(self.variable, self.plan.target.sizes)
        ends = np.cumsum([len(a.factors) or 1 for a in self.variable.axes])
        number = int(np.searchsorted(ends, position, side="right"))
        start, stop = [0, *ends][number], ends[number]
        inside = [(size, None) for size in sizes[start:stop]]
        others = math.prod(n for n, _ in inside) // inside[position - start][0]
        inside[position - start] = (m.source, m)
        return [(number, number + 1, (others * m.target,), inside)]


class _Coordinates:
    """Where the entries of a piece stand, along all factors of the axes.

    Args:
        sizes: tuple, of the factors.
        along: list of arrays, the coordinates along each factor.
        axes: list, the axis of the piece that each factor belongs to.
        shape: tuple, of the piece.
    """

    def __init__(self, sizes, along, axes, shape):
        self.sizes = tuple(sizes)
        self.along = along
        self.axes = axes
        self.shape = tuple(shape)

    @classmethod
    def of(cls, variable, sizes, index):
        """Those of the piece `index`, a tuple of slices, of a variable."""
        sizes = factor_shape(variable, sizes)
        along, axes, shape, start = [], [], [], 0
        for number, axis in enumerate(variable.axes):
            entries = np.arange(variable.shape[number])[index[number]]
            stop = start + (len(axis.factors) or 1)
            along += np.unravel_index(entries, sizes[start:stop])
            axes += [number] * (stop - start)
            shape.append(len(entries))
            start = stop
        return cls(sizes, along, axes, shape)

    def part(self, position, rows):
        """The entries that stand in some rows of one factor.

        Returns:
            `(index, coordinates)`: into the piece, and among all such entries
            of the variable.
        """
        axis = self.axes[position]
        mine = np.flatnonzero(np.isin(self.along[position], rows))
        sizes, shape = list(self.sizes), list(self.shape)
        sizes[position], shape[axis] = len(rows), len(mine)
        along = [
            entries[mine] if a == axis else entries
            for a, entries in zip(self.axes, self.along, strict=True)
        ]
        along[position] = np.searchsorted(rows, along[position])
        index = (slice(None),) * axis + (mine,)
        return index, _Coordinates(sizes, along, self.axes, shape)

    def flat(self):
        """Flat positions, in the shape of the piece."""
        total = np.zeros(self.shape, np.int64)
        for size, along, axis in zip(
            self.sizes, self.along, self.axes, strict=True
        ):
            shape = [1] * len(self.shape)
            shape[axis] = -1
            total = total * size + along.reshape(shape)
        return total
