"""A run before it runs: its stages, their sizes, memory and FLOPs."""

import dataclasses
import io

from rich.console import Console
from rich.table import Table

from kgrow.architecture.architecture import count_parameters
from kgrow.backend.flops import training_flops
from kgrow.schedules.stage_bounds import Epochs, Steps, Tokens


@dataclasses.dataclass
class StageOutlook:
    """What a stage will be.

    Args:
        number: int, from 1.
        sizes: dict.
        strategy: string, by which the model grows into it.
        begins: int or `None`, its first step where that is known.
        ends: int or `None`, the step behind its last one.
        parameters: int.
        batch: int, over all devices.
        length: int or `None`, tokens in a row.
        flops: int, of a training step.
        bytes: int or `None`, on the fullest device: weights, gradients and
            the optimizer's slots, without activations.
    """

    number: int
    sizes: dict
    strategy: str
    begins: int | None
    ends: int | None
    parameters: int
    batch: int
    length: int | None
    flops: int
    bytes: int | None = None

    @property
    def total_flops(self):
        """FLOPs of the whole stage, or `None`."""
        if self.begins is None or self.ends is None:
            return None
        return self.flops * (self.ends - self.begins)


def stages(model, schedule, batch_size, length, inputs, epoch_steps=None):
    """Looks at every stage, without training and without weights.

    Args:
        model: `GrowableModel` at the sizes of the first stage.
        schedule: `GrowthSchedule`.
        batch_size: int, of stages that do not say.
        length: int or `None`, the same.
        inputs: function of a batch size and a length that gives the
            `KerasTensor`s of a batch.
        epoch_steps: optional int, for stages counted in epochs.

    Returns:
        list of `StageOutlook`.
    """
    found, begins = [], 0
    for index, sizes in enumerate(schedule.sizes):
        architecture = model.architecture
        network, _ = architecture.build(architecture.check(sizes))
        batch = schedule.setting(index, "batch_size") or batch_size
        tokens = schedule.setting(index, "sequence_length") or length
        ends = step_of(schedule.stages[index].until, batch, tokens, epoch_steps)
        strategy = schedule.stages[index].strategy
        found.append(
            StageOutlook(
                number=index + 1,
                sizes=sizes,
                strategy=str(strategy) if schedule.grows(index) else "",
                begins=begins,
                ends=ends,
                parameters=count_parameters(network),
                batch=batch,
                length=tokens,
                flops=training_flops(network, inputs(batch, tokens)),
            )
        )
        begins = ends
    return found


def step_of(until, batch, length, epoch_steps):
    """The step at which a stage ends, or `None` where nobody knows.

    Tokens are counted as if all batches had been of this size.
    """
    if isinstance(until, Steps):
        return until.count
    if isinstance(until, Epochs) and epoch_steps:
        return until.count * epoch_steps
    if isinstance(until, Tokens) and length:
        return -(-until.count // (batch * length))
    return None


def report(found, notes=()):
    """The outlook as text.

    Args:
        found: list of `StageOutlook`.
        notes: strings, lines below the table.
    """
    table = Table(box=None, pad_edge=False)
    columns = ("stage", "steps", "sizes", "by", "parameters", "batch")
    for name in (*columns, "FLOPs a step", "FLOPs", "bytes a device"):
        left = name in ("sizes", "by")
        table.add_column(name, justify="left" if left else "right")
    before = {}
    for stage in found:
        sizes = ", ".join(
            f"{field} {value}"
            for field, value in stage.sizes.items()
            if before.get(field) != value
        )
        batch = f"{stage.batch}"
        if stage.length:
            batch += f" x {stage.length}"
        table.add_row(
            str(stage.number),
            f"{_number(stage.begins)} to {_number(stage.ends)}",
            sizes,
            stage.strategy,
            f"{stage.parameters:,}",
            batch,
            f"{stage.flops:.2e}",
            "" if stage.total_flops is None else f"{stage.total_flops:.2e}",
            "" if stage.bytes is None else size(stage.bytes),
        )
        before = stage.sizes
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines()]
    totals = [stage.total_flops for stage in found]
    if None not in totals:
        lines.append(f"FLOPs of all stages: {sum(totals):.3e}")
    return "\n".join([*lines, *notes])


def size(count):
    """Bytes in a unit that suits them.

    Example:

    >>> size(1536), size(3 * 2**30)
    ('1.5 KiB', '3.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count} B"
        count /= 1024


def _number(step):
    return "?" if step is None else f"{step:,}"
