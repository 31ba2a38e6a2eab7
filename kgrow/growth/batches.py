"""The `data` argument of `grow()`, batch by batch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plain_data import short

_FIRST = 32


class Data:
    """Batches `(x, y)` or `(x, y, sample_weight)` of any data that `fit` takes.

    Args:
        data: arrays `(x, y[, sample_weight])`, a `keras.utils.PyDataset`, a
            `tf.data.Dataset` or another iterable of batches.

    Raises:
        GrowthError: the data is none of these.

    Example:

    >>> data = Data((np.zeros((5, 2)), np.zeros(5)))
    >>> [x.shape for x, y in itertools.islice(data.batches(2), 3)]
    [(2, 2), (2, 2), (2, 2)]
    """

    def __init__(self, data: Any) -> None:
        self._data: Any = data
        # A list of tuples is one of batches; `[x, y]` may be arrays.
        self._arrays = (
            isinstance(data, (tuple, list))
            and len(data) in (2, 3)
            and not (
                isinstance(data, list)
                and all(isinstance(part, tuple) for part in data)
            )
        )
        if self._arrays:
            data = self._data = _checked(data)
            self.first = tuple(_take(part, slice(_FIRST)) for part in data)
            return
        if isinstance(data, (str, bytes, dict)):
            raise _no_data(data, "no batches")
        try:
            batches = iter(self._once())
            first = next(batches)
        except Exception as error:
            said = str(error) or "no batch"
            raise _no_data(data, said) from error
        if not isinstance(first, (tuple, list)) or len(first) not in (2, 3):
            raise GrowthError(
                "`data` must yield (x, y) or (x, y, sample_weight). Received: "
                f"a batch of type {type(first).__name__}"
            )
        self.first = tuple(_checked(first))
        if batches is data:
            # An iterator, whose first batch is already taken.
            self._data = itertools.chain([self.first], batches)

    def batches(
        self, batch_size: int, seed: int = 0
    ) -> Iterator[tuple[Any, ...]]:
        """Yields batches without end: the data is read again when it ends.

        Args:
            batch_size: int, for data given as arrays.
            seed: int, shuffles arrays.

        Raises:
            GrowthError: the data came to its end and cannot be read again.
        """
        if self._arrays:
            yield from self._of_arrays(batch_size, seed)
        while True:
            count = 0
            for batch in self._once():
                count += 1
                yield tuple(batch)
            if not count:
                raise GrowthError(
                    "`data` came to its end before the last step. Give data "
                    "that can be read again, or fewer `steps`."
                )

    def once(self, batch_size: int, steps: int | None = None) -> Iterator[Any]:
        """Yields every batch once, in the order of the data.

        Args:
            batch_size: int, used where the data are arrays.
            steps: int, the most batches to yield; `None` for all.

        Raises:
            GrowthError: the data may have no end, and `steps` is `None`.
        """
        if steps is None and self._may_be_endless():
            raise GrowthError(
                "All of `data` is to be read, and it may have no end. Say how "
                "many batches to read with `steps`, or give data that end. "
                f"Received: {type(self._data).__name__}"
            )
        if self._arrays:
            size = len(keras.tree.flatten(self._data[0])[0])
            batches = (
                tuple(
                    _take(part, slice(start, start + batch_size))
                    for part in self._data
                )
                for start in range(0, size, batch_size)
            )
        else:
            batches = map(tuple, self._once())
        yield from itertools.islice(batches, steps)

    def _may_be_endless(self):
        if isinstance(self._data, itertools.chain):
            # Of an iterator nothing is known.
            return True
        if isinstance(self._data, keras.utils.PyDataset):
            return self._data.num_batches is None
        # `tf.data` counts -1 batches where a set repeats without end.
        cardinality = getattr(self._data, "cardinality", None)
        return cardinality is not None and int(cardinality()) == -1

    def _of_arrays(self, batch_size, seed):
        size = len(keras.tree.flatten(self._data[0])[0])
        batch_size = min(batch_size, size)
        rng = np.random.default_rng(seed)
        while True:
            order = rng.permutation(size)
            for start in range(0, size - batch_size + 1, batch_size):
                rows = np.sort(order[start : start + batch_size])
                yield tuple(_take(part, rows) for part in self._data)

    def _once(self):
        if isinstance(self._data, keras.utils.PyDataset):
            count = self._data.num_batches
            numbers = itertools.count() if count is None else range(count)
            return (self._data[i] for i in numbers)
        return self._data


def _no_data(data, said):
    return GrowthError(
        "`data` is a batch (x, y), a `keras.utils.PyDataset`, a "
        "`tf.data.Dataset` or another iterable of batches. Received: "
        f"{type(data).__name__}, {said}"
    )


def _checked(batch):
    """Checks that a batch consists of arrays with one row per example.

    Raises:
        GrowthError: a part is not an array, or the numbers of rows differ.
    """
    if len(batch) == 3 and batch[2] is None:
        batch = batch[:2]
    rows = set()
    for name, part in zip(("x", "y", "sample_weight"), batch, strict=False):
        leaves = keras.tree.flatten(part)
        for leaf in leaves or [part]:
            shape = getattr(leaf, "shape", None)
            if shape is None or len(shape) == 0:
                raise GrowthError(
                    "`data` is a batch (x, y) of arrays with a row for each "
                    f"example. Received: {name} has {short(leaf)} (of type "
                    f"{type(leaf).__name__})"
                )
            rows.add(int(shape[0]))
    if len(rows) != 1 or 0 in rows:
        raise GrowthError(
            "All arrays of `data` must have as many rows, at least one. "
            f"Received: {sorted(rows)} rows"
        )
    return batch


def _take(part, rows):
    return keras.tree.map_structure(lambda a: a[rows], part)
