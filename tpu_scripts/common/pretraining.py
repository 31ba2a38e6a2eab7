"""Train, grow, write, go on, evaluate: what the three programs share.

A program says what is its own in a `Program`: how a model of its family is
built and compiled, and where its data come from.
"""

import contextlib
import dataclasses
import inspect
import json
import pathlib
from collections.abc import Callable

import keras

import kgrow
from common import (
    checkpoints,
    devices,
    optimizing,
    outlook,
    records,
    settings,
    smoke,
)
from kgrow import schedules
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import count_parameters
from kgrow.callbacks import Growth
from kgrow.models import configurations
from kgrow.schedules import device_checks


@dataclasses.dataclass(frozen=True)
class Program:
    """What one program does its own way.

    Args:
        name: string, the program's.
        families: names of the families that it trains.
        add_flags: function of a parser.
        source: function of flags, the model's fields and a shard that gives a
            source of batches, such as `TokenSource`.
        batch: function of flags, fields, a batch size and a length that
            gives a batch's shapes, `(inputs, targets)` of `KerasTensor`s.
        compiled: function of the model, flags and steps of the run that
            compiles it.
        fields: function of flags that gives fields of the model, which go
            before those of its configuration.
    """

    name: str
    families: tuple
    add_flags: Callable
    source: Callable
    batch: Callable
    compiled: Callable
    fields: Callable = lambda options: {}


def parser(program, description):
    """The flags of a program that trains."""
    made = settings.make_parser(description, program.name)
    add = made.add_argument
    add("--model", help="a name from kgrow.models.configurations")
    add(
        "--field",
        type=settings.field,
        action="append",
        metavar="NAME=VALUE",
        help="a field of the model that is another",
    )
    add("--schedule", help="a published name, or a JSON file")
    add("--scale-to", type=settings.count(1), metavar="STEPS")
    add(
        "--source",
        metavar="FILE",
        help="weights of the small model, a .weights.h5 or .keras file or a "
        "preset of KerasHub: the run begins with the first growth",
    )
    add("--steps", type=settings.count(1), help="stop here and write")
    add("--epoch-steps", type=settings.count(1), default=1000)
    add("--sequence-length", type=settings.count(1))
    add("--validation-data")
    add("--validation-steps", type=settings.count(1), default=20)
    optimizing.add_flags(made)
    checkpoints.add_flags(made)
    program.add_flags(made)
    return made


def main(program, description, arguments=None):
    """Runs a program, and gives what it came to: a dict."""
    made = parser(program, description)
    try:
        options = settings.read(made, arguments)
        if options.smoke:
            given = smoke.arguments(program.name, options, arguments)
            options = settings.read(parser(program, description), given)
            return smoke.pretraining(lambda o: Run(program, o), options)
        devices.start(options)
        run = Run(program, options)
        if options.dry_run:
            print(run.outlook())
            return {"dry_run": True}
        return run.begin().train()
    except GrowthError as error:
        made.exit(2, f"{program.name}: {error}\n")


