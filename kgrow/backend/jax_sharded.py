"""Arrays that several devices hold in pieces: made, moved and measured."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec


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
