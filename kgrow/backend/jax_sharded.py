"""Arrays that several devices hold in pieces.

Maps are applied where the pieces are. Products of matrices are left to XLA's
partitioner. A gather along a divided axis is not: the partitioner puts the
whole axis together on every device, however many there are. Here the pieces
of the source go round in a ring, and each device takes of every piece the rows
that its own read, so that it holds its piece, the one that passes by, and its
piece of the result.

A program is compiled for each pair of shapes; maps are arguments of it, so
that a weight, its moments and the same weight of the next block share one.
"""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kgrow.algebra.linear_maps import UNWRITTEN, MatrixMap

_EXACT = jax.lax.Precision.HIGHEST


def is_spread(value):
    """Whether an array lies on more than one device."""
    return (
        isinstance(value, jax.Array)
        and not isinstance(value, jax.core.Tracer)
        and len(value.sharding.device_set) > 1
    )


def place_of(variable):
    """The sharding that the active distribution gives a variable, or `None`
    where there is none."""
    variable._initialize_layout()
    layout = variable._layout
    if isinstance(layout, keras.distribution.TensorLayout):
        return layout.backend_layout
    return layout


def spread(make, shape, dtype, place):
    """An array of which every device gets its piece from the host.

    Args:
        make: function from the slices of a piece to a numpy array. It is
            called for one piece after the other, and for none that belongs to
            another process.
        shape: tuple of ints.
        dtype: string.
        place: `jax.sharding.Sharding`.
    """
    shape = tuple(shape)
    found = place.addressable_devices_indices_map(shape).items()
    pieces, key, piece = {}, None, None
    for device, index in sorted(found, key=lambda item: str(item[1])):
        if key != index:
            key, piece = index, np.asarray(make(index), jnp.dtype(dtype))
        # A copy for each: a step that donates its arrays writes into them,
        # and memory of the host may be taken over as it is.
        pieces[device] = jax.device_put(np.array(piece), device)
    pieces = [pieces[device] for device, _ in found]
    return jax.make_array_from_single_device_arrays(shape, place, pieces)


def wanted(form, like):
    """A shape and dtype, to be where another array is."""
    return jax.ShapeDtypeStruct(
        tuple(form.shape), form.dtype, sharding=like.sharding
    )


def copy_of(value):
    """The same values in the same places, in memory of their own."""
    return _copier(value.sharding)(value)


def moved(value, place):
    """An array, the host's too, in the places of a sharding."""
    if isinstance(value, np.ndarray):
        return spread(lambda i: value[i], value.shape, value.dtype, place)
    if value.sharding.is_equivalent_to(place, value.ndim):
        return value
    if value.sharding.device_set != place.device_set:
        return jax.device_put(value, place)
    # Never by way of the host.
    return _copier(place)(value)


@functools.lru_cache(maxsize=256)
def _copier(place):
    return jax.jit(jnp.copy, out_shardings=place)


@jax.jit
def _mean(value):
    return jnp.mean(value, dtype="float64")


def mean(value):
    """The mean of all entries, in double precision."""
    with jax.enable_x64(True):
        return float(_mean(value))


@jax.jit
def _deviation(value):
    return jnp.std(value.astype("float32"))


def deviation(value):
    """The standard deviation of all entries."""
    return float(_deviation(value))


@jax.jit
def _any(value):
    return jnp.any(value != 0)


def has_values(value):
    """Whether any entry is not zero."""
    return bool(_any(value))


def where(mask, value, other):
    """The entries of `value` where `mask` is true and those of the array
    `other` elsewhere, in its places."""
    return _chooser(other.sharding)(mask, value, other)


@functools.lru_cache(maxsize=256)
def _chooser(place):
    def choose(mask, value, other):
        return jnp.where(mask, value, other).astype(other.dtype)

    return jax.jit(choose, out_shardings=place)


def contract(value, segments, place):
    """Applies maps along groups of axes.

    Args:
        value: array, whose shape the place's axes divide as well.
        segments: list of `(start, stop, target, maps)`, see
            `kgrow.algebra.arrays.Arrays.contract()`.
        place: `NamedSharding` of the result.

    Returns:
        array with that sharding. Rows that a map leaves unwritten are zero.
    """
    value = moved(value, place)
    found = program_of(value, segments, place)
    if found is None:
        return copy_of(value)
    program, tables = found
    return program(value, tables)


