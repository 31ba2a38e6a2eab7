"""A growth schedule, run inside `fit`."""

import time
import warnings

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.scalar_checks import check_count
from kgrow.backend.keras_internals import print_msg
from kgrow.callbacks.data_position import resumes_inside_epoch, was_stopped
from kgrow.callbacks.metric_readings import check_monitor, running, since
from kgrow.callbacks.stage_message import announcement
from kgrow.callbacks.stage_preparation import StagePreparation
from kgrow.growth.process_agreement import agreed_number
from kgrow.growth.update_scale import steps_taken
from kgrow.schedules import device_checks
from kgrow.schedules.checks import KEY, as_entered, check_past, seed_of
from kgrow.schedules.learning_rate import apply_policies
from kgrow.schedules.progress import Progress
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.stage_bounds import Tokens
from kgrow.schedules.triggers import Trigger

# Value of `model.stop_training` that makes `kgrow.fit` call `fit` again.
STAGE_END = "the end of a stage"


class Growth(keras.callbacks.Callback):
    """Grows the model as a schedule says, inside a stock `fit`.

    A stage begins before its first batch: whatever other callbacks do at the
    end of a batch or an epoch belongs to the stage before, in whichever order
    they are given. At the end of the last stage `fit` stops.

    How far the schedule has come is kept in `model.callback_state`, and so is
    saved and loaded with the model's weights. Calling `fit` again goes on, and
    so does another process that has loaded the weights: with the data that
    come next, it ends with the same weights to the bit. Only what a trigger
    sees of the epoch in which a run was killed begins anew, as Keras' metrics
    do. A trigger that watches validation is read at the end of an epoch: put
    a callback that saves there after this one.

    Of data, batch sizes and sequence lengths `fit` knows one; a schedule in
    which they change needs `kgrow.fit`. Those of the first stage are believed
    to be those of the data that `fit` is given.

    With `steps_per_execution` a stage begins with the first execution that
    starts at its step or behind it.

    Args:
        schedule: `GrowthSchedule`, or `Adaptive`, which decides as it goes.
        data: optional, given to `model.grow(data=...)`; what `Adaptive`
            measures on.
        probe: optional, given to `model.grow(probe=...)`.
        tokens_per_batch: optional int, for bounds in `Tokens`; by default a
            stage's `batch_size * sequence_length`.
        verbose: 0 or 1, whether each stage is announced, and printed why one
            was not prepared.
        prepare: bool, whether the steps of the next stage are compiled while
            the present one trains, see `GrowableModel.prepare()`. What an
            `Adaptive` schedule decides is not known before.
        programs: optional folder in which compiled programs are kept, so that
            a run that is resumed does not compile them again; on JAX.

    Raises:
        GrowthError: `programs` is given on another backend than JAX; or, at
            the start of `fit`, before the first batch, the schedule cannot be
            run on this model, or is at its end.

    Example:

    >>> import numpy as np, kgrow
    >>> from kgrow.schedules import GrowthSchedule, Stage
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam", "mse")
    >>> schedule = GrowthSchedule([Stage(3, {"num_layers": 1}),
    ...     Stage(6, {"num_layers": 2}, "direct")])
    >>> x = np.zeros((8, 2))
    >>> history = model.fit(x, x[:, :1], batch_size=2, epochs=9, verbose=0,
    ...     callbacks=[Growth(schedule, verbose=0)])
    >>> len(history.epoch), model.growth_config["num_layers"]
    (2, 2)
    >>> [receipt.step for receipt in model.growth_history]
    [3]
    """

    # The end of a batch may overlap with the next batch; otherwise Keras on JAX
    # would wait for the device at every step.
    async_safe = True

    def __init__(
        self,
        schedule,
        data=None,
        probe=None,
        tokens_per_batch=None,
        verbose=1,
        prepare=True,
        programs=None,
    ):
        super().__init__()
        if not isinstance(schedule, GrowthSchedule) and not hasattr(
            schedule, "decide"
        ):
            raise GrowthError(
                "`schedule` is a `GrowthSchedule` or an `Adaptive`. Received: "
                f"schedule={schedule!r} (of type {type(schedule).__name__})"
            )
        # One that decides as it goes is a plain schedule at any time.
        self.adaptive = schedule if hasattr(schedule, "decide") else None
        self.schedule = schedule
        self.data = data
        self.probe = probe
        if tokens_per_batch is not None:
            tokens_per_batch = check_count("tokens_per_batch", tokens_per_batch)
        self.tokens_per_batch = tokens_per_batch
        self.verbose = verbose
        if not isinstance(prepare, bool):
            raise GrowthError(
                "`prepare` must be True or False. Received: "
                f"prepare={prepare!r} (of type {type(prepare).__name__})"
            )
        self.prepare = prepare
        if programs is not None:
            backend.keep_programs(programs)
        self._preparation = None
        # Set by `kgrow.fit`, which calls `fit` again where the data change.
        self.driven = False
        self.is_checked = False
        # The state that was there when it was checked: loading replaces it.
        self._checked = None
        self._clock = None
        self._last_batch = -1
        self._validates = None

    @property
    def progress(self):
        """`Progress` of the schedule in the model."""
        return Progress(self.model.callback_state.setdefault(KEY, {}))

    def on_train_begin(self, logs=None):
        del logs
        if not self.is_checked:
            self.check()
        self._checked = self.model.callback_state
        apply_policies.restore(self.model)
        self._clock = time.perf_counter()
        self._validates = False

    def check(self):
        """Makes sure that the schedule can go on; see `on_train_begin()`."""
        if self.adaptive is not None:
            self.schedule = self.adaptive.begin(self.model, self.data)
        schedule, progress = self.schedule, self.progress
        if self.adaptive is None:
            check_past(schedule, progress)
        schedule.check(self.model, (self.params or {}).get("steps"))
        device_checks.check_layout(self.model, schedule)
        if self.is_finished:
            if was_stopped(self.model):
                return  # A backup was loaded, and there is nothing to train.
            raise GrowthError(
                f"The schedule has come to its end, at step "
                f"{progress.steps:,}. Train on without the callback, or give "
                "it a schedule whose last stage ends later. Received: "
                f"until={schedule.stages[-1].until!r}"
            )
        for index in range(progress.stage, len(schedule)):
            self._check_stage(index)

    @property
    def is_finished(self):
        """Whether the last stage is over."""
        progress = self.progress
        return self._is_last(progress) and self.schedule.due(progress)

    @property
    def next_stage(self):
        """The stage, from 0, of the batch that comes next."""
        progress = self.progress
        due = self.schedule.due(progress) and not self._is_last(progress)
        return progress.stage + due

    @property
    def fit_ends_with(self):
        """The bound at which `fit` must end, for other data or for good."""
        index = self.next_stage
        while index + 1 < len(self.schedule):
            if self._changes_data(index + 1):
                break
            index += 1
        return self.schedule.stages[index].until

    def _check_stage(self, index):
        stage = self.schedule.stages[index]
        if isinstance(stage.until, Tokens) and self._tokens(index) is None:
            raise GrowthError(
                f"Stage {index + 1} ends at a number of tokens, and a callback "
                "does not see how many a batch has. Give "
                "`Growth(tokens_per_batch=...)`, or `batch_size` and "
                f"`sequence_length` of the stage. Received: {stage!r}"
            )
        if isinstance(stage.until, Trigger):
            check_monitor(self.model, stage.until.monitor, index + 1)
        if self.schedule.grows(index) and index > self.progress.stage:
            if stage.grown_by.needs_data and self.data is None:
                raise GrowthError(
                    f"Stage {index + 1}: the strategy "
                    f"'{stage.grown_by.name}' learns, and needs "
                    "`Growth(data=...)`. Received: data=None"
                )
        if index and not self.driven and self._changes_data(index):
            raise GrowthError(
                f"Stage {index + 1} has other data, another batch size or "
                "another sequence length, which one call of `model.fit` "
                "cannot have. Call `kgrow.fit(model, schedule, ...)`. "
                f"Received: {stage!r}"
            )

    def _changes_data(self, index):
        """Whether a stage needs a new call of `fit`."""
        if index >= len(self.schedule):
            return False
        names = ("data", "batch_size", "sequence_length")
        return any(
            self.schedule.setting(index, name)
            != self.schedule.setting(index - 1, name)
            for name in names
        )

    def _tokens(self, index):
        """Tokens per batch in a stage, or `None` if unknown."""
        if self.tokens_per_batch is not None:
            return self.tokens_per_batch
        sizes = [
            self.schedule.setting(index, name)
            for name in ("batch_size", "sequence_length")
        ]
        return None if None in sizes else sizes[0] * sizes[1]

    def on_epoch_begin(self, epoch, logs=None):
        del epoch, logs
        if self.model.callback_state is not self._checked:
            # Another callback has loaded weights when `fit` began.
            self.check()
            self._checked = self.model.callback_state
        apply_policies.restore(self.model)
        if not resumes_inside_epoch(self.model):
            self.progress.begin_epoch((self.params or {}).get("steps"))
        self._last_batch = -1
        self._clock = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        del logs
        progress = self.progress
        if not progress.entered:
            self._enter(0)
        if self.adaptive is not None:
            self.schedule = self.adaptive.decide(
                self.model, progress.steps, self.data
            )
        while self.schedule.due(progress) and not self._is_last(progress):
            self._enter(progress.stage + 1)
            progress = self.progress
        self._look(progress)
        self._prepare(progress)
        batches = self.model.steps_per_execution
        if progress.epoch_steps is not None:
            batches = max(min(batches, progress.epoch_steps - batch), 1)
        progress.count(batches, self._tokens(progress.stage) or 0)
        self._stop_if_due(progress)

    def _prepare(self, progress):
        if not self.prepare or self.adaptive is not None:
            return
        prepared = self._preparation
        if prepared is None or prepared.schedule is not self.schedule:
            prepared = StagePreparation(
                self.schedule, self._changes_data, bool(self.verbose)
            )
            self._preparation = prepared
        tokens = self._tokens(progress.stage)
        prepared.look(self.model, progress, tokens, self._total_iterations)

    def on_train_batch_end(self, batch, logs=None):
        # In another thread, perhaps, and late; all are done when an epoch is.
        del logs
        self._last_batch = max(self._last_batch, batch)

    def on_epoch_end(self, epoch, logs=None):
        del epoch
        progress = self.progress
        if progress.epoch_steps is None:
            # If the number of batches is unknown, the last batch that begins
            # may find no data.
            missing = progress.batches - (self._last_batch + 1)
            progress.count(-missing, self._tokens(progress.stage) or 0)
            if not self.model.stop_training:
                progress.epoch_steps = progress.batches
        self._look(progress, logs or {})
        self._stop_if_due(progress)
        if logs is not None:
            logs["stage"] = progress.stage + 1

    def on_test_begin(self, logs=None):
        # The validation in `fit` is no training.
        del logs
        self._validates = True
        self._tick()

    def on_test_end(self, logs=None):
        del logs
        self._clock = time.perf_counter()

    def _is_last(self, progress):
        return progress.stage == len(self.schedule) - 1

    def _stop_if_due(self, progress):
        """Ends `fit` where the next batch cannot be its."""
        if not self.schedule.due(progress):
            return
        last = self._is_last(progress)
        if last or (self.driven and self._changes_data(progress.stage + 1)):
            progress.cut = True
            # Somebody else's reason goes before.
            stops = self.model.stop_training
            self.model.stop_training = stops or last or STAGE_END

    def _look(self, progress, logs=None):
        """Passes the batches since the last reading to the stage's trigger.

        Before a batch, and now and then; with `logs`, at an epoch's end. The
        batch that is about to begin is the last where the trigger fires, so
        that `fit` can end there.
        """
        trigger = self.schedule.stages[progress.stage].until
        if not isinstance(trigger, Trigger) or progress.ends is not None:
            return
        name, ends = trigger.monitor, progress.steps
        if logs is None:
            ends += 1
            waits = progress.steps - progress.looked < trigger.every
            if waits or name.startswith("val_"):
                return
        value = self._reading(progress, name, logs)
        if value is None:
            return
        self._tick()
        progress.looked = progress.steps
        trigger.state = progress.trigger
        if trigger.update(
            progress.stage_steps,
            {name: value},
            agreed_number(progress.seconds),
        ):
            progress.ends = ends

    def _reading(self, progress, name, logs=None):
        """A metric over the batches since the last reading, or `None` if there
        were none."""
        if name.startswith("val_"):
            if logs is None:
                return None
            if not self._validates:
                warnings.warn(
                    f"Stage {progress.stage + 1} watches {name!r}, and this "
                    "`fit` has had no validation yet. Give it "
                    "`validation_data`.",
                    stacklevel=2,
                )
            return logs.get(name)
        before, batches = progress.read, progress.batches
        if batches <= (before or [0])[0]:
            return None
        value = running(self.model, name) if logs is None else logs.get(name)
        if value is None:
            return None
        progress.read = [batches, float(value)]
        return since(self.model, name, float(value), batches, before)

    def _tick(self):
        now = time.perf_counter()
        if self._clock is not None:
            self.progress.seconds += now - self._clock
        self._clock = now

    def _enter(self, index):
        """Begins a stage: grows the model and applies its settings."""
        stage, model, receipt = self.schedule.stages[index], self.model, None
        if self.schedule.grows(index):
            receipt = model.grow(
                self.schedule.sizes[index],
                stage.grown_by,
                data=self.data,
                probe=self.probe,
                optimizer_state=stage.optimizer_state,
                seed=seed_of(self.schedule, index),
                trainable=stage.trainable,
                learning_rate=apply_policies.transfer(stage.learning_rate),
            )
        elif stage.unfreezes is not None:
            model.unfreeze(*stage.unfreezes)
        if stage.training_options:
            model.set_training_options(**stage.training_options)
        if stage.learning_rate and index:
            apply_policies.apply(
                model, stage.learning_rate, self._total_iterations()
            )
        progress = self.progress
        progress.begin_stage(index)
        progress.events.append(
            {
                "stage": index + 1,
                "step": progress.steps,
                "config": as_entered(stage),
            }
        )
        if isinstance(stage.until, Trigger) and progress.batches:
            # The part of the epoch's means that belongs to the previous stage.
            self._reading(progress, stage.until.monitor)
        if self.verbose and index:
            print_msg(
                announcement(self.schedule, index, progress.steps, receipt)
            )
        self._clock = time.perf_counter()

    def _total_iterations(self):
        """The optimizer's iterations at the end of the run, if known."""
        total = self.schedule.total_steps
        if total is None:
            return None
        return steps_taken(self.model) + total - self.progress.steps
