"""The steps of a model that were compiled ahead, and their use by `fit`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kgrow import backend
from kgrow.algebra.types import Config
from kgrow.backend.ahead_program import AheadProgram
from kgrow.growth.prepared.batch_form import form_of, tensors_of
from kgrow.growth.prepared.step_facts import (
    differing,
    step_facts,
    surroundings,
)

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel
    from kgrow.growth.prepared.preparation import Preparation


@dataclasses.dataclass(frozen=True)
class PreparedStep:
    """A step that was compiled ahead, and its key.

    Args:
        kind: `"train"` or `"test"`.
        form: see `form_of()`.
        facts: see `step_facts()`.
        program: `AheadProgram`.
    """

    kind: str
    form: tuple
    facts: dict
    program: AheadProgram


class ProgramStore:
    """A model's steps that were compiled before they are needed.

    Attributes:
        seen: `{(kind, form): (batch, rows)}` of the batches that this
            model's steps have run on, as `Backend.compile_ahead()` takes them.
    """

    def __init__(self):
        self.seen = {}
        self._preparations = []

    def preparation_of(self, sizes: Config) -> Preparation | None:
        """The last `Preparation` of a model of these sizes, or `None`."""
        found = [p for p in self._preparations if p.sizes == sizes]
        return found[-1] if found else None

    def summary(self, sizes: Config) -> dict[str, Any] | None:
        """`Preparation.summary()` for these sizes, or `None`."""
        preparation = self.preparation_of(sizes)
        if not backend.compiles or preparation is None:
            return None
        return preparation.summary()

    def begin(self, preparation: Preparation, present: Config) -> None:
        """Starts to use a preparation, in place of others.

        Args:
            preparation: `Preparation`.
            present: dict, the sizes of the model now. Preparations for these,
                such as the steps without gates, are kept.
        """
        kept = [p for p in self._preparations if p.sizes == present]
        for other in self._preparations:
            if other not in kept:
                other.cancel()
        self._preparations = [*kept, preparation]

    def cancel(self) -> None:
        """Stops all preparations, each after its current program."""
        for preparation in self._preparations:
            preparation.cancel()

    def attach(
        self,
        model: GrowableModel,
        kind: str,
        function: Callable[..., Any] | None,
    ) -> Callable[..., Any] | None:
        """Makes a function of Keras call prepared programs where these fit.

        Args:
            model: `GrowableModel`.
            kind: `"train"` or `"test"`.
            function: the train or test function that Keras made.
        """
        if not backend.compiles or model.run_eagerly:
            return function
        preparation, facts = self.preparation_of(model.growth_config), None
        if preparation is not None:
            facts = _facts(model)
        calls = _Calls(self, kind, preparation, facts)
        return backend.with_programs(model, function, calls)

    def see(self, kind: str, form: Any, data: Any, rows: int) -> None:
        """Records the form of a batch that a step ran on."""
        if (kind, form) not in self.seen:
            self.seen[kind, form] = tensors_of(data), rows


def _facts(model):
    """`step_facts()`, or the error in finding them: it must not make a growth
    fail."""
    try:
        return step_facts(model)
    except Exception as error:
        return {f"(by {type(error).__name__}: {error}) what it computes": True}


class _Calls:
    """The calls of one function, each with its program if there is one.

    Args:
        store: `ProgramStore`.
        kind: `"train"` or `"test"`.
        preparation: `Preparation` for a model of these sizes, or `None`.
        facts: see `step_facts()`, or `None` where there is none.
    """

    def __init__(self, store, kind, preparation, facts):
        self.store = store
        self.kind = kind
        self.preparation = preparation
        self.facts = facts
        self._known = {}

    def find(self, data, rows):
        """The `AheadProgram` of a batch, or `None`."""
        form = form_of(data)
        self.store.see(self.kind, form, data, rows)
        if form not in self._known:
            self._known[form] = self._look(form)
        return self._known[form]

    def refuse(self, data, error):
        """Records that a program did not fit its arguments after all."""
        self._known[form_of(data)] = None
        reason = str(error).strip().partition("\n")[0]
        self.preparation.report(self.kind, f"it does not fit: {reason}")

    def _look(self, form):
        preparation = self.preparation
        if preparation is None:
            return None
        # Read when the step runs, not when the function was made.
        facts = self.facts | surroundings()
        steps = [s for s in list(preparation.steps) if s.kind == self.kind]
        alike = [s for s in steps if not differing(s.facts, facts)]
        for step in alike:
            if step.form == form:
                preparation.report(self.kind, None)
                return step.program
        reason = _reason(preparation, steps, alike, facts)
        preparation.report(self.kind, reason)
        return None


def _reason(preparation, steps, alike, facts):
    """Why no program of a preparation is taken."""
    if preparation.failure is not None:
        return preparation.failure
    if not preparation.is_done or not steps:
        return "it was not ready yet"
    if alike:
        return "the batches have another shape, dtype or structure"
    changed = min((differing(s.facts, facts) for s in steps), key=len)
    return f"{' and '.join(changed)} changed since it was prepared"