def program_of(value, segments, place):
    """The compiled function that `contract()` calls and the tables that it is
    given with the value; `None` where nothing changes."""
    segments = [
        (start, stop, tuple(target), [(n, _changes(m)) for n, m in maps])
        for start, stop, target, maps in segments
    ]
    found = [m for *_, maps in segments for _, m in maps if m is not None]
    if not found:
        return None
    if any(isinstance(m, MatrixMap) for m in found):
        return _products(value, segments, place)
    return _gathers(value, segments, place)


def _changes(m):
    return None if m is None or m.is_identity else m


def _products(value, segments, place):
    """The program and the tables of maps of which one is a matrix."""
    kind = "float64" if value.dtype == np.float64 else "float32"
    form, tables = [], []
    for start, stop, target, maps in segments:
        sizes = tuple(size for size, _ in maps)
        form.append((start, stop, target, sizes))
        tables.append([_table(m, kind) for _, m in maps])
    return _product_program(tuple(form), place), tables


def _table(m, kind):
    """The arrays of a map, arguments of a program."""
    if isinstance(m, MatrixMap):
        return m.matrix().astype(kind)
    if m is None:
        return None
    weights = np.ones(m.target) if m.weights is None else m.weights
    weights = np.where(m.indices == UNWRITTEN, 0, weights).astype(kind)
    return np.maximum(m.indices, 0).astype(np.int32), weights


@functools.lru_cache(maxsize=512)
def _product_program(form, place):
    def contract(value, tables):
        dtype = value.dtype
        # From the back: inner axes are mapped while the array is small.
        for (start, stop, target, sizes), maps in reversed(
            list(zip(form, tables, strict=True))
        ):
            before, after = value.shape[:start], value.shape[stop:]
            value = value.reshape(*before, *sizes, *after)
            for number, m in reversed(list(enumerate(maps))):
                if m is not None:
                    value = _map_axis(value, m, start + number)
            value = value.reshape(*before, *target, *after)
        return value.astype(dtype)

    return jax.jit(contract, out_shardings=place)


def _map_axis(value, m, axis):
    """One map of `_table()` along an axis."""
    if isinstance(m, tuple):
        indices, weights = m
        shape = [1] * value.ndim
        shape[axis] = -1
        rows = jnp.take(value, indices, axis=axis)
        return rows * weights.reshape(shape).astype(value.dtype)
    product = jnp.tensordot(
        m, value.astype(m.dtype), axes=(1, axis), precision=_EXACT
    )
    return jnp.moveaxis(product, 0, axis)


