"""A lowered training step, and the compiled one."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from kgrow.growth.lowering.jax_only import jax_lowering
from kgrow.growth.lowering.step_report import StepReport, report_of

if TYPE_CHECKING:
    import jax


class LoweredStep:
    """A training step that is traced and lowered, not compiled yet.

    Args:
        program: `jax.stages.Lowered`.
        seconds: float, the time of tracing and lowering.
        state: tuple of lists of `jax.ShapeDtypeStruct`, the state that the
            step takes: trainable variables, other variables, the optimizer's,
            the metrics'.
    """

    def __init__(
        self,
        program: jax.stages.Lowered,
        seconds: float,
        state: tuple[list[Any], ...],
    ) -> None:
        self.program = program
        self.seconds = seconds
        self.state = state

    def compile(self, quick: bool = False) -> CompiledStep:
        """Compiles the step.

        Args:
            quick: bool, whether to compile with few optimizations: the
                program is slower than the real one and takes other memory.

        Returns:
            `CompiledStep`.

        Raises:
            jax.errors.JaxRuntimeError: the compiler fails, for example as a
                device has too little memory.
        """
        program, seconds = jax_lowering().compiled(self.program, quick)
        return CompiledStep(program, seconds, self)


class CompiledStep:
    """A training step that can be called, on the devices it is for.

    Args:
        program: `jax.stages.Compiled`, called with `(state, batch)`.
        seconds: float, the time of compiling.
        lowered: `LoweredStep`.
    """

    def __init__(
        self, program: jax.stages.Compiled, seconds: float, lowered: LoweredStep
    ) -> None:
        self.program = program
        self.seconds = seconds
        self.lowered = lowered

    def __call__(self, state: Any, batch: Any) -> Any:
        return self.program(state, batch)

    @functools.cached_property
    def report(self) -> StepReport:
        """`StepReport`, the compiler's figures of the program."""
        return report_of(self.program, self.seconds, self.lowered.state)
