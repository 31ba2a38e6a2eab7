"""Checks of a schedule before it runs."""

import json
import math
import warnings

from kgrow import backend
from kgrow.algebra.config_fields import same_form, shrinks
from kgrow.algebra.errors import GrowthError
from kgrow.backend.random import private_random
from kgrow.schedules.learning_rate import apply_policies
from kgrow.schedules.progress import Progress
from kgrow.schedules.stage_bounds import Bound

KEY = "growth"


def check_stages(stages):
    """Checks that need no model; see `GrowthSchedule`."""
    if not stages:
        raise GrowthError("A schedule has at least one stage. Received: []")
    _check_first(stages[0])
    sizes = stages[0].config
    for number, stage in enumerate(stages[1:], 2):
        for field, value in stage.config.items():
            before = sizes.get(field, value)
            if not same_form(value, before):
                raise GrowthError(
                    f"Stage {number}: `{field}` must have the form of "
                    f"{before!r}. Received: config={stage.config}"
                )
            if shrinks(value, before):
                raise GrowthError(
                    f"Stage {number}: `{field}` cannot shrink: "
                    f"{before} -> {value}. Received: "
                    f"config={stage.config}"
                )
        grown = {**sizes, **stage.config}
        _check_change(number, stage, grown != sizes)
        sizes = grown
    _check_order(stages)


def _check_first(stage):
    if not stage.grows_plainly or stage.trainable is not None:
        raise GrowthError(
            "Stage 1: the model does not grow into the first stage, so it "
            "takes no `strategy`, `ramp`, `optimizer_state` or `train`. "
            f"Received: {stage!r}"
        )
    if stage.learning_rate is not None:
        raise GrowthError(
            "Stage 1: training begins at the learning rate that the model was "
            "compiled with; `learning_rate` says what becomes of it in later "
            f"stages. Received: {stage!r}"
        )


def _check_change(number, stage, grows):
    if grows:
        with _stage_named(number):
            _ = stage.grown_by
        return
    if not stage.changes:
        raise GrowthError(
            f"Stage {number} changes nothing: no size is larger than in the "
            "stage before, and nothing else is given. Lengthen that stage, or "
            f"say what changes. Received: {stage!r}"
        )
    if not stage.grows_plainly or stage.trainable == "new":
        raise GrowthError(
            f"Stage {number} grows nothing, so it takes no `strategy`, "
            "`ramp`, `optimizer_state` or trainable='new'. Received: "
            f"{stage!r}"
        )


def _check_order(stages, steps_per_epoch=None):
    """Every stage must begin before it ends, whenever the triggers fire."""
    last, latest, before = {}, 0, None
    for number, stage in enumerate(stages, 1):
        until = stage.until
        if not isinstance(until, Bound):
            if latest is not None:
                latest += until.at_most or math.inf
            before = until
            continue
        steps = _in_steps(until, steps_per_epoch)
        late = steps is not None and latest is not None and steps <= latest
        if late or until.count <= last.get(until.unit, 0):
            unbounded = late and latest == math.inf
            hint = " Give its trigger `at_most`." if unbounded else ""
            raise GrowthError(
                f"Stage {number} may end before it begins: it lasts until "
                f"{until}, and the stage before until {before}.{hint} "
                f"Received: until={until!r}"
            )
        last[until.unit] = until.count
        latest, before = steps, until


def _in_steps(until, steps_per_epoch):
    if until.unit == "steps":
        return until.count
    if until.unit == "epochs" and steps_per_epoch:
        return until.count * steps_per_epoch
    return None


def check_model(schedule, model, steps_per_epoch=None, epochs=None):
    """Checks that need the model; see `GrowthSchedule.check()`."""
    if not hasattr(model, "growth_config"):
        raise GrowthError(
            "A growth schedule runs on a `kgrow.GrowableModel`. Received: "
            f"{model!r} (of type {type(model).__name__})"
        )
    progress = Progress(dict(model.callback_state.get(KEY, {})))
    _check_order(schedule.stages, steps_per_epoch)
    _check_standing(schedule, model, progress)
    _check_reach(schedule, progress, steps_per_epoch, epochs)
    for index in range(progress.stage, len(schedule)):
        stage = schedule.stages[index]
        with _stage_named(index + 1):
            _check_ramp(schedule, index)
            model.architecture.check_training_options(
                stage.training_options or {}
            )
            if stage.learning_rate is not None and index > progress.stage:
                apply_policies.check(model, stage.learning_rate)
    _check_plans(schedule, model, progress.stage)


