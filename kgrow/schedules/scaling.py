"""A schedule made longer, shorter, or for another model."""

import math

from kgrow.algebra.config_fields import check_size, same_form
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.ramp import Ramp
from kgrow.schedules import stage_bounds
from kgrow.schedules.learning_rate import apply_policies
from kgrow.schedules.stage_bounds import Bound


def scaled(schedule, total_steps=None, factor=None):
    """See `GrowthSchedule.scaled()`."""
    if (total_steps is None) == (factor is None):
        raise GrowthError(
            "Say either `total_steps` or `factor`. Received: "
            f"total_steps={total_steps}, factor={factor}"
        )
    if factor is None:
        if schedule.total_steps is None:
            raise GrowthError(
                "This schedule does not end at a step: give a `factor` in "
                f"place of `total_steps`. Received: total_steps={total_steps}"
            )
        factor = total_steps / schedule.total_steps
    if not factor > 0:
        raise GrowthError(
            "A run is scaled by more than 0. Received: "
            f"total_steps={total_steps}, factor={factor}"
        )
    stages = [
        _scaled_stage(stage, schedule.ramp(index), factor)
        for index, stage in enumerate(schedule.stages)
    ]
    ends = {}
    for number, stage in enumerate(stages, 1):
        until = stage.until
        if isinstance(until, Bound):
            last = ends.get(until.unit, 0)
            if until.count <= last:
                raise GrowthError(
                    f"Scaled so far down, stage {number} would have no "
                    f"{until.unit[:-1]} left: it ends at {until.count}, where "
                    f"it begins at {last}. Received: "
                    f"total_steps={total_steps}, factor={factor}"
                )
            ends[until.unit] = until.count
    return schedule.replaced(stages=stages)


def _scaled_stage(stage, ramp, factor):
    if ramp is not None and ramp.steps:
        steps = max(1, round(ramp.steps * factor))
        ramp = Ramp.from_config({**ramp.get_config(), "steps": steps})
    policies = stage.learning_rate
    if policies is not None:
        policies = [policy.scaled(factor) for policy in policies]
        policies = apply_policies.serialize(policies)
    until = stage_bounds.serialize(stage.until.scaled(factor))
    return stage.replaced(until=until, ramp=ramp, learning_rate=policies)


def resized(schedule, final, multiple_of=None):
    """See `GrowthSchedule.resized()`."""
    last = len(schedule) - 1
    whole = {name: schedule.setting(last, name) for name in _COUNTS}
    whole = {name: value for name, value in whole.items() if value is not None}
    whole.update(schedule.sizes[-1])
    multiples = _multiples(multiple_of, final)
    final = {**{f: whole[f] for f in multiples if f in whole}, **final}
    unknown = [f for f in {**multiples, **final} if f not in whole]
    if unknown:
        raise GrowthError(
            f"The schedule has the sizes {sorted(whole)}. Received: "
            f"{', '.join(f'{f}={final.get(f)!r}' for f in unknown)}"
        )
    stages = []
    for number, stage in enumerate(schedule.stages, 1):
        old = stage.get_config()
        part = _Part(number, whole, final, multiples)
        counts = {n: part(n, old[n]) for n in _COUNTS if old[n] is not None}
        sizes = {field: part(field, n) for field, n in stage.config.items()}
        stages.append(stage.replaced(config=sizes, **counts))
    return schedule.replaced(stages=stages)


_COUNTS = ("batch_size", "sequence_length")


class _Part:
    """The same part of another whole, or an error that names the stage."""

    def __init__(self, number, whole, final, multiples):
        self.number = number
        self.whole = whole
        self.final = final
        self.multiples = multiples

    def __call__(self, field, size):
        if field not in self.final:
            return size
        whole, final = self.whole[field], self.final[field]
        if isinstance(whole, list):
            if not same_form(check_size(field, final), whole):
                raise GrowthError(
                    f"`{field}` must have the form of {whole!r}. Received: "
                    f"{field}={final!r}"
                )
            return [
                _Part(self.number, {field: w}, {field: f}, self.multiples)(
                    field, n
                )
                for n, w, f in zip(size, whole, final, strict=True)
            ]
        if field in self.multiples:
            return self._rounded(field, size * final / whole)
        if size * final % whole:
            raise GrowthError(
                f"Stage {self.number} has {field}={size} of {whole}, and of "
                f"{final} that is no whole number. Received: {field}={final}"
            )
        return size * final // whole

    def _rounded(self, field, size):
        """The nearest multiple, of two the larger."""
        multiple, final = self.multiples[field], self.final[field]
        if final % multiple:
            raise GrowthError(
                f"The final `{field}` must be a multiple of {multiple} itself; "
                "to round some fields only, name them: "
                f"multiple_of={{{field!r}: {multiple}}}. Received: "
                f"{field}={final}"
            )
        return max(1, math.floor(size / multiple + 0.5)) * multiple


def _multiples(multiple_of, final):
    """`{field: multiple}` of the fields that are rounded."""
    if not isinstance(multiple_of, dict):
        multiple_of = dict.fromkeys(
            () if multiple_of is None else final, multiple_of
        )
    for field, multiple in multiple_of.items():
        if not isinstance(multiple, int) or multiple < 1:
            raise GrowthError(
                "`multiple_of` is a positive integer, or a dict from fields to "
                f"such. Received: {field}: {multiple!r}"
            )
    return multiple_of
