"""Linear maps along the axes of arrays that several devices hold in pieces.

A map reads across its axis, and XLA's partitioner would put that axis together
on every device, which then holds the whole weight. So the devices first
exchange pieces (all-to-all): the axis becomes whole and another one is divided
in its place. Each device maps its piece, and the exchange is undone. No device
holds more than a few pieces at a time. A vector, which has no other axis, is
put together whole.

A program is compiled for each pair of shapes; maps are arguments of it, so
that a weight, its moments and the same weight of the next block share one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from kgrow.algebra.linear_maps import UNWRITTEN, MatrixMap
from kgrow.backend.jax_sharded import copy_of, moved

_EXACT = jax.lax.Precision.HIGHEST


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
    kind = "float64" if value.dtype == np.float64 else "float32"
    form, tables = [], []
    for start, stop, target, maps in segments:
        sizes = tuple(size for size, _ in maps)
        found = [_table(m, kind) for _, m in maps]
        if any(table is not None for table in found):
            form.append((start, stop, tuple(target), sizes))
            tables.append(found)
    if not tables:
        return None
    return _program(tuple(form), place, value.ndim), tables


def _table(m, kind):
    """The arrays of a map, arguments of a program; `None` for an identity."""
    if m is None or m.is_identity:
        return None
    if isinstance(m, MatrixMap):
        return m.matrix().astype(kind)
    weights = np.ones(m.target) if m.weights is None else m.weights
    weights = np.where(m.indices == UNWRITTEN, 0, weights).astype(kind)
    return np.maximum(m.indices, 0).astype(np.int32), weights


@functools.lru_cache(maxsize=512)
def _program(form, place, ndim):
    spec = [*place.spec] + [None] * (ndim - len(place.spec))
    cuts = [_names(part) for part in spec]

    def contract(value, tables):
        dtype = value.dtype
        # From the back: inner axes are mapped while the array is small.
        for segment, maps in reversed(list(zip(form, tables, strict=True))):
            value = _map_group(value, segment, maps, cuts)
        return value.astype(dtype)

    spec = PartitionSpec(*spec)
    mapped = jax.shard_map(
        contract,
        mesh=place.mesh,
        in_specs=(spec, PartitionSpec()),
        out_specs=spec,
        check_vma=False,
    )
    return jax.jit(mapped, out_shardings=NamedSharding(place.mesh, spec))


def _names(part):
    """The axes of the mesh that an entry of a `PartitionSpec` names."""
    if part is None:
        return ()
    return (part,) if isinstance(part, str) else tuple(part)


def _map_group(value, segment, maps, cuts):
    """The maps of one group of axes, on the piece of one device."""
    start, stop, target, sizes = segment
    exchanges = []
    others = [a for a in range(value.ndim) if not start <= a < stop]
    for axis in range(start, stop):
        if cuts[axis]:
            exchange = _Exchange(axis, cuts[axis], value.shape, others)
            value = exchange.make_whole(value)
            exchanges.append(exchange)
    before, after = value.shape[:start], value.shape[stop:]
    value = value.reshape(*before, *sizes, *after)
    for number, m in reversed(list(enumerate(maps))):
        if m is not None:
            value = _map_axis(value, m, start + number)
    value = value.reshape(*before, *target, *after)
    for exchange in reversed(exchanges):
        value = exchange.divide(value)
    return value


class _Exchange:
    """Makes one axis of a piece whole, and divides it again.

    Args:
        axis: int.
        names: tuple, the axes of the mesh that it is divided over.
        shape: tuple, of a device's piece.
        others: list of ints, the axes that may be divided meanwhile. The
            longest of those that need no padding is, or the longest of all.
    """

    def __init__(self, axis, names, shape, others):
        self.axis = axis
        self.names = names
        self.count = jax.lax.axis_size(names)
        self.other = max(
            others,
            key=lambda a: (shape[a] % self.count == 0, shape[a]),
            default=None,
        )
        self.length = None if self.other is None else shape[self.other]

    def make_whole(self, value):
        if self.other is None:
            return jax.lax.all_gather(
                value, self.names, axis=self.axis, tiled=True
            )
        widths = [(0, 0)] * value.ndim
        widths[self.other] = 0, -self.length % self.count
        return jax.lax.all_to_all(
            jnp.pad(value, widths),
            self.names,
            self.other,
            self.axis,
            tiled=True,
        )

    def divide(self, value):
        if self.other is None:
            size = value.shape[self.axis] // self.count
            first = jax.lax.axis_index(self.names) * size
            return jax.lax.dynamic_slice_in_dim(value, first, size, self.axis)
        value = jax.lax.all_to_all(
            value, self.names, self.axis, self.other, tiled=True
        )
        return jax.lax.slice_in_dim(value, 0, self.length, axis=self.other)


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
