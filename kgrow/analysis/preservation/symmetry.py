"""Do copies of a unit part once they are trained?"""

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.axes import PRODUCE
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.layers.float64 import exact_float64

_RATE = 0.1
# Against the rounding of one step, relative to how far it moves a weight.
_APART = 1e-6


class Trainer:
    """One step of gradient descent on a network that is grown again and again.

    Args:
        bench: `Bench` in float64.
        dim: name of the dimension that grows.
        size: `"multiple"` or `"any"`.
    """

    def __init__(self, bench, dim, size):
        self.bench = bench
        self.dim = dim
        self.size = size
        self.network, self.spec, _ = bench.target(dim, size)
        with bench.precision(), exact_float64():
            self.network.compile(keras.optimizers.SGD(_RATE), loss="mse")
            self.network.optimizer.build(self.network.trainable_variables)

    def twins(self, plan):
        """Pairs of units that are made alike, and those that part in a step.

        Units are alike if every weight that makes their values is the same; a
        head is a unit, and what lives inside a block is alike to others there.

        Returns:
            `(parted, pairs)`, two ints.
        """
        before = self._units(self.bench.grow(plan, self.dim, self.size))
        after = self._units(self._step())
        moved = max(
            np.abs(a - b).max() for a, b in zip(after, before, strict=True)
        )
        parted, pairs = 0, 0
        for old, new in zip(before, after, strict=True):
            one, other = _alike(old)
            apart = np.abs(new[one] - new[other]).max(axis=1)
            parted += int(np.sum(apart > _APART * moved))
            pairs += len(one)
        return parted, pairs

    def _step(self):
        x = self.bench.inputs
        y = np.random.default_rng(2).standard_normal(x.shape)
        with self.bench.precision(), exact_float64():
            self.network.train_on_batch(x, y)
            backend.sync(self.network)
            return {
                relative_path(self.network, w): np.asarray(
                    keras.ops.convert_to_numpy(w), "float64"
                )
                for w in grown_weights(self.network)
            }

    def _units(self, values):
        """`(units, weights)` that produce each unit's values: once for the
        network, or per block for units local to a block."""
        local = self.spec.stack_of(self.dim) is not None
        made = {}
        for path, variable in self.spec.variables.items():
            for position, axis in enumerate(variable.axes):
                if axis.role == PRODUCE and axis.factors == (self.dim,):
                    value = np.moveaxis(values[path], position, 0)
                    place = variable.block if local else None
                    value = value.reshape(len(value), -1)
                    made.setdefault(place, []).append(value)
        return [np.concatenate(rows, axis=1) for rows in made.values()]


def _alike(units):
    """Two lists of rows that are equal, pair by pair."""
    distance = np.abs(units[:, None] - units[None]).max(axis=-1)
    alike = distance <= 1e-12 * np.abs(units).max()
    return np.nonzero(np.triu(alike, 1))
