"""What the compiler says of a step: memory, work, communication."""

import dataclasses
import math

from kgrow.growth.lowering import program_text


@dataclasses.dataclass(frozen=True)
class StepReport:
    """What the compiler says of a step, for one device.

    Nothing of it is measured: the program has not run.

    Args:
        arguments: int, bytes of state and batch.
        outputs: int, bytes.
        aliased: int, bytes of the outputs that take the place of arguments.
        temporaries: int, bytes of activations and whatever else the program
            holds at a time.
        code: int, bytes of the program.
        flops: float, or `None` where the compiler does not count.
        cycles: int, the sum of its estimates, or `None` where it makes none;
            good for comparing programs, not for seconds.
        recomputed: int, values that are computed twice to save memory.
        collectives: dict from kinds to `(count, bytes)`.
        kernels: dict from names of kernels that are not the compiler's own to
            how often they are called.
        gathered_weights: list of shapes of weights that lie in pieces and are
            gathered whole.
        seconds: float, what compiling took.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    flops: float | None
    cycles: int | None
    recomputed: int
    collectives: dict
    kernels: dict
    gathered_weights: list
    seconds: float

    @property
    def bytes(self):
        """int, all that the step takes on a device."""
        made = self.outputs - self.aliased + self.temporaries
        return self.arguments + made + self.code


def report_of(program, seconds, state):
    """The `StepReport` of a `jax.stages.Compiled`.

    Args:
        program: `jax.stages.Compiled`.
        seconds: float, what compiling took.
        state: structure of lists of arrays without values, see `LoweredStep`.
    """
    memory, text = program.memory_analysis(), program.as_text()
    cost = program.cost_analysis() or {}
    collectives = program_text.collectives(text)
    divided = {
        tuple(leaf.shape)
        for leaf in state[0]
        if leaf.sharding is not None and not leaf.sharding.is_fully_replicated
    }
    totals = {}
    for kind, size, _ in collectives:
        count, total = totals.get(kind, (0, 0))
        totals[kind] = (count + 1, total + size)
    return StepReport(
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        code=memory.generated_code_size_in_bytes,
        flops=cost.get("flops"),
        cycles=program_text.cycles(text),
        recomputed=program_text.recomputed(text),
        collectives=totals,
        kernels=program_text.kernels(text),
        gathered_weights=[
            shape
            for kind, _, shapes in collectives
            if kind == "all-gather"
            for shape in shapes
            if _among(shape, divided)
        ],
        seconds=seconds,
    )


def _among(shape, weights):
    """Whether an array has as many numbers, along the same sizes, as one of
    some weights; compilers turn axes about and merge them."""
    size = math.prod(shape)
    return any(
        math.prod(weight) == size and set(weight) & set(shape)
        for weight in weights
    )
