"""`kgrow.fit`: a schedule whose stages have their own data."""

import math

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.callbacks.backup_and_restore import BackupAndRestore
from kgrow.callbacks.data_position import resumes_inside_epoch
from kgrow.callbacks.growth import STAGE_END, Growth
from kgrow.callbacks.stage_data import StageData
from kgrow.schedules.stage_bounds import Epochs, Steps


def fit(
    model,
    schedule,
    x=None,
    y=None,
    *,
    data=None,
    batch_size=None,
    sequence_length=None,
    epochs=None,
    steps_per_epoch=None,
    validation_data=None,
    callbacks=None,
    verbose="auto",
    **kwargs,
):
    """Trains a model through all stages of a schedule.

    Calls the model's own `fit`, once for each stretch of training with the
    same data, batch size and sequence length, and grows the model where the
    schedule says so. Where these do not change, one call goes on over a
    growth, in the middle of an epoch too.

    Where they do, the epoch ends there, in the middle of its data if it must,
    and the next one begins with the data of the new stage, from their start.
    Such a short epoch has its number and its entry in the `History` like any
    other: no number comes twice, and the entries are of different numbers of
    batches. Batches are never trained on twice to fill an epoch up.

    Called again, also in another process that has loaded the model's weights,
    it goes on where it stopped, with the epoch's number; an epoch that was
    broken off begins anew, and its steps stay counted. A schedule that is at
    its end trains nothing. Callbacks see one `on_train_begin` for each call of
    the model's `fit`.

    Args:
        model: a compiled `GrowableModel`.
        schedule: `GrowthSchedule`.
        x: arrays or a dataset, as for `model.fit`, where all stages have the
            same data.
        y: arrays, if `x` is.
        data: in place of `x` and `y`, a dict from the names in the stages'
            `data` to `(x, y)` or a dataset; or a function from a `Stage`, all
            its settings filled in, to either.
        batch_size: optional int, for the stages until one says another.
        sequence_length: optional int, the same. Arrays are cut to it along
            axis 1: the longest inputs, and of other inputs, targets and
            weights those whose axis 1 is as long. Datasets cannot be cut;
            give a function.
        epochs: optional int, after which training ends though the schedule
            does not; counted over all calls.
        steps_per_epoch: optional int, see `model.fit`.
        validation_data: see `model.fit`. It is never cut.
        callbacks: list, see `model.fit`. A `Growth` among them, which may have
            its own `data` and `probe`, runs the schedule.
        verbose: see `model.fit`; stages are announced unless it is 0.
        **kwargs: other arguments of `model.fit`.

    Returns:
        `keras.callbacks.History` of all calls together.

    Raises:
        GrowthError: before training, if the schedule cannot be run so.

    Example:

    >>> import numpy as np, kgrow
    >>> from kgrow.schedules import GrowthSchedule, Stage
    >>> model = kgrow.models.GPT2(vocabulary_size=16, num_layers=1,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
    ...     max_sequence_length=8)
    >>> model.compile("adam", keras.losses.SparseCategoricalCrossentropy(
    ...     from_logits=True))
    >>> tokens = np.random.default_rng(0).integers(0, 16, (32, 9))
    >>> history = kgrow.fit(model, GrowthSchedule([
    ...     Stage(4, {"num_layers": 1}, batch_size=8, sequence_length=4),
    ...     Stage(6, {"num_layers": 2}, "stack", sequence_length=8)]),
    ...     tokens[:, :-1], tokens[:, 1:], verbose=0)
    >>> history.epoch, history.history["stage"]
    ([0, 1], [1, 2])
    """
    callbacks = [c for c in keras.tree.flatten(callbacks) if c is not None]
    schedule = _filled(schedule, batch_size, sequence_length)
    growth = _growth(callbacks, schedule, verbose)
    backups = _backups(callbacks)
    # The stage of a backup decides which data come first.
    for backup in backups:
        backup.begin(model)
    growth.set_model(model)
    source = StageData(schedule, x, y, data, steps_per_epoch)
    source.check(growth.next_stage)
    if validation_data is None and not kwargs.get("validation_split"):
        _check_unvalidated(schedule, growth.next_stage)
    arguments = {
        "validation_data": validation_data,
        "callbacks": [growth, *(c for c in callbacks if not _is_own(c))],
        "verbose": verbose,
        **kwargs,
    }
    history = keras.callbacks.History()
    history.set_model(model)
    growth.driven = True
    finished = False
    try:
        if not any(backup.is_stopped for backup in backups):
            _train(model, growth, source, history, epochs, arguments)
        finished = True
    finally:
        for backup in backups:
            backup.end(finished)
        growth.driven = growth.is_checked = False
        model.history = history
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.History):
                _append(callback, history)
    return history


