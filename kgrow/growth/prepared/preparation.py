"""The thread in which the steps of the next stage are compiled."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kgrow import backend
from kgrow.algebra.types import Config
from kgrow.backend.keras_internals import (
    print_msg,
    set_thread_attributes,
    thread_attributes,
)
from kgrow.backend.memory import resident_bytes
from kgrow.growth.lowering.train_step import build
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.prepared.program_store import PreparedStep
from kgrow.growth.prepared.step_facts import step_facts, surroundings

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_LOWEST = 19


class Preparation:
    """Compiles the steps of models without values while another trains.

    This happens in one thread, at the lowest priority of the system. The
    thread neither reads nor writes the model that trains. An error in it is
    kept in `failure`.

    A compilation cannot be interrupted: a process that exits waits for the
    one that runs, and for no other.

    Args:
        sizes: dict, the `growth_config` that the models have.
        models: list of compiled `GrowableModel`s without values, such as the
            next stage with its gates and without.
        verbose: bool, whether to print why a step was not prepared.

    Attributes:
        steps: list of the `PreparedStep`s compiled so far.
        failure: string, the error that ended the thread, or `None`.
        seconds: float, the time spent on compiling so far.
        outcomes: list of `(kind, reason)` of the steps that ran after the
            growth, in order; `reason` is `None` if the prepared one was taken.
        host_bytes: int, growth of the process' memory meanwhile, or `None`
            where it cannot be measured.
    """

    def __init__(
        self,
        sizes: Config,
        models: Sequence[GrowableModel],
        verbose: bool = True,
    ) -> None:
        self.sizes = sizes
        self.verbose = verbose
        self.steps = []
        self.failure = None
        self.seconds = 0.0
        self.outcomes = []
        self.host_bytes = None
        self._models = models
        self._wanted = []
        self._asked = set()
        self._lock = threading.Lock()
        self._thread = None
        self._stops = False
        self._settings = backend.trace_settings()
        self._attributes = thread_attributes()

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to compile."""
        with self._lock:
            return self._thread is None

    def ask(self, kind: str, form: Any, batch: Any, rows: int) -> None:
        """Asks for a step of each model, once.

        Args:
            kind: `"train"` or `"test"`.
            form: see `form_of()`.
            batch: see `Backend.compile_ahead()`.
            rows: see `Backend.compile_ahead()`.
        """
        with self._lock:
            if (kind, form) in self._asked or self._stops:
                return
            if self.failure is not None or not self._models:
                return
            self._asked.add((kind, form))
            for place, model in enumerate(self._models):
                wanted = model, kind, form, batch, rows
                self._wanted.append((place, *wanted))
            # The model that comes first is compiled first.
            self._wanted.sort(key=lambda wanted: wanted[0])
            if self._thread is None:
                # No daemon: a process that exits within a compiler crashes.
                self._thread = threading.Thread(
                    target=self._run, name="kgrow-prepare"
                )
                self._thread.start()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until all is compiled.

        Args:
            timeout: optional float, seconds.

        Returns:
            bool, whether it is.
        """
        thread = self._thread
        if thread is not None:
            thread.join(timeout)
        return self.is_done

    def cancel(self) -> None:
        """Stops after the program that is being compiled."""
        with self._lock:
            self._stops = True

    def report(self, kind: str, reason: str | None) -> None:
        """Records whether a prepared step was taken, and prints once why not.

        Args:
            kind: `"train"` or `"test"`.
            reason: string, or `None` if the prepared step is taken.
        """
        is_new = (kind, reason) not in self.outcomes
        self.outcomes.append((kind, reason))
        if reason is not None and is_new and self.verbose:
            print_msg(
                f"kgrow: the {kind} step is compiled now, and was not "
                f"prepared: {reason}."
            )

    def summary(self) -> dict[str, Any]:
        """The state of the preparation as a dict, for a receipt."""
        code = [step.program.code_bytes for step in self.steps]
        return {
            "programs": len(self.steps),
            "seconds": self.seconds,
            "code_bytes": None if None in code else sum(code),
            "host_bytes": self.host_bytes,
            "failure": self.failure or ("" if self.is_done else "not ready"),
        }

    def _run(self):
        _take_the_lowest_priority()
        before = resident_bytes()
        try:
            set_thread_attributes(self._attributes)
            with backend.with_settings(self._settings):
                while (wanted := self._next()) is not None:
                    self._compile(*wanted)
                    now = resident_bytes()
                    if before is not None and now is not None:
                        self.host_bytes = max(0, now - before)
        except Exception as error:
            # The run goes on without prepared steps, whatever the error.
            text = str(error).strip().partition("\n")[0]
            self.failure = f"{type(error).__name__}: {text}"
            with self._lock:
                self._thread = None

    def _next(self):
        """The next step to compile, or `None` to end the thread; a later
        `ask()` starts another."""
        with self._lock:
            if self._stops or not self._wanted:
                self._thread = None
                return None
            return self._wanted.pop(0)[1:]

    def _compile(self, model, kind, form, batch, rows):
        start = time.perf_counter()
        if not model.optimizer.built:
            build(model, batch)
            guard(model)
        program = backend.compile_ahead(model, kind, batch, rows)
        facts = step_facts(model) | surroundings()
        self.steps.append(PreparedStep(kind, form, facts, program))
        self.seconds += time.perf_counter() - start


def _take_the_lowest_priority():
    """Only Linux has a priority for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST)
