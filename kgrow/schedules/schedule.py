"""A growth schedule: stages, one after another."""

import json
import pathlib
from collections.abc import Iterable

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.schedules import scaling
from kgrow.schedules.checks import check_model, check_stages
from kgrow.schedules.print_table import schedule_text
from kgrow.schedules.stage import Stage, readable


@keras.saving.register_keras_serializable("kgrow")
class GrowthSchedule:
    """Stages of training, each at its size, from the first to the last.

    The `Growth` callback runs one inside a stock `fit`; `kgrow.fit` does it
    where stages have other data, batch sizes or sequence lengths. Printing one
    shows a table, `plot()` a picture.

    Args:
        stages: list of `Stage`.
        name: optional string.
        source: optional string, where it was published.
        expected: optional dict of what was published of it: `speed_up`,
            `saving` (1 - cost / cost from scratch) and `counts`, what is
            counted.

    Raises:
        GrowthError: a size shrinks, a stage ends before it begins or changes
            nothing; see `check()` for what needs a model.

    Example:

    >>> schedule = GrowthSchedule([
    ...     Stage(100, {"hidden_dim": 8, "num_layers": 1}),
    ...     Stage(200, {"num_layers": 2}, "stack"),
    ...     Stage(400, {"hidden_dim": 16}, "net2net", learning_rate="reset")])
    >>> schedule.sizes[-1]
    {'hidden_dim': 16, 'num_layers': 2}
    >>> print(schedule)  # doctest: +NORMALIZE_WHITESPACE
     stage  from  until  hidden_dim  num_layers  strategy  learning rate
         1     0    100           8           1
         2   100    200           8          *2  stack
         3   200    400         *16           2  net2net   reset
    """

    def __init__(self, stages, name=None, source=None, expected=None):
        if not isinstance(stages, Iterable):
            stages = [stages]
        self.stages = tuple(_stage(stage) for stage in stages)
        self.name = name
        self.source = source
        self.expected = expected
        check_stages(self.stages)

    @property
    def sizes(self):
        """The sizes of each stage, those left out filled in."""
        found, sizes = [], {}
        for stage in self.stages:
            sizes = {**sizes, **stage.config}
            found.append(sizes)
        return found

    @property
    def total_steps(self):
        """The step at which training ends, or `None` if it is not counted in
        steps."""
        last = self.stages[-1].until
        return last.count if getattr(last, "unit", "") == "steps" else None

    def setting(self, index, name):
        """The value of a setting in a stage: its own, or inherited from an
        earlier stage.

        Args:
            index: int, the stage.
            name: `"batch_size"`, `"sequence_length"` or `"data"`.

        Example:

        >>> GrowthSchedule([Stage(5, {"num_layers": 1}, batch_size=8),
        ...     Stage(9, {"num_layers": 2})]).setting(1, "batch_size")
        8
        """
        found = None
        for stage in self.stages[: index + 1]:
            value = getattr(stage, name)
            found = found if value is None else value
        return found

    def filled(self, index):
        """A `Stage` with all that earlier ones have settled."""
        names = ("batch_size", "sequence_length", "data")
        return self.stages[index].replaced(
            config=self.sizes[index],
            **{name: self.setting(index, name) for name in names},
        )

    def ramp(self, index):
        """The `Ramp` of the growth into a stage: its own, or that of its
        strategy; `None` where nothing grows or all takes part at once.

        Example:

        >>> GrowthSchedule([Stage(5, {"num_layers": 3}),
        ...     Stage(9, {"num_layers": 12})]).ramp(1)
        Ramp(5000)
        """
        if not self.grows(index):
            return None
        stage = self.stages[index]
        return stage.ramp or getattr(stage.grown_by, "ramp", None)

    def grows(self, index):
        """Whether the model gets larger where a stage begins."""
        sizes = self.sizes
        return index > 0 and sizes[index] != sizes[index - 1]

    def due(self, progress):
        """Whether the next stage is to begin, or training to end, before
        another batch.

        Args:
            progress: `Progress`.
        """
        return self.stages[progress.stage].until.over(progress)

    def check(self, model, steps_per_epoch=None, epochs=None):
        """Makes sure that the schedule can be run, before any training.

        Every stage's network is built, without values, and every growth is
        planned, from the model's present sizes. Strategies with a ramp that
        goes on beyond its stage are warned of.

        Args:
            model: `GrowableModel`.
            steps_per_epoch: optional int; compares bounds in epochs with
                those in steps.
            epochs: optional int, after which `fit` will end.

        Raises:
            GrowthError: a stage cannot be run; the message has its number.
        """
        check_model(self, model, steps_per_epoch, epochs)

    def scaled(self, total_steps=None, factor=None):
        """The same schedule for a longer or shorter run.

        Bounds, ramps and numbers of steps of triggers and of the learning
        rate are multiplied and rounded.

        Args:
            total_steps: int, where training is to end, if that is counted in
                steps; or
            factor: float.

        Raises:
            GrowthError: a stage would have no step left.

        Example:

        >>> schedule = GrowthSchedule([Stage(200_000, {"num_layers": 3}),
        ...     Stage(900_000, {"num_layers": 6}, "stack")])
        >>> [stage.until.count for stage in schedule.scaled(90).stages]
        [20, 90]
        """
        return scaling.scaled(self, total_steps, factor)

    def resized(self, *, multiple_of=None, **final):
        """The same schedule for another final model.

        Every stage's size is the same part of the final one as before.

        Args:
            multiple_of: optional int, to a multiple of which the sizes in
                `final` are rounded in every stage; or a dict from fields to
                such. Accelerators compute in tiles: 128 wide on most, 256 on
                TPU v6e.
            **final: fields and their sizes in the last stage;
                `sequence_length` and `batch_size` too, if it has them.

        Raises:
            GrowthError: a size would not be whole.

        Example:

        >>> schedule = GrowthSchedule([Stage(5, {"num_layers": 3}),
        ...     Stage(9, {"num_layers": 12}, "stack")])
        >>> schedule.resized(num_layers=4).sizes
        [{'num_layers': 1}, {'num_layers': 4}]
        >>> schedule = GrowthSchedule([Stage(5, {"hidden_dim": 168}),
        ...     Stage(9, {"hidden_dim": 768}, "lemon")])
        >>> schedule.resized(multiple_of={"hidden_dim": 128}).sizes
        [{'hidden_dim': 128}, {'hidden_dim': 768}]
        """
        return scaling.resized(self, final, multiple_of)

    def plot(self, path=None):
        """Draws the sizes over the steps, as a staircase.

        Args:
            path: optional, where to write the picture; the suffix decides the
                format.

        Returns:
            `pathlib.Path` of the picture, or matplotlib's figure.
        """
        from kgrow.schedules.plot import draw_schedule

        return draw_schedule(self, path)

    def to_json(self, path=None):
        """The schedule as text that can be read, edited and kept.

        Args:
            path: optional, where to write it too.

        Returns:
            string.
        """
        config = self.get_config()
        config["stages"] = [readable(stage) for stage in config["stages"]]
        config = {k: v for k, v in config.items() if v is not None}
        text = json.dumps(config, indent=2)
        if path is not None:
            pathlib.Path(path).write_text(text + "\n")
        return text

    @classmethod
    def from_json(cls, text):
        """Restores a schedule from `to_json()`.

        Args:
            text: string, the text itself or the path of a file.

        Example:

        >>> schedule = GrowthSchedule([Stage(5, {"num_layers": 1}),
        ...     Stage(9, {"num_layers": 2}, "stack", seed=3)])
        >>> GrowthSchedule.from_json(schedule.to_json()) == schedule
        True
        """
        text = str(text)
        if not text.lstrip().startswith("{"):
            text = pathlib.Path(text).read_text()
        try:
            config = json.loads(text)
        except ValueError as error:
            raise GrowthError(
                f"This is no schedule in JSON: {error}. Received: "
                f"{text[:200]!r}"
            ) from error
        return cls.from_config(config)

    def get_config(self):
        return {
            "stages": [stage.get_config() for stage in self.stages],
            "name": self.name,
            "source": self.source,
            "expected": self.expected,
        }

    @classmethod
    def from_config(cls, config):
        return cls(**config)

    def replaced(self, **arguments):
        """The same schedule with other arguments of the constructor."""
        return type(self).from_config({**self.get_config(), **arguments})

    def __len__(self):
        return len(self.stages)

    def __str__(self):
        return schedule_text(self)

    def __repr__(self):
        stages = ", ".join(repr(stage) for stage in self.stages)
        name = "" if self.name is None else f", name={self.name!r}"
        return f"GrowthSchedule([{stages}]{name})"

    def __eq__(self, other):
        return type(self) is type(other) and (
            self.get_config() == other.get_config()
        )

    __hash__ = None


def _stage(stage):
    if isinstance(stage, Stage):
        return stage
    if isinstance(stage, dict):
        return Stage.from_config(stage)
    raise GrowthError(
        f"A schedule is a list of `Stage`s. Received: {stage!r} (of type "
        f"{type(stage).__name__})"
    )