def _train(model, growth, source, history, epochs, arguments):
    """Calls the model's `fit` until the schedule is at its end, the epochs
    are over or somebody else stops it."""
    history.epoch = []
    while not growth.is_finished:
        progress, stage = growth.progress, growth.next_stage
        first, before = progress.epochs, progress.steps
        if epochs is not None and first >= epochs:
            return
        steps = source.steps_per_epoch(stage)
        part = model.fit(
            **source.arguments(stage),
            **arguments,
            initial_epoch=first,
            epochs=epochs or _last_epoch(growth, steps),
        )
        _append(history, part)
        growth.is_checked = True
        if growth.progress.steps == before:
            raise GrowthError(
                f"The data of stage {stage + 1} came to their end before the "
                "first batch."
            )
        if model.stop_training and model.stop_training != STAGE_END:
            return


_MANY = 1_000_000


def _is_own(callback):
    """Whether a callback of the user's is not handed on as it is."""
    return isinstance(callback, (Growth, keras.callbacks.History))


def _filled(schedule, batch_size, sequence_length):
    """The schedule, with the data settings of the first stage filled in."""
    first, given = schedule.stages[0], {}
    if first.batch_size is None and batch_size is not None:
        given["batch_size"] = batch_size
    if first.sequence_length is None and sequence_length is not None:
        given["sequence_length"] = sequence_length
    stages = [first.replaced(**given), *schedule.stages[1:]]
    return schedule.replaced(stages=stages)


def _growth(callbacks, schedule, verbose):
    """The callback that runs the schedule: the user's, or a new one."""
    found = [c for c in callbacks if isinstance(c, Growth)]
    if not found:
        return Growth(schedule, verbose=int(verbose != 0))
    if len(found) > 1 or len(found[0].schedule) != len(schedule):
        raise GrowthError(
            "`kgrow.fit` runs one schedule: give one `Growth` at most, with "
            f"the same schedule. Received: callbacks={callbacks!r}"
        )
    found[0].schedule = schedule
    return found[0]


def _backups(callbacks):
    """The callbacks that restore a run before its first stage is known."""
    stock = keras.callbacks.BackupAndRestore
    for callback in callbacks:
        own = isinstance(callback, BackupAndRestore)
        if isinstance(callback, stock) and not own:
            raise GrowthError(
                "Keras' `BackupAndRestore` deletes its backup at the end of "
                "each call of `model.fit`, and `kgrow.fit` makes several. Give "
                "`kgrow.callbacks.BackupAndRestore`, with the same arguments. "
                f"Received: callbacks={callbacks!r}"
            )
    return [c for c in callbacks if isinstance(c, BackupAndRestore)]


def _last_epoch(growth, steps_per_epoch):
    """The epoch at which `fit` must be called again, or a number larger than
    the run if it need not be."""
    until, progress = growth.fit_ends_with, growth.progress
    if isinstance(until, Epochs):
        return until.count
    if isinstance(until, Steps) and steps_per_epoch:
        left = until.count - progress.steps
        if resumes_inside_epoch(growth.model):
            left += progress.batches
        return progress.epochs + math.ceil(left / steps_per_epoch)
    return progress.epochs + _MANY


def _check_unvalidated(schedule, first):
    """Raises if a trigger watches validation and there is none."""
    for number, stage in enumerate(schedule.stages[first:], first + 1):
        monitor = getattr(stage.until, "monitor", "")
        if monitor.startswith("val_"):
            raise GrowthError(
                f"Stage {number} watches validation. Give "
                f"`validation_data`. Received: monitor={monitor!r}, "
                "validation_data=None"
            )


def _append(history, part):
    """Adds a part's epochs to a `History`."""
    history.epoch = [*getattr(history, "epoch", []), *part.epoch]
    for key, values in part.history.items():
        history.history.setdefault(key, []).extend(values)
