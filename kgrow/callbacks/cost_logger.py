"""Record the cost of a run while it trains."""

import time
from dataclasses import asdict

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.analysis import ledger as books
from kgrow.analysis.run_log import SCRATCH, RunFile, read_source, source_config
from kgrow.architecture.architecture import count_parameters
from kgrow.backend.keras_internals import get_random_seed, process_id
from kgrow.callbacks.step_tap import StepTap

_KEY = "ledger"
_POINTS = 65


class Ledger(keras.callbacks.Callback):
    """Records FLOPs, tokens and seconds of a run, stage by stage.

    A stage begins where the model grows. Its seconds are those of training,
    with what went into growing, into fitting an operator and into the first
    step of each compiled program, each of which is also stated apart;
    validation and other callbacks at the end of an epoch are not billed. FLOPs
    are those of `kgrow.backend.flops`, the fitted operator's among them; they
    are known on the host, so that no step waits for the device.

    A growth right before the run, with no training step in between, is booked
    with the run; older ones are what the source has cost.

    Each epoch's logs get `flops`, `tokens` and `seconds`, the run's so far.
    With them they are in the `History`, and in what `CSVLogger` and
    `TensorBoard` write if they come after this callback. A file of JSON lines
    gets the same with all stages, and each growth; `kgrow.savings` reads it.

    The counts are kept in `model.callback_state`, and so are saved with the
    weights: a run that goes on from a file, in another process, goes on
    counting. Lines that were written after the step it goes on from are taken
    out of the file first.

    On TensorFlow a data set whose batches have no fixed size is booked by the
    examples that the loss has seen, at the end of each epoch. In a run of
    several processes each books the batches that it is given, and the first
    writes.

    Args:
        path: optional path of the JSON lines, one file a run.
        source: what the model had cost before this run: `"scratch"` if it
            starts here; the path of the file of the run that it comes from,
            or its `kgrow.analysis.ledger.CostRecord`; `"unknown"`.
        name: optional string. Runs that differ in their seed share it.
        seed: optional int, by which runs are compared in pairs; that of
            `keras.utils.set_random_seed()` by default.
        tensorboard: optional path of a folder: the same numbers and the logs
            as TensorBoard reads them, over training steps. Needs TensorFlow,
            on any backend.

    Raises:
        GrowthError: the source is not what it may be; at the start of `fit`,
            if the model has been trained or grown before and the source is
            said to be `"scratch"`, or if the file is that of another run.

    Example:

    >>> import kgrow, numpy as np, tempfile
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("sgd", "mse")
    >>> path = tempfile.mkdtemp() + "/run.jsonl"
    >>> costs = kgrow.callbacks.Ledger(path, source="scratch")
    >>> history = model.fit(np.zeros((8, 2)), np.zeros((8, 1)), batch_size=4,
    ...     verbose=0, callbacks=[costs])
    >>> history.history["flops"], costs.ledger.total("tokens")
    ([3648], 8)
    """

    # Only the end of an epoch waits for the device.
    async_safe = True

    def __init__(
        self, path=None, *, source, name="run", seed=None, tensorboard=None
    ):
        super().__init__()
        self.name = name
        self.seed = seed
        self._source = source_config(source)
        self._file = None if path is None else RunFile(path)
        self._board = None if tensorboard is None else _writer(tensorboard)
        self._tap = None
        self._clock = None
        self._begun = False
        self._own = {}

    @property
    def ledger(self):
        """`Ledger` of the run so far, without its source."""
        stages = [books.StageCost(**stage) for stage in self._state["stages"]]
        return books.CostRecord(self.name, stages)

    @property
    def source(self):
        """`"scratch"`, `"unknown"`, or the source's `Ledger`."""
        return read_source(self._source)

    # In a step `self.model` would have Keras write the running state back into
    # the variables; `self._model` is the same model.

    @property
    def _state(self):
        kept = getattr(self._model, "callback_state", self._own)
        return kept.setdefault(_KEY, {})

    def on_train_begin(self, logs=None):
        del logs
        self._begun = False
        steps = (self.params or {}).get("steps")
        self._tap = StepTap(self._model, self._enter, self._book, steps)

    def on_epoch_begin(self, epoch, logs=None):
        del epoch, logs
        if not self._begun:
            # Another callback may have loaded weights when `fit` began.
            self._begin()
        # Growths between two epochs, or two calls of `fit`.
        self._notice_growths()
        self._clock = time.perf_counter()

    def on_train_batch_begin(self, batch, logs=None):
        del logs
        self._tap.batch = batch

    def on_test_begin(self, logs=None):
        # The validation in `fit` is not billed.
        del logs
        if self._clock is not None:
            self._tick()
            self._clock = None

    def on_epoch_end(self, epoch, logs=None):
        late = self._late_growth_seconds()
        if self._clock is not None:
            self._tick(late)
        self._clock = None
        self._settle_pending()
        state, totals = self._state, self._totals()
        if logs is not None:
            logs.update({k: totals[k] for k in ("flops", "tokens", "seconds")})
        reading = {
            "step": state["steps"],
            "epoch": epoch + 1,
            **totals,
            "examples": state["examples"],
            "parameters": state["stages"][-1]["parameters"],
            "learning_rate": self._learning_rate(),
            "logs": _numbers(logs or {}),
        }
        self._write("reading", **reading, stages=state["stages"])
        self._draw(reading)

    def on_train_end(self, logs=None):
        del logs
        self._tap.remove()
        if self._begun:
            self._write(
                "end",
                step=self._state["steps"],
                peak_learning_rate=self._peak_learning_rate(),
            )

    def _begin(self):
        """Resumes from the state saved with the model, or starts counting."""
        model, state = self._model, self._state
        growths = len(getattr(model, "growth_history", ()))
        if not state:
            trained = _iterations(model)
            if self._source == SCRATCH and (trained or growths):
                raise GrowthError(
                    f"The model has been trained for {trained} steps and "
                    f"grown {growths} times, and nobody has booked that. Say "
                    "what it has cost: Ledger(..., source=<file or Ledger>), "
                    "or source='unknown'. Received: source='scratch'"
                )
            growths -= _growths_at(model, trained)
            state.update(
                steps=0, examples=0, growths=growths, pending={}, stages=[]
            )
            if not self._receipts():
                self._new_stage()
        if self._file is not None and _is_first():
            header = {
                "name": self.name,
                "seed": _seed(self.seed),
                "source": self._source,
                "backend": keras.backend.backend(),
                "keras": keras.__version__,
            }
            self._file.begin(header, state["steps"], state["growths"])
        self._begun = True

    def _new_stage(self):
        model, stages = self._model, self._state["stages"]
        name = f"{len(stages) + 1}: {_size(model)}"
        stage = books.StageCost(name, parameters=count_parameters(model))
        stages.append(asdict(stage))

    def _receipts(self):
        history = getattr(self._model, "growth_history", ())
        return history[self._state["growths"] :]

    def _late_growth_seconds(self):
        return sum(receipt.seconds for receipt in self._receipts())

    def _notice_growths(self):
        """Begins a stage for each growth that there has been."""
        state = self._state
        for receipt in self._receipts():
            totals = self._totals()
            learned = receipt.learned or {}
            fitting = learned.get("seconds", 0.0)
            self._new_stage()
            stage = state["stages"][-1]
            stage["seconds"] += receipt.seconds
            stage["fitting_seconds"] += fitting
            stage["growing_seconds"] += receipt.seconds - fitting
            stage["fitting_flops"] += learned.get("flops", 0)
            stage["flops"] += learned.get("flops", 0)
            state["growths"] += 1
            self._write(
                "growth",
                number=state["growths"],
                step=state["steps"],
                **totals,
                label=_change(receipt),
                strategy=receipt.strategy,
                exact=receipt.exact,
                growing_seconds=stage["growing_seconds"],
                fitting_seconds=fitting,
                fitting_flops=stage["fitting_flops"],
                receipt=receipt.to_dict(),
            )

    def _enter(self):
        """Closes the previous stage before a step of a new one."""
        self._tick(self._late_growth_seconds())
        self._notice_growths()

    def _book(self, step):
        """After a step, a `kgrow.callbacks.step_tap.Step`."""
        state = self._state
        # Counting is the ledger's own work.
        self._clock += step.counting_seconds
        self._tick()
        stage = state["stages"][-1]
        if step.is_first:
            stage["compiling_seconds"] += step.seconds
        stage["steps"] += step.batches
        state["steps"] += step.batches
        if step.price.is_open:
            number = str(len(state["stages"]) - 1)
            entry = state["pending"].setdefault(number, [0, None])
            entry[0] += step.batches
            entry[1] = list(step.price.per_example)
            return
        self._charge(stage, step)

    def _charge(self, stage, step):
        stage["flops"] += step.flops
        stage["tokens"] += step.tokens
        self._state["examples"] += step.examples

    def _settle_pending(self):
        """Charges batches whose size only the loss has seen."""
        state = self._state
        if not state["pending"]:
            return
        seen = self._tap.examples_seen()
        batches = sum(count for count, _ in state["pending"].values())
        if not seen:
            raise GrowthError(
                "The batches have no fixed size, and the model's training "
                "step does not say how many examples it has seen. Batch with "
                "`drop_remainder=True`."
            )
        each = seen / batches
        for number, (count, prices) in state["pending"].items():
            flops, fixed, tokens = prices
            stage = state["stages"][int(number)]
            stage["flops"] += round(count * (fixed + each * flops))
            stage["tokens"] += round(count * each * tokens)
        state["examples"] += round(seen)
        state["pending"] = {}

    def _tick(self, apart=0.0):
        """Bills the time since the last tick, but `apart` of it, to the
        present stage."""
        now = time.perf_counter()
        spent = max(now - self._clock - apart, 0.0)
        self._state["stages"][-1]["seconds"] += spent
        self._clock = now

    def _totals(self):
        stages = self._state["stages"]
        return {
            unit: sum(stage[unit] for stage in stages)
            for unit in ("flops", "seconds", "tokens")
        }

    def _learning_rate(self):
        optimizer = getattr(self._model, "optimizer", None)
        rate = getattr(optimizer, "learning_rate", None)
        if rate is None:
            return None
        return float(keras.ops.convert_to_numpy(rate))

    def _peak_learning_rate(self):
        """The highest rate of a schedule, also between two readings."""
        optimizer = getattr(self._model, "optimizer", None)
        schedule = getattr(optimizer, "_learning_rate", None)
        kind = keras.optimizers.schedules.LearningRateSchedule
        if not isinstance(schedule, kind):
            return None
        steps = np.linspace(0, _iterations(self._model), _POINTS)
        # At once: a schedule with a warm-up would be compiled at each point.
        rates = keras.ops.map(schedule, steps.astype("int32"))
        return float(keras.ops.convert_to_numpy(rates).max())

    def _write(self, kind, **values):
        if self._file is not None and _is_first():
            self._file.append(kind, **values)

    def _draw(self, reading):
        if self._board is None:
            return
        scalars = {
            f"ledger/{name}": reading[name]
            for name in ("flops", "tokens", "seconds", "parameters")
        }
        scalars.update(
            {
                f"epoch/{name}": value
                for name, value in reading["logs"].items()
                if f"ledger/{name}" not in scalars
            }
        )
        with self._board.as_default():
            import tensorflow as tf

            for name, value in scalars.items():
                tf.summary.scalar(name, value, step=reading["step"])
        self._board.flush()


