"""The next stage of a schedule, prepared while the present one trains."""

from kgrow import backend
from kgrow.backend.keras_internals import print_msg
from kgrow.growth.optimizer.slots import nested
from kgrow.growth.prepared.prepared_growth import begin_preparation
from kgrow.growth.update_scale import counter, steps_taken
from kgrow.schedules.checks import seed_of
from kgrow.schedules.learning_rate import apply_policies
from kgrow.schedules.learning_rate.policies import Keep, Transfer
from kgrow.schedules.stage_bounds import Bound


class StagePreparation:
    """Has the steps of one stage after the other compiled ahead.

    Whatever cannot be prepared is compiled when its stage begins, and one line
    says why.

    Args:
        schedule: `GrowthSchedule`.
        changes_data: function of a stage's number, whether it has other data
            or batches than the stage before.
        verbose: bool, whether these lines are printed.
    """

    def __init__(self, schedule, changes_data, verbose=True):
        self.verbose = verbose
        self.schedule = schedule
        self.changes_data = changes_data
        self._stage = None
        self._preparation = None

    def look(self, model, progress, tokens, total):
        """Called before each batch: begins what can begin by now.

        Args:
            model: `GrowableModel`.
            progress: `Progress`.
            tokens: int or `None`, tokens of a batch.
            total: function that gives the optimizer's iterations at the end of
                the run, or `None` if they are not known.
        """
        seen = model._programs.seen
        if not backend.compiles or not seen:
            return
        index = progress.stage + 1
        if index != self._stage:
            self._stage = index
            self._preparation = self._begin(
                model, index, progress, tokens, total
            )
        if self._preparation is not None:
            for (kind, form), (batch, rows) in list(seen.items()):
                self._preparation.ask(kind, form, batch, rows)

    def _begin(self, model, index, progress, tokens, total):
        if index >= len(self.schedule) or not self.schedule.grows(index):
            return None
        stage, reason = self.schedule.stages[index], None
        if self.changes_data(index):
            reason = "its batches are others"
        policies = [
            policy
            for policy in apply_policies.get(stage.learning_rate)
            if not isinstance(policy, (Keep, Transfer))
        ]
        until = self.schedule.stages[index - 1].until
        left = _steps_left(until, progress, tokens)
        if policies and left is None:
            reason = "its learning rate depends on the step it begins at"
        if reason is None:
            try:
                return begin_preparation(
                    model,
                    self.schedule.sizes[index],
                    stage.grown_by,
                    seed_of(self.schedule, index),
                    stage.trainable,
                    apply_policies.transfer(stage.learning_rate),
                    stage.training_options,
                    _finish(model, policies, left, total),
                    self.verbose,
                )
            except Exception as error:
                # The run does not depend on it.
                reason = str(error).strip().partition("\n")[0]
        if self.verbose:
            print_msg(
                f"kgrow: stage {index + 1} is compiled when it begins, and "
                f"not ahead: {reason}."
            )
        return None


def _finish(model, policies, left, total):
    """What is done to the model of a stage without values, as it is to the
    grown one: its learning rate changes at the step of the growth."""
    if not policies:
        return None
    backend.sync(model)
    counts = [p._iterations for p in nested(model.optimizer)]
    event = steps_taken(model) + left
    total = total()

    def finish(made):
        parts = nested(made.optimizer)
        lag = event - steps_taken(model)
        for part, count in zip(parts, counts, strict=True):
            part._iterations.assign(count.value + lag)
        counter(made.optimizer).assign(event)
        made.callback_state.update(model.callback_state)
        apply_policies.apply(made, policies, total)

    return finish


def _steps_left(until, progress, tokens):
    """Batches until a stage is over, or `None` where that is open."""
    if not isinstance(until, Bound):
        return None
    if until.unit == "steps":
        return until.count - progress.steps
    if until.unit == "tokens" and tokens:
        return -(-(until.count - progress.tokens) // tokens)
    if until.unit == "epochs" and progress.epoch_steps:
        epochs = until.count - progress.closed
        return epochs * progress.epoch_steps - progress.batches
    return None
