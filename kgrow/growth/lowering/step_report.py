"""The compiler's figures of a step: memory, work, communication."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

from kgrow.algebra.errors import GrowthError
from kgrow.growth.lowering import program_text

if TYPE_CHECKING:
    import jax


@dataclasses.dataclass(frozen=True)
class StepReport:
    """The compiler's figures of a step, for one device.

    They are estimates: the program has not run.

    Args:
        arguments: int, bytes of state and batch.
        outputs: int, bytes.
        aliased: int, bytes of outputs that reuse the memory of arguments.
        temporaries: int, peak bytes of activations and other intermediates.
        code: int, bytes of the program.
        flops: float, or `None` where the compiler does not count.
        cycles: int, the sum of its estimates, or `None` where it makes none.
            They compare programs, and are no measure of seconds.
        recomputed: int, values that are rematerialized to save memory.
        collectives: dict from kinds to `(count, bytes)`.
        kernels: dict from names of hand-written kernels to numbers of calls.
        gathered_weights: list of shapes of divided weights that the step
            gathers whole.
        seconds: float, the time of compiling.
    """

    arguments: int
    outputs: int
    aliased: int
    temporaries: int
    code: int
    flops: float | None
    cycles: int | None
    recomputed: int
    collectives: dict[str, tuple[int, int]]
    kernels: dict[str, int]
    gathered_weights: list[tuple[int, ...]]
    seconds: float

    @property
    def bytes(self) -> int:
        """int, bytes that the step takes on a device."""
        made = self.outputs - self.aliased + self.temporaries
        return self.arguments + made + self.code


def report_of(
    program: jax.stages.Compiled, seconds: float, state: tuple[list[Any], ...]
) -> StepReport:
    """The `StepReport` of a `jax.stages.Compiled`.

    Args:
        program: `jax.stages.Compiled`.
        seconds: float, the time of compiling.
        state: see `LoweredStep`.

    Raises:
        GrowthError: the compiler gives no figures.
    """
    memory, text = program.memory_analysis(), program.as_text()
    if memory is None or text is None:
        raise GrowthError(
            "The compiler of this platform reports no memory and no program. "
            f"Received: memory_analysis()={memory!r}, as_text()={text!r}"
        )
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
    """Whether an array may be one of some weights: the same number of entries
    and a size in common, as compilers transpose and merge axes."""
    size = math.prod(shape)
    return any(
        math.prod(weight) == size and set(weight) & set(shape)
        for weight in weights
    )
