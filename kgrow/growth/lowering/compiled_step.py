"""A step that is lowered, and what the compiler makes of it."""

import functools

from kgrow.growth.lowering.jax_only import jax_lowering
from kgrow.growth.lowering.step_report import report_of


class LoweredStep:
    """A training step that is traced and lowered, not compiled yet.

    Args:
        program: `jax.stages.Lowered`.
        seconds: float, what tracing and lowering took.
        state: tuple of lists of arrays without values, what the step takes
            over: trainable and other variables, the optimizer's, metrics'.
    """

    def __init__(self, program, seconds, state):
        self.program = program
        self.seconds = seconds
        self.state = state

    def compile(self, quick=False):
        """Compiles the step.

        Args:
            quick: bool, whether the compiler is to save time: the program is
                slower, and takes other memory than the real one.

        Returns:
            `CompiledStep`.

        Raises:
            jax.errors.JaxRuntimeError: the compiler refuses, as it does
                where a device has too little memory.
        """
        program, seconds = jax_lowering().compiled(self.program, quick)
        return CompiledStep(program, seconds, self)


class CompiledStep:
    """A training step that can be called, on the devices it is for.

    Args:
        program: `jax.stages.Compiled`, called with `(state, batch)`.
        seconds: float, what the compiler took.
        lowered: `LoweredStep`.
    """

    def __init__(self, program, seconds, lowered):
        self.program = program
        self.seconds = seconds
        self.lowered = lowered

    def __call__(self, state, batch):
        return self.program(state, batch)

    @functools.cached_property
    def report(self):
        """`StepReport`, what the compiler says of the program."""
        return report_of(self.program, self.seconds, self.lowered.state)
