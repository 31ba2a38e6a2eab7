"""A run that was killed goes on where it was, to the bit."""

import os
import warnings

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import file_utils
from kgrow.callbacks.backup_folder import BackupFolder, save_backup
from kgrow.callbacks.data_position import (
    KEY,
    DataPosition,
    build_metrics,
    metric_values,
    set_metric_values,
)
from kgrow.callbacks.growth import STAGE_END
from kgrow.callbacks.run_origin import OriginError, check_origin, origin_of
from kgrow.growth.saving.rollback import all_or_nothing


class BackupAndRestore(keras.callbacks.BackupAndRestore):
    """Keras' callback of this name, for runs that may be killed at any moment.

    The same command, given again, goes on after the last backup and ends with
    the same weights, optimizer and metrics as if nobody had killed it; on a
    backend that computes the same twice, to the bit. Against Keras' own:

    - A backup is one file, written beside the last one, flushed to the disk
      and renamed. A process that dies while it writes leaves the last backup
      as it was. With `double_checkpoint` the one before is kept as well, and
      taken if the newest cannot be read.
    - One taken within an epoch (`save_freq=100`) goes on with the batch after
      it, with the metrics of that epoch so far; callbacks see its batches from
      there. Keras begins the epoch anew, with weights that have seen a part
      of it.
    - Global random generators, which shuffle data, are kept too.
    - A run that was stopped, by a schedule that came to its end or by another
      callback, and was killed before it could delete its backup, trains
      nothing more.
    - In `kgrow.fit` the backup goes on over all stages, and is deleted at the
      end of the last one. Whatever else is in the folder stays.
    - A backup of a run that was started with other sizes, or another optimizer
      or settings of it, is refused, and what differs is named; so is a folder
      that another process writes to.

    To go on, the data are read as the run had read them: those of the present
    epoch are fetched again and thrown away; with `steps_per_epoch`, where one
    iterator goes on over epochs, all since `fit` began. They must come in the
    same order again. On TensorFlow, arrays with `shuffle=True` do not: give a
    `PyDataset`, or a `tf.data.Dataset` with a seed.

    Callbacks keep what they want to find again in `model.callback_state`. Put
    this one after those that decide at the end of an epoch.

    Args:
        backup_dir: string, a folder on a file system of its own, which no
            other run writes to. Where there is only an object store, use
            `keras.callbacks.OrbaxCheckpoint`.
        save_freq: `"epoch"`, or an integer number of batches, or `False` for
            none.
        double_checkpoint: bool, whether the backup before the last is kept.
        delete_checkpoint: bool, whether backups are deleted when training has
            come to its end.

    Raises:
        ValueError: no folder, or a `save_freq` of another kind.
        GrowthError: a remote folder; at the start of `fit`, backups that
            cannot be read, or of a run that was started otherwise, a folder
            that another process uses, or with an integer `save_freq` data
            that do not say how many batches an epoch has.

    Example:

    >>> import tempfile, numpy as np, kgrow
    >>> def run(folder, epochs):
    ...     model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...         intermediate_dim=8, num_layers=1)
    ...     model.compile("adam", "mse")
    ...     backup = kgrow.callbacks.BackupAndRestore(
    ...         folder, delete_checkpoint=False)
    ...     return model.fit(np.ones((4, 2)), np.ones((4, 1)), epochs=epochs,
    ...         verbose=0, callbacks=[backup])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run(folder, 2).epoch, run(folder, 3).epoch
    ([0, 1], [2])
    """

    def __init__(
        self,
        backup_dir,
        save_freq="epoch",
        double_checkpoint=True,
        delete_checkpoint=True,
    ):
        super().__init__(
            os.fspath(backup_dir) if backup_dir else backup_dir,
            save_freq,
            double_checkpoint,
            delete_checkpoint,
        )
        if file_utils.is_remote_path(self.backup_dir):
            raise GrowthError(
                "Backups are renamed when they are whole, which an object "
                "store cannot do. Give a folder of a file system, or use "
                "`keras.callbacks.OrbaxCheckpoint`. Received: "
                f"backup_dir={backup_dir!r}"
            )
        # Keras' second file, of numbers, is never written: two files cannot
        # be renamed at once.
        self._folder = BackupFolder(self.backup_dir)
        # At the end of a batch nothing happens, unless it is saved there.
        self.async_safe = save_freq == "epoch"
        # Set by `kgrow.fit`, which calls `fit` many times.
        self.driven = False
        self._position = self._found = self._values = None
        self._origin = None
        self._done = self._unsaved = 0
        self._due = False

    def set_model(self, model):
        if not hasattr(model, "callback_state"):
            raise GrowthError(
                "`kgrow.callbacks.BackupAndRestore` backs up a "
                "`kgrow.GrowableModel`; for other models there is Keras' own. "
                f"Received: {model!r} (of type {type(model).__name__})"
            )
        super().set_model(model)

    # Hooks that `kgrow.fit` calls before the first `fit` and after the last.

    def begin(self, model):
        """Loads the newest backup before a run of many calls of `fit`."""
        self.set_model(model)
        self._restore()
        self.driven = True

    @property
    def is_stopped(self):
        """Whether the run that was loaded had been stopped."""
        return self._found is not None and self._found["stopped"]

    def end(self, finished):
        """Ends such a run.

        Args:
            finished: bool, whether nothing is left to be trained.
        """
        self.driven, self._found = False, None
        self.model.callback_state.pop(KEY, None)
        if finished:
            self._delete()
        self._folder.unlock()

    def on_train_begin(self, logs=None):
        model = self.model
        if not self.driven:
            self._restore()
        found, self._found = self._found, None
        iterator = model._epoch_iterator
        if self.save_freq not in ("epoch", False):
            self._check_length(iterator)
        self._position = DataPosition(iterator)
        self._done = self._unsaved = 0
        self._due = False
        model._initial_epoch = None
        if found is None:
            return
        model._initial_epoch = found["epoch"]
        if found["stopped"]:
            model._initial_epoch = self.params["epochs"]
        if model._initial_epoch >= self.params["epochs"]:
            # Keras asks for the history of a `fit` without epochs too.
            model.history = keras.callbacks.History()
            model.history.on_train_begin()
        if found["over"]:
            # Other data begin, of which nothing was read.
            found["first"], found["start"] = found["epoch"], found["random"]
        if found["batch"]:
            self._values = found["metrics"]
            self._done = found["batch"]
            build_metrics(model, iterator)
        self._position.seek(found)

    def on_epoch_begin(self, epoch, logs=None):
        del logs
        self._current_epoch = epoch
        if self._position.first is None:
            self._position.first = epoch
        if self._values is not None:
            set_metric_values(self.model, self._values)
            self._values = None
        else:
            self._done = 0

    def on_train_batch_begin(self, batch, logs=None):
        del batch, logs
        # Not `self.model`, for which JAX writes back its state each time.
        self._model.callback_state.pop(KEY, None)

    def on_train_batch_end(self, batch, logs=None):
        del logs
        if self.save_freq in ("epoch", False):
            return
        self._unsaved += batch + 1 - self._done
        self._done = batch + 1
        if self._unsaved < self.save_freq:
            return
        self._unsaved = 0
        steps = self._position.iterator.num_batches
        if self._done >= steps or self.model.stop_training:
            # No batch is left to go on with: the epoch is to end first.
            self._due = True
        else:
            self._save(self._current_epoch, self._done)

    def on_epoch_end(self, epoch, logs=None):
        del logs
        self._current_epoch = epoch + 1
        if self.save_freq == "epoch" or self._due:
            self._due = False
            self._save(epoch + 1, 0)

    def on_train_end(self, logs=None):
        del logs
        self.model._initial_epoch = None
        self.model.callback_state.pop(KEY, None)
        if not self.driven:
            self._delete()
            self._folder.unlock()

    def _save(self, epoch, batch):
        """Writes a backup beside the last one, and puts it in its place."""
        model = self.model
        stops = model.stop_training
        position = self._position.at(epoch, batch)
        position["metrics"] = metric_values(model) if batch else []
        # Other data come next, or none.
        position["over"] = not batch and (
            bool(stops) or epoch >= self.params["epochs"]
        )
        position["stopped"] = bool(stops) and stops != STAGE_END
        position["origin"] = self._origin
        model.callback_state[KEY] = position
        try:
            self._folder.write(
                lambda path: save_backup(model, path), self.double_checkpoint
            )
        finally:
            model.callback_state.pop(KEY, None)

    def _restore(self):
        """Loads the newest readable backup, if any."""
        self._found = None
        self._folder.lock()
        self._origin = origin_of(self.model)
        errors = []
        for path in self._folder.present():
            try:
                self._found = self._load(path)
            except OriginError:
                raise
            except Exception as error:
                errors.append(f"{path}: {type(error).__name__}: {error}")
                continue
            break
        if not errors:
            return
        if self._found is None:
            raise GrowthError(
                "No backup can be read. Delete the folder to begin anew. "
                f"Received: backup_dir={self.backup_dir!r}. "
                + "; ".join(errors)
            )
        warnings.warn(
            "The newest backup cannot be read, and the run goes on from the "
            f"one before. {errors[0]}",
            stacklevel=2,
        )

    def _load(self, path):
        model = self.model
        if model.optimizer is not None and not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        with all_or_nothing(model):
            model.load_weights(path)
            found = model.callback_state.pop(KEY, None)
            if found is None:
                raise GrowthError(
                    "The file holds weights, and not where the run stood."
                )
            # Backups of former versions do not say it.
            if found.get("origin") is not None:
                check_origin(self._origin, found["origin"])
                self._origin = found["origin"]
        # State that other callbacks and `kgrow.fit` read.
        if found["batch"]:
            model.callback_state[KEY] = {"inside": True}
        if found["stopped"]:
            model.callback_state[KEY] = {"stopped": True}
        return found

    def _check_length(self, iterator):
        if iterator.num_batches is None:
            raise GrowthError(
                "To go on within an epoch one must know how many batches it "
                "has. Give `fit` the argument `steps_per_epoch`, or save at "
                "the end of epochs. Received: "
                f"save_freq={self.save_freq}"
            )

    def _delete(self):
        if self.delete_checkpoint:
            self._folder.delete()
