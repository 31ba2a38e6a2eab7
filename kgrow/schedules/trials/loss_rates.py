"""How fast a loss falls: over steps, over time, over FLOPs."""

import math
import statistics
import time
from dataclasses import dataclass

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.backend.flops import training_flops
from kgrow.backend.random import private_random
from kgrow.growth.batches import Data
from kgrow.schedules.triggers import loss_slope


@dataclass(frozen=True)
class Recorded:
    """The loss of a short run, as it was read now and then.

    Attributes:
        steps: tuple of floats, where each reading lies: the middle of the
            steps that it is a mean over. The first is 0, before any update.
        losses: tuple of as many floats.
        seconds_per_step: float or `None`, wall time, without the first steps,
            in which the step is compiled; `None` if there are no others.
        broken: int or `None`, the step at which the loss was no longer finite.
    """

    steps: tuple
    losses: tuple
    seconds_per_step: float | None = None
    broken: int | None = None


class Recorder(keras.callbacks.Callback):
    """Reads the loss of one epoch, and the clock.

    Args:
        every: int, steps between readings. Each makes the host wait for the
            device.
    """

    # As in `Growth`, metrics are read before a batch, not after it.
    async_safe = True

    def __init__(self, every):
        super().__init__()
        self.every = every
        self.readings = []
        self.broken = None
        self._next = 1

    def on_train_batch_begin(self, batch, logs=None):
        del logs
        if batch < self._next or self.broken is not None:
            return
        self._next = batch - batch % self.every + self.every
        backend.sync(self.model)
        self._read(batch, self.model.get_metrics_result()["loss"])

    def on_epoch_end(self, epoch, logs=None):
        del epoch
        last = self.params.get("steps")
        if self.broken is None and (
            not self.readings or self.readings[-1][0] < last
        ):
            self._read(last, logs["loss"])

    def _read(self, count, mean):
        mean = float(mean)
        if not math.isfinite(mean):
            self.broken = count
            self.model.stop_training = True
            return
        self.readings.append((count, mean, time.perf_counter()))

    def recorded(self):
        """The `Recorded` run."""
        steps, losses, update_scales = [], [], []
        before, total, clock = 0, 0.0, None
        for count, mean, now in self.readings:
            steps.append((before + count - 1) / 2)
            losses.append((mean * count - total) / (count - before))
            if clock is not None:
                update_scales.append((now - clock) / (count - before))
            before, total, clock = count, mean * count, now
        # A second program may be compiled in the steps after the first.
        update_scales = update_scales[1:] or update_scales
        pace = statistics.median(update_scales) if update_scales else None
        return Recorded(tuple(steps), tuple(losses), pace, self.broken)


def readable(data):
    """Data that give the same batches whenever they are read.

    Args:
        data: arrays `(x, y)`, a `keras.utils.PyDataset` or another iterable
            of batches.

    Returns:
        `Data`.

    Raises:
        GrowthError: it is none of these, or can be read only once.

    Example:

    >>> readable((np.zeros((4, 2)), np.zeros(4))).first[0].shape
    (4, 2)
    """
    if hasattr(data, "__next__"):
        raise GrowthError(
            "What is measured is trained on the same batches again and again, "
            "so that `data` must be arrays or a dataset that can be read more "
            f"than once. Received: {data!r} (of type {type(data).__name__})"
        )
    return Data(data)


def record(model, batches, steps, every):
    """Trains a model for some steps, and records how its loss falls.

    Args:
        model: a compiled `GrowableModel`.
        batches: iterator of batches `(x, y)`.
        steps: int.
        every: int, steps between readings.

    Returns:
        `Recorded`.

    Example:

    >>> import itertools, numpy as np, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam", "mse")
    >>> batches = itertools.repeat((np.ones((8, 2)), np.ones((8, 1))))
    >>> found = record(model, batches, steps=5, every=2)
    >>> found.steps
    (0.0, 1.0, 2.5, 4.0)
    """
    recorder = Recorder(every)
    model.fit(
        # Keras takes no iterator that is no generator.
        (batch for batch in batches),
        steps_per_epoch=steps,
        epochs=1,
        verbose=0,
        shuffle=False,
        callbacks=[recorder],
    )
    return recorder.recorded()


def flops_per_step(network, batch):
    """Training FLOPs of one step on batches as large as one.

    Args:
        network: a network; its weights need no values.
        batch: `(x, y)`.

    Example:

    >>> import numpy as np
    >>> dense = keras.layers.Dense(4)
    >>> dense.build((None, 3))
    >>> flops_per_step(dense, (np.ones((2, 3)), None))
    144
    """
    inputs = keras.tree.map_structure(
        lambda x: keras.KerasTensor(
            tuple(x.shape), keras.backend.standardize_dtype(x.dtype)
        ),
        batch[0],
    )
    return training_flops(network, inputs)


def flops_at(model, sizes, batch):
    """Training FLOPs of one step of a model at other sizes.

    Its network is built for that, without values.

    Args:
        model: `GrowableModel`.
        sizes: dict of those that are larger.
        batch: `(x, y)`.

    Example:

    >>> import numpy as np, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> batch = np.ones((1, 2)), np.ones((1, 1))
    >>> flops_at(model, {}, batch), flops_at(model, {"num_layers": 2}, batch)
    (456, 840)
    """
    config = model.architecture.check(sizes)
    with backend.scope(model), private_random(0):
        network, _ = model.architecture.build(config)
    return flops_per_step(network, batch)


def line(costs, losses, low, high):
    """The straight line through the part of a loss curve between two costs.

    Args:
        costs: increasing numbers.
        losses: as many numbers.
        low: number, a cost.
        high: number, another. Where fewer than two readings lie between, the
            two that lie nearest are taken.

    Returns:
        `(value, slope)`: the line in the middle of the two, and the loss per
        cost.

    Example:

    >>> value, slope = line([0, 1, 2, 3], [4.0, 3.0, 2.0, 1.0], 1, 3)
    >>> round(value, 6), round(slope, 6)
    (2.0, -1.0)
    """
    costs, losses = np.asarray(costs, float), np.asarray(losses, float)
    middle = (low + high) / 2
    # Rounding must not lose a reading at either end.
    slack = 1e-9 * (high - low)
    inside = (costs >= low - slack) & (costs <= high + slack)
    if inside.sum() < 2:
        inside = np.argsort(abs(costs - middle), kind="stable")[:2]
    costs, losses = costs[inside], losses[inside]
    # In parts of the window: squares of FLOPs would be huge.
    scale = high - low
    slope = loss_slope(costs / scale, losses) / scale
    return float(losses.mean() + slope * (middle - costs.mean())), slope