def _gathers(value, segments, place):
    """The program and the tables of maps that are gathers."""
    spec = [*place.spec] + [None] * (value.ndim - len(place.spec))
    shape, steps, tables = list(value.shape), [], []
    # From the back: inner axes are gathered while the array is small.
    for start, stop, target, maps in reversed(segments):
        if all(m is None for _, m in maps):
            continue
        cuts = spec[start:stop]
        names = tuple(n for n in place.mesh.axis_names if n in cuts)
        counts = [1 if n is None else place.mesh.shape[n] for n in cuts]
        # Pieces are numbered as devices are, along the axes of the mesh.
        order = [cuts.index(name) for name in names]
        source = _members(shape[start:stop], counts, order)
        wanted = _members(target, counts, order)
        local = tuple(t // c for t, c in zip(target, counts, strict=True))
        steps.append(_Step(start, stop, names, local))
        tables.append(_gather_tables(maps, source, wanted))
        shape[start:stop] = target
    return _gather_program(
        place.mesh, PartitionSpec(*spec), tuple(steps)
    ), tables


def divided(grow, values):
    """Runs a joint map with its large tensors in pieces.

    Args:
        grow: function of `(values, lay_out)`. What it passes through
            `lay_out`, and what it returns, is divided over as many axes of the
            mesh as divide its last axes.
        values: dict of arrays, at least one of them spread.
    """
    mesh = next(
        v.sharding.mesh
        for v in values.values()
        if isinstance(v.sharding, NamedSharding)
    )

    def over_the_mesh(value):
        spec, axis = [None] * value.ndim, value.ndim - 1
        for name, count in mesh.shape.items():
            if axis >= 0 and count > 1 and value.shape[axis] % count == 0:
                spec[axis] = name
                axis -= 1
        place = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.lax.with_sharding_constraint(value, place)

    @jax.jit
    def run(values):
        return jax.tree.map(over_the_mesh, grow(values, over_the_mesh))

    return run(values)


@dataclass(frozen=True)
class _Step:
    """One gather along neighbouring axes: which, over which axes of the mesh
    they are divided, and their shape on a device afterwards."""

    start: int
    stop: int
    names: tuple
    local: tuple


@functools.lru_cache(maxsize=512)
def _gather_program(mesh, spec, steps):
    def contract(value, tables):
        for step, table in zip(steps, tables, strict=True):
            value = _apply(step, table, value)
        return value

    mapped = jax.shard_map(
        contract,
        mesh=mesh,
        in_specs=(spec, PartitionSpec()),
        out_specs=spec,
        check_vma=False,
    )
    return jax.jit(mapped, out_shardings=NamedSharding(mesh, spec))


def _apply(step, table, value):
    """A step on the pieces of one device."""
    before, after = value.shape[: step.start], value.shape[step.stop :]
    value = value.reshape(math.prod(before), -1, math.prod(after))
    size = math.prod(step.local)
    shape = (value.shape[0], size, value.shape[2])
    if not step.names:
        here = 0
        out = _choose(table, here, 0, value, jnp.zeros(shape, value.dtype))
    else:
        count = jax.lax.psum(1, step.names)
        here = jax.lax.axis_index(step.names)
        ring = [(i, (i - 1) % count) for i in range(count)]

        def pass_on(turn, carry):
            piece, out = carry
            out = _choose(table, here, (here + turn) % count, piece, out)
            return jax.lax.ppermute(piece, step.names, ring), out

        start = value, jnp.zeros(shape, value.dtype)
        _, out = jax.lax.fori_loop(0, count, pass_on, start)
    weights = table["weights"][here]
    out = out * weights[None, :, None].astype(out.dtype)
    return out.reshape(*before, *step.local, *after)


def _choose(table, here, there, piece, out):
    """The rows that a piece from `there` has for this device."""
    rows = jnp.take(piece, table["positions"][here], axis=1)
    mine = table["owners"][here] == there
    return jnp.where(mine[None, :, None], rows, out)


def _members(shape, counts, order):
    """Which entries of flattened axes each piece has, `(pieces, entries)`.

    Args:
        shape: list, of the axes.
        counts: list, how many pieces each is cut into.
        order: list, the axes that are cut, as pieces are numbered.
    """
    sizes = []
    for size, count in zip(shape, counts, strict=True):
        sizes += [count, size // count]
    axes = range(len(shape))
    whole = [2 * axis for axis in axes if axis not in order]
    first = [2 * axis for axis in order] + whole
    entries = np.arange(math.prod(shape)).reshape(sizes)
    entries = entries.transpose(first + [2 * axis + 1 for axis in axes])
    return entries.reshape(math.prod(counts), -1)


def _gather_tables(maps, source, wanted):
    """Whose row each row reads, at which place, times what."""
    indices, weights = np.zeros(1, np.int64), np.ones(1)
    written = np.ones(1, bool)
    for size, m in maps:
        read = np.arange(size) if m is None else m.indices
        has = (
            np.ones(len(read)) if m is None or m.weights is None else m.weights
        )
        indices = (indices[:, None] * size + np.maximum(read, 0)).ravel()
        weights = (weights[:, None] * has).ravel()
        written = (written[:, None] & (read != UNWRITTEN)).ravel()
    owner, position = np.empty((2, source.size), np.int32)
    owner[source] = np.arange(len(source))[:, None]
    position[source] = np.arange(source.shape[1])
    read = indices[wanted]
    return {
        "owners": owner[read],
        "positions": position[read],
        "weights": np.where(written, weights, 0)[wanted].astype("float32"),
    }
