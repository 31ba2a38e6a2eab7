"""The steps of a run's stages, compiled for a slice, each on shapes alone."""

import dataclasses
import time

import keras

import kgrow
from common import devices, pretraining
from kgrow import lowering
from kgrow.algebra.errors import GrowthError
from kgrow.backend.flops import training_flops
from kgrow.backend.lazy_variables import without_values
from kgrow.schedules import device_checks

TRAIN, GATED, OPERATOR = "train", "gated", "operator"


class StageSteps:
    """The steps of a run.

    A stage has the step that it trains with, one behind gates where its growth
    opens some, and one that learns an operator where its strategy does.

    Args:
        program: `Program`.
        options: flags.
        found: list of the slice's devices.

    Raises:
        GrowthError: flags, schedule, mesh or layout do not go together.
    """

    def __init__(self, program, options, found):
        # As `devices.start()` does, but for processes that there are not.
        keras.config.disable_flash_attention()
        keras.config.set_dtype_policy(options.precision)
        self.program, self.options = program, options
        self.fields = pretraining.fields_of(program, options)
        self.whole = pretraining.schedule_of(options, self.fields)
        left = pretraining.without_first(self.whole, options)
        self.total = pretraining.total_steps_of(left, options)
        self.family = getattr(kgrow.models, self.fields.pop("family"))
        self.first_device = found[0]
        self.distribution = devices.distribution(
            options, self.family.axes, found
        )
        for index in self.numbers:
            devices.check_batch(self._batch_size(index), self.distribution)
        device_checks.check_layout(self._first, self.whole, self.distribution)

    @property
    def numbers(self):
        """Indices of the stages that the run trains, last one first."""
        first = 1 if self.options.source else 0
        return list(reversed(range(first, len(self.whole))))

    def kinds(self, index):
        """Which steps a stage has."""
        kinds = [TRAIN]
        if index and self.whole.grows(index):
            if self.whole.ramp(index):
                kinds.append(GATED)
            if hasattr(self._strategy(index), "operator"):
                kinds.append(OPERATOR)
        return kinds

    def compiled(self, index, kind, quick=False):
        """Compiles a step.

        Returns:
            dict of plain data: the stage, its sizes, and what the compiler
            says, or under `"error"` why it refuses.
        """
        start = time.perf_counter()
        row = {"stage": index + 1, "step": kind}
        lowered = self._lowered(index, kind, row)
        row["lowering_seconds"] = time.perf_counter() - start
        try:
            report = lowered.compile(quick).report
        except Exception as error:
            # JAX's own class says nothing: what matters is in its text.
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return {**row, "error": str(error)}
        return {**row, **dataclasses.asdict(report), "bytes": report.bytes}

    def _lowered(self, index, kind, row):
        places = {"distribution": self.distribution}
        if self.distribution is None:
            places = {"device": self.first_device}
        made = self._model(index)
        row["sizes"] = made.growth_config
        if kind == OPERATOR:
            # It learns on the batches that the run begins with.
            return lowering.lower_operator_step(
                self._model(index - 1),
                self._sizes(index),
                self._strategy(index),
                self._batch(0),
                **places,
            )
        batch = self._batch(index)
        parts = 1
        if self.distribution is not None:
            parts = self.distribution.device_mesh.devices.size
        row["parameters"] = made.count_params()
        row["counted_flops"] = training_flops(made.network, batch[0]) / parts
        if kind == GATED:
            made = self._model(index, self._strategy(index))
        return lowering.lower_train_step(made, batch, **places)

    def _model(self, index, strategy=None):
        """The model of a stage, grown by a strategy's gates if there is one."""
        before = self._first()
        if strategy is not None:
            before = self._model(index - 1)
        options = {}
        for stage in self.whole.stages[: index + 1]:
            options.update(stage.training_options or {})
        return lowering.stage_model(
            before,
            self._sizes(index),
            strategy,
            compile=lambda model: self.program.compiled(
                model, self.options, self.total
            ),
            training_options=options,
        )

    def _first(self):
        with without_values():
            return self.family(**{**self.fields, **self._sizes(0)})

    def _sizes(self, index):
        return self.whole.sizes[index]

    def _strategy(self, index):
        return self.whole.stages[index].grown_by

    def _batch_size(self, index):
        return pretraining.batch_size_of(self.whole, index, self.options)

    def _batch(self, index):
        return self.program.batch(
            self.options,
            self.fields,
            self._batch_size(index),
            pretraining.length_of(self.whole, index, self.options),
        )


def chosen(numbers, wanted):
    """Indices of the stages that were asked for.

    Args:
        numbers: list of all indices.
        wanted: list of numbers of stages from 1, or `None` for all.

    Raises:
        GrowthError: there is no such stage.

    Example:

    >>> chosen([2, 1, 0], [1, 3])
    [2, 0]
    """
    if wanted is None:
        return numbers
    unknown = [n for n in wanted if n - 1 not in numbers]
    if unknown:
        stages = sorted(n + 1 for n in numbers)
        raise GrowthError(
            f"There is no such stage. Received: stages={unknown}. There are: "
            f"{stages}"
        )
    return [n for n in numbers if n + 1 in wanted]
