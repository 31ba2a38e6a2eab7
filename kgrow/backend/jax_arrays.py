"""How a plan works on arrays that several devices hold in pieces."""

import numpy as np
from keras.backend import standardize_dtype

from kgrow.algebra.arrays import Arrays
from kgrow.backend import jax_sharded, jax_sharded_maps


class ArraysInPieces(Arrays):
    """Arrays of which no device and no host has the whole.

    Args:
        place: `jax.sharding.NamedSharding` of what is made.
    """

    # Noise is drawn piece by piece and mapped on the devices.
    precision = "float32"

    def __init__(self, place):
        self.place = place

    def contract(self, value, segments):
        return jax_sharded_maps.contract(value, segments, self.place)

    def scaled(self, value, factor):
        # A number of the host, that belongs to no device.
        factor = float(factor)
        if factor == 1.0:
            return value
        dtype = np.dtype(standardize_dtype(value.dtype))
        return value * np.asarray(factor, dtype)

    def deviation(self, value):
        return jax_sharded.deviation(value)

    def made(self, shape, dtype, make):
        return jax_sharded.spread(make, shape, dtype, self.place)

    def added(self, value, other):
        return value + other.astype(value.dtype)

    def written(self, value, write):
        shape, dtype = value.shape, np.dtype(standardize_dtype(value.dtype))

        def make(index):
            piece = np.zeros(np.broadcast_to(False, shape)[index].shape, dtype)
            write(index, piece)
            return piece

        return value + self.made(shape, dtype, make)

    def as_values(self, made, values):
        return made

    def is_elsewhere(self, value):
        return jax_sharded.is_spread(value)

    def taken(self, value, mask, source):
        mask = self.made(value.shape, "bool", mask)
        return jax_sharded.where(mask, source, value)

    def copied(self, value):
        return jax_sharded.copy_of(jax_sharded.moved(value, self.place))
