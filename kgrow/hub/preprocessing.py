"""Data that a task's preprocessor turns into inputs, batch by batch."""

import types

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError

_BATCH_SIZE = 32


class Preprocessed(keras.utils.PyDataset):
    """Batches of another dataset, each preprocessed when it is asked for.

    Args:
        source: `keras.utils.PyDataset` of `x`, `(x,)`, `(x, y)` or `(x, y,
            sample_weight)`.
        preprocess: function of these three, such as the
            `preprocess_samples()` of a task.

    Example:

    >>> double = lambda x, y=None, sample_weight=None: 2 * x
    >>> Preprocessed(Batches(np.ones((5, 2)), batch_size=4), double)[0][0].shape
    (4, 2)
    """

    def __init__(self, source, preprocess):
        super().__init__(
            workers=source.workers,
            use_multiprocessing=source.use_multiprocessing,
            max_queue_size=source.max_queue_size,
        )
        self.source = source
        self.preprocess = preprocess

    @property
    def num_batches(self):
        return self.source.num_batches

    def __getitem__(self, index):
        return apply(self.preprocess, self.source[index])

    def on_epoch_begin(self):
        self.source.on_epoch_begin()

    def on_epoch_end(self):
        self.source.on_epoch_end()


class Batches(keras.utils.PyDataset):
    """Consecutive slices of arrays.

    Args:
        x: array, list of strings, or a tuple or dict of these.
        y: the same, optional.
        sample_weight: the same, optional.
        batch_size: optional int, 32 by default.

    Raises:
        GrowthError: lengths differ, or what there is has none.
    """

    def __init__(self, x, y=None, sample_weight=None, batch_size=None):
        super().__init__()
        self.parts = (x, y, sample_weight)
        self.batch_size = batch_size or _BATCH_SIZE
        self.length = _length(self.parts)

    @property
    def num_batches(self):
        return -(-self.length // self.batch_size)

    def __getitem__(self, index):
        start = index * self.batch_size
        return self.rows(start, start + self.batch_size).parts

    def rows(self, start, stop):
        """The same, of some rows alone."""
        parts = (_rows(part, start, stop) for part in self.parts)
        return Batches(*parts, batch_size=self.batch_size)


def preprocessed(preprocess, x, y=None, sample_weight=None, batch_size=None):
    """Converts arguments of a task's `fit` to arguments of Keras' `fit`.

    Args:
        preprocess: function of `x`, `y` and `sample_weight`.
        x: arrays, lists of strings, tuples or dicts of these; or a
            `keras.utils.PyDataset`, a `tf.data.Dataset` or a generator of
            batches, with nothing beside it.
        y: labels, optional.
        sample_weight: optional.
        batch_size: optional int.

    Raises:
        GrowthError: a dataset comes with labels or a batch size of its own,
            or is of another kind.

    Example:

    >>> double = lambda x, y=None, sample_weight=None: 2 * x
    >>> preprocessed(double, np.ones((5, 2)), batch_size=4).num_batches
    2
    """
    if _is_batched(x):
        rest = (y, sample_weight, batch_size)
        if any(part is not None for part in rest):
            raise GrowthError(
                "A dataset has its labels, its weights and the size of its "
                f"batches in it. Received: {type(x).__name__} with "
                f"y={y!r}, sample_weight={sample_weight!r}, "
                f"batch_size={batch_size!r}"
            )
    if _is_tensorflow(x):
        return x.map(preprocess, num_parallel_calls=-1).prefetch(-1)
    if isinstance(x, types.GeneratorType):
        return (apply(preprocess, batch) for batch in x)
    if not isinstance(x, keras.utils.PyDataset):
        x = Batches(x, y, sample_weight, batch_size)
    return Preprocessed(x, preprocess)


def apply(preprocess, batch):
    """One batch, preprocessed, as a tuple of numpy arrays."""
    made = preprocess(*keras.utils.unpack_x_y_sample_weight(batch))
    parts = keras.utils.unpack_x_y_sample_weight(made)
    return tuple(_arrays(part) for part in parts if part is not None)


def _arrays(value):
    if isinstance(value, dict):
        return {key: _arrays(v) for key, v in value.items()}
    if isinstance(value, tuple):
        return tuple(_arrays(v) for v in value)
    if keras.ops.is_tensor(value):
        return keras.ops.convert_to_numpy(value)
    return np.asarray(value)


def _is_tensorflow(x):
    return type(x).__module__.startswith("tensorflow.") and hasattr(x, "map")


def _is_batched(x):
    kinds = (keras.utils.PyDataset, types.GeneratorType)
    return isinstance(x, kinds) or _is_tensorflow(x)


def _leaves(part):
    """Leaves that have rows; a list of samples is one leaf."""
    if isinstance(part, dict):
        return [leaf for v in part.values() for leaf in _leaves(v)]
    if isinstance(part, tuple):
        return [leaf for v in part for leaf in _leaves(v)]
    return [] if part is None else [part]


def _rows(part, start, stop):
    if isinstance(part, dict):
        return {k: _rows(v, start, stop) for k, v in part.items()}
    if isinstance(part, tuple):
        return tuple(_rows(v, start, stop) for v in part)
    return None if part is None else part[start:stop]


def _length(parts):
    leaves = _leaves(parts)
    sized = [leaf for leaf in leaves if _has_rows(leaf)]
    lengths = sorted({len(leaf) for leaf in sized})
    if len(sized) < len(leaves) or len(lengths) != 1:
        kinds = [type(leaf).__name__ for leaf in leaves]
        raise GrowthError(
            "Data are arrays or lists of the same length, with samples along "
            "the first axis; or a `keras.utils.PyDataset`, a "
            "`tf.data.Dataset` or a generator of batches. Put a single text "
            f"into a list. Received: {kinds} with the lengths {lengths}"
        )
    return lengths[0]


def _has_rows(leaf):
    if hasattr(leaf, "shape"):
        return len(leaf.shape) > 0
    return isinstance(leaf, list)