def _check_standing(schedule, model, progress):
    """The model must have the sizes of the stage that it is in."""
    if progress.stage >= len(schedule):
        raise GrowthError(
            f"The model is in stage {progress.stage + 1} of another schedule, "
            f"and this one has {len(schedule)}. {_ANEW}"
        )
    current, number = model.growth_config, progress.stage + 1
    for field, value in schedule.sizes[progress.stage].items():
        if field not in current:
            raise GrowthError(
                f"Stage {number}: the model has no size `{field}`. Received: "
                f"{field}={value}. Fields that grow: {current}"
            )
        if current[field] != value:
            hint = f" {_ANEW}" if progress.steps else ""
            raise GrowthError(
                f"Stage {number} begins with {field}={value}, and the model "
                f"has {current[field]}.{hint} Received: "
                f"config={schedule.sizes[progress.stage]}"
            )


_ANEW = (
    "To begin a schedule anew on a model that has run one, forget that: "
    f"model.callback_state.pop('{KEY}')."
)


def _check_reach(schedule, progress, steps_per_epoch, epochs):
    """A `fit` that ends within the first stage would never grow the model."""
    until = schedule.stages[progress.stage].until
    if len(schedule) == 1 or not steps_per_epoch or not epochs:
        return
    steps = (
        _in_steps(until, steps_per_epoch) if isinstance(until, Bound) else None
    )
    reached = progress.steps + steps_per_epoch * epochs
    if steps is not None and reached < steps:
        warnings.warn(
            f"This `fit` ends at step {reached:,}, before stage "
            f"{progress.stage + 1} does, at step {steps:,}: the model will "
            "not grow in it.",
            stacklevel=2,
        )


def _check_plans(schedule, model, first):
    """Builds every network, without values, and plans every growth."""
    source = model.architecture
    spec, training_options = source.spec, {}
    with backend.scope(model), private_random(0):
        for index in range(first, len(schedule)):
            stage = schedule.stages[index]
            training_options.update(stage.training_options or {})
            if index == first or not schedule.grows(index):
                continue
            with _stage_named(index + 1):
                config = source.check(schedule.sizes[index])
                _, target = source.build(config, training_options)
                stage.grown_by.plan(spec, target, seed_of(schedule, index))
            spec = target


def check_past(schedule, progress):
    """Refuses a schedule other than the one that a run has come so far by.

    The stage that the run is in may end elsewhere, and others may follow.

    Args:
        schedule: `GrowthSchedule`.
        progress: `Progress`.

    Raises:
        GrowthError: it names the stage and what is different.
    """
    if progress.stage >= len(schedule):
        raise GrowthError(
            f"The model is in stage {progress.stage + 1} of its schedule, and "
            f"this one has {len(schedule)} stages. {_ANOTHER} Received: "
            f"{schedule!r}"
        )
    for event in progress.events:
        # Files of former versions do not have it.
        before = event.get("config")
        if before is None:
            continue
        stage = schedule.stages[event["stage"] - 1]
        for key, value in as_entered(stage).items():
            goes_on = event["stage"] - 1 == progress.stage and key == "until"
            if not goes_on and before.get(key, value) != value:
                raise GrowthError(
                    f"The model went through stage {event['stage']} with "
                    f"{key}={before[key]!r}, and this schedule says "
                    f"{key}={value!r}. {_ANOTHER} Received: {stage!r}"
                )


_ANOTHER = (
    "It was trained, or loaded, in the middle of another schedule. Go on with "
    "that one, or begin this one with "
    "`model.callback_state.pop('growth')`, or without the backup."
)


def as_entered(stage):
    """A stage's config, as a file gives it back."""
    text = json.dumps(
        stage.get_config(), default=lambda value: type(value).__name__
    )
    return json.loads(text)


def seed_of(schedule, index):
    """The seed of the growth into a stage."""
    seed = schedule.stages[index].seed
    return index if seed is None else seed


def _check_ramp(schedule, index):
    """Warns of a ramp that goes on when the next stage begins."""
    stage = schedule.stages[index]
    ramp = schedule.ramp(index)
    if ramp is None:
        return
    begin, end = schedule.stages[index - 1].until, stage.until
    if getattr(begin, "unit", None) != "steps" or (
        getattr(end, "unit", None) != "steps"
    ):
        return
    beyond = ramp.steps - (end.count - begin.count)
    if beyond > 0:
        then = (
            "the training ends"
            if index == len(schedule) - 1
            else f"the model grows into stage {index + 2}"
        )
        warnings.warn(
            f"The ramp of stage {index + 1} takes {ramp.steps:,} steps and the "
            f"stage {end.count - begin.count:,}: {then} while the last "
            f"{beyond:,} are still to come.",
            stacklevel=2,
        )


class _stage_named:
    """Context in which errors say which stage they are of."""

    def __init__(self, number):
        self.number = number

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, GrowthError):
            raise GrowthError(f"Stage {self.number}: {error}") from error
