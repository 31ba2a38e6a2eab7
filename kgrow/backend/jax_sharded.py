"""Arrays that lie in pieces on several devices, grown where they lie.

One map along one axis needs rows from other devices. The pieces of the source
go round in a ring, and each device takes of every piece what its own rows
read: at no time does a device hold more than its piece, the one that passes
by, and its piece of the result. What a compiler makes of a gather along a
split axis is the whole axis on every device, and is not asked for it.

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
    """An array in the places of a sharding."""
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
        segments: list of `(start, stop, target, maps)`: axes `start` to
            `stop` become those of shape `target`; `maps` is a list of
            `(source size, map or None)` whose sizes multiply to those of the
            axes.
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
    spec = [*place.spec] + [None] * (value.ndim - len(place.spec))
    shape, steps, tables = list(value.shape), [], []
    # From the back: inner axes are gathered while the array is small.
    for start, stop, target, maps in reversed(segments):
        maps = [(n, None if m is None or m.is_identity else m) for n, m in maps]
        if all(m is None for _, m in maps):
            continue
        cuts = spec[start:stop]
        names = tuple(n for n in place.mesh.axis_names if n in cuts)
        counts = [1 if n is None else place.mesh.shape[n] for n in cuts]
        # Pieces are numbered as devices are, along the axes of the mesh.
        order = [cuts.index(name) for name in names]
        source = _members(shape[start:stop], counts, order)
        wanted = _members(target, counts, order)
        dense = any(isinstance(m, MatrixMap) for _, m in maps)
        make = _product_tables if dense else _gather_tables
        local = tuple(t // c for t, c in zip(target, counts, strict=True))
        steps.append(_Step(start, stop, names, local, dense))
        tables.append(make(maps, source, wanted, value.dtype))
        shape[start:stop] = target
    if not steps:
        return None
    return _program(place.mesh, PartitionSpec(*spec), tuple(steps)), tables


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
    """One map along neighbouring axes: which, over which axes of the mesh
    they are split, their shape on a device afterwards, and whether the map is
    a product of matrices."""

    start: int
    stop: int
    names: tuple
    local: tuple
    dense: bool


@functools.lru_cache(maxsize=512)
def _program(mesh, spec, steps):
    def run(value, tables):
        for step, table in zip(steps, tables, strict=True):
            value = _apply(step, table, value)
        return value

    mapped = jax.shard_map(
        run,
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
    take = _multiply if step.dense else _choose
    if not step.names:
        here = 0
        out = take(table, here, 0, value, jnp.zeros(shape, value.dtype))
    else:
        count = jax.lax.psum(1, step.names)
        here = jax.lax.axis_index(step.names)
        ring = [(i, (i - 1) % count) for i in range(count)]

        def pass_on(turn, carry):
            piece, out = carry
            out = take(table, here, (here + turn) % count, piece, out)
            return jax.lax.ppermute(piece, step.names, ring), out

        start = value, jnp.zeros(shape, value.dtype)
        _, out = jax.lax.fori_loop(0, count, pass_on, start)
    if not step.dense:
        weights = table["weights"][here]
        out = out * weights[None, :, None].astype(out.dtype)
    return out.reshape(*before, *step.local, *after)


def _choose(table, here, there, piece, out):
    """The rows that a piece from `there` has for this device."""
    rows = jnp.take(piece, table["positions"][here], axis=1)
    mine = table["owners"][here] == there
    return jnp.where(mine[None, :, None], rows, out)


def _multiply(table, here, there, piece, out):
    """What a piece from `there` adds to the product on this device."""
    rows, columns = table["rows"][here], table["columns"][there]
    block = 1.0
    for number, matrix in enumerate(table["matrices"]):
        row, column = rows[:, number], columns[:, number]
        if matrix is None:
            part = (row[:, None] == column).astype("float32")
        else:
            part = jnp.take(jnp.take(matrix, row, 0), column, 1)
        block = block * part
    moved = jnp.einsum(
        "mn,pnq->pmq", block, piece.astype(block.dtype), precision=_EXACT
    )
    return out + moved.astype(out.dtype)


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


def _gather_tables(maps, source, wanted, dtype):
    """Whose row each row reads, at which place, times what."""
    del dtype
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


def _product_tables(maps, source, wanted, dtype):
    """The factors' matrices, and where in them each row and column stands."""
    kind = "float64" if dtype == np.float64 else "float32"
    targets = [n if m is None else m.target for n, m in maps]
    matrices = [None if m is None else m.matrix().astype(kind) for _, m in maps]
    return {
        "rows": _coordinates(wanted, targets),
        "columns": _coordinates(source, [n for n, _ in maps]),
        "matrices": matrices,
    }


def _coordinates(entries, sizes):
    places = np.unravel_index(entries, sizes)
    return np.stack(places, axis=-1).astype(np.int32)