class Run:
    """One run of a program.

    Args:
        program: `Program`.
        options: flags.

    Attributes:
        whole: `GrowthSchedule`, as it was given.
        schedule: `GrowthSchedule` of this run: without the first stage where
            that is in a file.
        model: `GrowableModel`, at the sizes of the first stage.
    """

    def __init__(self, program, options):
        self.program = program
        self.options = options
        self.fields = fields_of(program, options)
        self.whole = schedule_of(options, self.fields)
        self.schedule = without_first(self.whole, options)
        self.family = getattr(kgrow.models, self.fields.pop("family"))
        self.distribution = devices.distribution(options, self.family.axes)
        for index in range(len(self.schedule)):
            batch = batch_size_of(self.schedule, index, options)
            devices.check_batch(batch, self.distribution)
        # Before there are variables, which would not divide either.
        device_checks.check_layout(self._make, self.whole, self.distribution)
        keras.distribution.set_distribution(self.distribution)
        self.source = program.source(
            options, self.fields, devices.data_shard(self.distribution)
        )
        self.model = self._make()

    def _make(self):
        """The model as its constructor makes it, at the first stage's sizes.

        The same call in every process: what a file holds comes later.
        """
        return self.family(**{**self.fields, **self.whole.sizes[0]})

    def _batch_size(self, index):
        return batch_size_of(self.schedule, index, self.options)

    def _length(self, index):
        return length_of(self.schedule, index, self.options)

    def inputs(self, batch_size, length):
        """The `KerasTensor`s of a batch."""
        return self.program.batch(
            self.options, self.fields, batch_size, length
        )[0]

    @property
    def total_steps(self):
        """The step at which the last stage ends, or the one to stop at."""
        return total_steps_of(self.schedule, self.options)

    def stages(self):
        """The outlook on every stage, memory and all."""
        self.compile(self.model)
        found = outlook.stages(
            self.model,
            self.schedule,
            self.options.batch_size,
            self.options.sequence_length,
            self.inputs,
            self.options.epoch_steps,
        )
        memory = device_checks.memory_forecast(
            self.model, self.whole, self.distribution
        )
        for stage, row in zip(found, memory[-len(found) :], strict=True):
            stage.bytes = row.total
        return found

    def outlook(self):
        """The plan as text, for `--dry-run`."""
        options = self.options
        mesh = "one device"
        if self.distribution is not None:
            shape = "x".join(map(str, self.distribution.device_mesh.shape))
            mesh = f"mesh {shape}, layout {options.layout}"
        hosts = devices.process()[1]
        lines = [
            f"{self.program.name}: {self.family.__name__}, {mesh}, {hosts} "
            f"hosts, {options.precision}, seed {options.seed}",
            f"data {options.data}; checkpoints {options.checkpoints}, every "
            f"{options.checkpoint_every} steps, {options.checkpoint_format}",
        ]
        if options.paper:
            lines += _paper(options.paper)
        if options.source:
            lines.append(
                f"source {options.source}: begins with the first growth, its "
                "own training is not counted"
            )
        lines.append("bytes are weights, gradients and slots, no activations")
        return outlook.report(self.stages(), lines)

    def compile(self, model):
        """Compiles a model as the program does."""
        self.program.compiled(model, self.options, self.total_steps)

    def begin(self):
        """Compiles the model, and goes on from where a run was broken off.

        Returns:
            the run itself.
        """
        options, model = self.options, self.model
        self.compile(model)
        self.writer = checkpoints.make(options, devices.process()[1])
        self.resumed = self.writer is not None and self.writer.restore(model)
        self.growth = self._growth()
        self.growth.set_model(model)
        if options.source and not self.resumed:
            self._grow_source()
        self.began = {
            "began_at_step": self.growth.progress.steps,
            "began_at_stage": self.growth.next_stage + 1,
            "resumed": self.resumed,
        }
        if self.resumed and devices.is_first():
            print(
                f"{self.program.name}: goes on at step "
                f"{self.began['began_at_step']:,}, stage "
                f"{self.began['began_at_stage']} of {len(self.schedule)}",
                flush=True,
            )
        return self

    def train(self):
        """Trains to the end, or to `--steps`, from where `begin()` left it.

        Returns:
            dict: where the run began and ended, sizes, losses.
        """
        options, model = self.options, self.model
        growth, writer = self.growth, self.writer
        lines = self._records()
        lines.start_at(model.growth_history)
        lines.set_model(model)
        lines.write(
            "resume" if self.resumed else "start",
            parameters=count_parameters(model.network),
            options={k: v for k, v in vars(options).items() if k != "field"},
            **self.began,
        )
        begun = growth.progress.steps
        reached = options.steps is not None and begun >= options.steps
        if not growth.is_finished and not reached:
            self._fit(lines)
        lines.write_growths()
        if writer is not None:
            writer.set_model(model)
            writer.write()
            writer.close()
        progress = growth.progress
        result = {
            "step": progress.steps,
            "stage": progress.stage + 1,
            **self.began,
            "sizes": model.growth_config,
            "parameters": count_parameters(model.network),
            "growths": len(model.growth_history),
        }
        if growth.is_finished:
            result.update(self._evaluate())
        lines.write("end", **result)
        return result

    def _fit(self, lines):
        options, growth, writer = self.options, self.growth, self.writer
        folder = self._folder()
        callbacks = [
            growth,
            *records.callbacks(options, folder, lines),
        ]
        if writer is not None:
            callbacks.append(writer)
        if options.steps is not None:
            callbacks.append(StopAt(options.steps, growth))
        with contextlib.suppress(Stopped):
            kgrow.fit(
                self.model,
                growth.schedule,
                data=lambda stage: self.source.batches(
                    stage.batch_size,
                    stage.sequence_length,
                    first=self._first_batch(),
                ),
                batch_size=options.batch_size,
                sequence_length=options.sequence_length,
                steps_per_epoch=options.epoch_steps,
                validation_data=self._validation(),
                callbacks=callbacks,
                shuffle=False,
                verbose=2 if devices.is_first() else 0,
            )

    def _first_batch(self):
        """The batch that the data of the stage that comes next begin with."""
        progress, stage = self.growth.progress, self.growth.next_stage
        if self.writer is None or self.writer.skips or stage > progress.stage:
            return progress.steps
        # The run reads again what it had read: all since data last changed.
        names = ("batch_size", "sequence_length", "data")
        while stage and all(
            self.schedule.setting(stage, name)
            == self.schedule.setting(stage - 1, name)
            for name in names
        ):
            stage -= 1
        begins = {e["stage"]: e["step"] for e in progress.events}
        return begins.get(stage + 1, 0)

    def _growth(self):
        data = None
        needs_data = any(
            self.schedule.stages[i].grown_by.needs_data
            for i in range(1, len(self.schedule))
            if self.schedule.grows(i)
        )
        if needs_data:
            # Other batches than those that the run itself trains on.
            data = self.source.batches(
                self._batch_size(0), self._length(0), steps=200, turn=1
            )
        return Growth(
            self.schedule, data=data, verbose=1 if devices.is_first() else 0
        )

    def _grow_source(self):
        """Reads the small model, and makes the first growth."""
        small = self._make()
        load_source(small, self.options.source)
        # Its weights alone: the optimizer's count begins with this run.
        for variable, value in zip(
            self.model.network.variables, small.network.variables, strict=True
        ):
            variable.assign(value)
        stage = self.whole.stages[1]
        receipt = self.model.grow(
            self.whole.sizes[1],
            stage.grown_by,
            data=self.source.batches(
                self._batch_size(0), self._length(0), steps=200, turn=1
            ),
            optimizer_state=stage.optimizer_state,
            seed=self.options.seed,
            trainable=stage.trainable,
        )
        if devices.is_first():
            print(receipt, flush=True)

    def _records(self):
        inputs = lambda index: self.inputs(  # noqa: E731
            self._batch_size(index), self._length(index)
        )
        return records.Records(
            self._folder(), self.growth, inputs, self.program.name
        )

    def _folder(self):
        """Where this process writes metrics, or `None`."""
        options = self.options
        if not devices.is_first():
            return None
        if options.logs is None and options.checkpoints is not None:
            return options.checkpoints.rstrip("/") + "_logs"
        return options.logs

    def _validation(self):
        options, source = self.options, self.source
        if options.validation_data is not None:
            source = self.program.source(
                _with(options, data=options.validation_data),
                self.fields,
                devices.data_shard(self.distribution),
            )
        return source.batches(
            self._batch_size(0),
            self._length(len(self.schedule) - 1),
            training=False,
            steps=options.validation_steps,
        )

    def _evaluate(self):
        found = self.model.evaluate(
            self._validation(), verbose=0, return_dict=True
        )
        return {f"final_{name}": float(v) for name, v in found.items()}