def _writer(path):
    try:
        import tensorflow as tf
    except ImportError as error:
        raise ImportError(
            "`tensorboard` needs TensorFlow, on every backend. Install it, or "
            "leave the argument out: the logs and the JSON lines hold the same."
        ) from error
    return tf.summary.create_file_writer(str(path))


def _is_first():
    """Whether this is the process that writes."""
    return process_id() == 0


def _seed(seed):
    return get_random_seed() if seed is None else int(seed)


def _iterations(model):
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return 0
    return int(keras.ops.convert_to_numpy(optimizer.iterations))


def _growths_at(model, step):
    """How many of the model's latest growths happened at this very step."""
    count = 0
    for receipt in reversed(getattr(model, "growth_history", ())):
        if (receipt.step or 0) != step:
            break
        count += 1
    return count


def _size(model):
    """A model's size in a few characters."""
    config = getattr(model, "growth_config", {})
    width = config.get("hidden_dim", config.get("embed_dim"))
    depth = config.get("num_layers", config.get("depths"))
    if width is not None and depth is not None:
        return f"{width} x {depth}"
    return f"{count_parameters(model):,} parameters"


def _change(receipt):
    return ", ".join(
        f"{field} {receipt.source_config[field]} to {value}"
        for field, value in receipt.target_config.items()
        if receipt.source_config[field] != value
    )


def _numbers(logs):
    """The numeric entries of the logs, as plain data."""
    found = {}
    for name, value in logs.items():
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            continue
    return found
