"""Save and restore the position of `fit` in its data."""

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import PyDatasetAdapter
from kgrow.backend.random import random_states, set_random_states

KEY = "backup"


def resumes_inside_epoch(model):
    """Whether the epoch that begins continues one that a killed run had
    started, so that batch counters must go on."""
    return "inside" in model.callback_state.get(KEY, {})


def was_stopped(model):
    """Whether the model was loaded as a run left it that had been stopped."""
    return model.callback_state.get(KEY, {}).get("stopped", False)


class DataPosition:
    """Tracks what one call of `fit` has read, and skips it after a restart.

    Batches that are skipped are fetched and thrown away, before any callback
    hears of them. What is read again is as little as gives the same data: of
    arrays, `PyDataset`s and finite datasets the present epoch, for which
    shuffling gets the random states of its beginning; everything since `fit`
    began with `steps_per_epoch`, where one iterator goes on over epochs.

    Args:
        iterator: Keras' epoch iterator, which is changed.

    Attributes:
        first: int, the epoch that `fit` began with.
        start: what `random_states()` gave when it began.
    """

    def __init__(self, iterator):
        self.iterator = iterator
        self.first = None
        self.start = random_states()
        self._epoch_start = self.start
        self._target = None
        self._enumerate = iterator._enumerate_iterator
        iterator._enumerate_iterator = self._batches

    def at(self, epoch, batch):
        """The position, as data that JSON can hold.

        Args:
            epoch: int, the epoch of the next batch.
            batch: int, how many of its batches were trained.
        """
        return {
            "epoch": epoch,
            "batch": batch,
            "first": epoch if self.first is None else self.first,
            "start": self.start,
            "epoch_start": self._epoch_start,
            "random": random_states(),
        }

    def seek(self, position):
        """Lets the next epoch begin where `at()` was called."""
        self._target = position
        self.first = position["first"]
        self.start = position["start"]

    def _batches(self):
        target, self._target = self._target, None
        left = 0
        if target is not None:
            left = target["batch"]
            self._skip_epochs(target)
        self._epoch_start = random_states()
        for begin, end, batches in self._enumerate():
            if left <= 0:
                yield begin, end, batches
                continue
            for _ in range(begin, end + 1):
                if next(batches, None) is None:
                    raise GrowthError(
                        "The data are not those of the run that is to go on: "
                        f"epoch {target['epoch'] + 1} has only "
                        f"{target['batch'] - left} batches, and "
                        f"{target['batch']} of it had been trained."
                    )
                left -= 1
            if left <= 0:
                set_random_states(target["random"])

    def _skip_epochs(self, target):
        """Goes to where the epoch of a position begins."""
        set_random_states(target["start"])
        goes_on = self.iterator.steps_per_epoch is not None
        for _ in range(target["first"], target["epoch"]):
            if goes_on:
                for begin, end, batches in self._enumerate():
                    for _ in range(begin, end + 1):
                        next(batches, None)
            else:
                self._skip_epoch()
        if not target["batch"]:
            set_random_states(target["random"])
        elif not goes_on:
            set_random_states(target["epoch_start"])

    def _skip_epoch(self):
        """Advances data that change at each epoch, as Keras would:
        `on_epoch_end`, or a new iterator for shuffling datasets."""
        adapter = self.iterator.data_adapter
        adapter.on_epoch_begin()
        if not isinstance(adapter, PyDatasetAdapter):
            next(iter(self.iterator._get_iterator()), None)
        adapter.on_epoch_end()


def build_metrics(model, iterator):
    """Makes metrics that TensorFlow makes with the first batch.

    Args:
        model: compiled model.
        iterator: Keras' epoch iterator, of which no batch is lost.
    """
    metrics = model._compile_metrics
    if metrics is None or metrics.built:
        return
    # Of a generator, Keras has looked at the first batches already.
    known = getattr(iterator.data_adapter, "_first_batches", None)
    batch = known[0] if known else next(iter(iterator._get_iterator()))
    model._symbolic_build(data_batch=batch)


def metric_values(model):
    """The metrics of the running epoch, as data that JSON can hold."""
    return [
        keras.ops.convert_to_numpy(v).tolist() for v in model.metrics_variables
    ]


def set_metric_values(model, values):
    """Gives metrics the values that `metric_values()` read."""
    variables = model.metrics_variables
    if len(variables) != len(values):
        raise GrowthError(
            "The backup is of a run with other metrics. Compile the model as "
            "it was, or delete the backup to begin anew. Received: "
            f"{len(variables)} metric variables, and {len(values)} in the "
            "backup"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