class Stopped(Exception):
    """The step of `--steps` was reached."""


class StopAt(keras.callbacks.Callback):
    """Breaks `fit` off behind a step, in the middle of an epoch if it must.

    Args:
        steps: int.
        growth: `kgrow.callbacks.Growth`, which counts.
    """

    def __init__(self, steps, growth):
        super().__init__()
        self.steps = steps
        self.growth = growth

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        if self.growth.progress.steps >= self.steps:
            raise Stopped


def compile_language_model(model, options, steps):
    """Compiles a model that predicts tokens."""
    model.compile(
        optimizing.optimizer(options, steps),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def load_source(model, path):
    """Gives a model the weights of a file or of a preset of KerasHub.

    Args:
        model: `GrowableModel`, of the same sizes, not compiled.
        path: string.

    Raises:
        GrowthError: there is no such file, or its sizes are others.
    """
    wanted = model.growth_config
    try:
        if str(path).endswith(".weights.h5"):
            model.load_weights(path)
            other = model
        elif str(path).endswith(".keras"):
            other = keras.saving.load_model(path, compile=False)
        else:
            import keras_hub

            backbone = keras_hub.models.Backbone.from_preset(path)
            other = kgrow.hub.from_hub(backbone)
    except GrowthError:
        raise
    except Exception as error:
        raise GrowthError(
            "A source is a .weights.h5 or .keras file, or a preset of "
            f"KerasHub. Received: source={path!r}, {error}"
        ) from error
    found = other.growth_config
    if found != wanted:
        differing = {
            field: (wanted.get(field), size)
            for field, size in found.items()
            if wanted.get(field) != size
        }
        raise GrowthError(
            "The source has other sizes than the first stage (stage, source): "
            f"{differing}. Received: source={path!r}"
        )
    if other is not model:
        model.network.set_weights(other.network.get_weights())


def fields_of(program, options):
    """The fields of the model, the name of the family among them."""
    if options.model is None:
        raise GrowthError(
            "Say which model: `--model`, one of "
            f"{', '.join(configurations.names())}. Received: model=None"
        )
    fields = configurations.configuration(options.model)
    if fields["family"] not in program.families:
        raise GrowthError(
            f"{program.name} trains {' and '.join(program.families)}. "
            f"Received: model={options.model!r}, a {fields['family']}"
        )
    family = getattr(kgrow.models, fields["family"])
    known = inspect.signature(family).parameters
    for field in options.fields:
        if field not in known:
            raise GrowthError(
                f"`{family.__name__}` has no field `{field}`. Received: "
                f"{field}={options.fields[field]!r}. There are: "
                f"{', '.join(known)}"
            )
    return {**fields, **program.fields(options), **options.fields}


def schedule_of(options, fields):
    """The schedule of the flags, whose first stage has all sizes."""
    name = options.schedule
    if name is None:
        raise GrowthError(
            "Say how the model grows: `--schedule`, a JSON file or one of "
            f"{', '.join(schedules.names())}. Received: schedule=None"
        )
    if name.endswith(".json"):
        if not pathlib.Path(name).exists():
            raise GrowthError(
                f"There is no such file. Received: schedule={name!r}"
            )
        schedule = schedules.GrowthSchedule.from_json(name)
    else:
        schedule = schedules.get(name)
    if options.scale_to:
        schedule = schedule.scaled(total_steps=options.scale_to)
    named = [stage.data for stage in schedule.stages if stage.data]
    if named:
        raise GrowthError(
            "All stages are trained on `--data`, and this schedule names "
            f"others: {named}. Call `kgrow.fit` for such a run."
        )
    if options.source and len(schedule) < 2:
        raise GrowthError(
            "A source is grown, and the schedule has no growth. Received: "
            f"source={options.source!r}"
        )
    if options.sequence_length is None and "image_size" not in fields:
        raise GrowthError(
            "Say how long a window is: `--sequence-length`. Received: "
            "sequence_length=None"
        )
    return schedule


def batch_size_of(schedule, index, options):
    """Rows of a batch in a stage, over all devices.

    Raises:
        GrowthError: neither the schedule nor the flags say.
    """
    found = schedule.setting(index, "batch_size")
    if found is None and options.batch_size is None:
        raise GrowthError(
            "Say how large a batch is: `--batch-size`. Received: "
            "batch_size=None"
        )
    return found or options.batch_size


def length_of(schedule, index, options):
    """Tokens in a row in a stage, or `None`."""
    found = schedule.setting(index, "sequence_length")
    return found or options.sequence_length


def total_steps_of(schedule, options):
    """The step at which the last stage ends, or the one to stop at.

    Raises:
        GrowthError: neither the schedule nor the flags say.
    """
    last = len(schedule) - 1
    total = outlook.step_of(
        schedule.stages[last].until,
        batch_size_of(schedule, last, options),
        length_of(schedule, last, options),
        options.epoch_steps,
    )
    total = total or options.steps
    if total is None:
        raise GrowthError(
            "The learning rate has to know when the run ends, and the "
            "schedule does not say. Give `--steps`."
        )
    return total


def without_first(schedule, options):
    """What of a schedule is left for a model that begins with a growth."""
    if not options.source:
        return schedule
    before = schedule.stages[0].until
    stages = []
    for stage in schedule.stages[1:]:
        if getattr(stage.until, "unit", None) != before.unit:
            raise GrowthError(
                "With `--source` all stages end at a step, or all at an "
                f"epoch. Received: {before!r}, {stage.until!r}"
            )
        left = type(before)(stage.until.count - before.count)
        stages.append(stage.replaced(until=left))
    grown = schedule.filled(1)
    stages[0] = schedules.Stage(
        stages[0].until,
        grown.config,
        batch_size=grown.batch_size,
        sequence_length=grown.sequence_length,
    )
    return schedule.replaced(stages=stages)


def _paper(paper):
    lines = [
        f"{paper.get('title')} ({paper.get('id')}), {paper.get('table')}: "
        f"{paper.get('method')}",
        f"expected: {json.dumps(paper.get('expected'))}; "
        f"{paper.get('counts', '')}",
    ]
    lines += [f"not known: {what}" for what in paper.get("unknown", [])]
    return lines


def _with(options, **changed):
    return type(options)(**{**vars(options), **changed})
