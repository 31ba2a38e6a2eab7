"""The cost of a run, stage by stage, and what growing saved.

Two numbers are quoted for one result, and the literature mixes them up: a
*saving* is `1 - cost / reference`, a *speed-up* is `reference / cost`. A third
choice hides beside them: whether the small model that was grown was there
anyway or had to be paid for. A `CostRecord` answers all four, always together.
"""

import json
from dataclasses import asdict, dataclass, field, fields, replace
from io import StringIO

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow.analysis.cost_estimate import Cost, cost
from kgrow.backend.flops import forward_flops, training_flops

__all__ = [
    "Comparison",
    "Cost",
    "CostRecord",
    "StageCost",
    "cost",
    "cost_to_reach",
    "forward_flops",
    "training_flops",
]

# Wide enough for any: a cell is never cut.
_WIDTH = 1000

UNITS = ("flops", "seconds", "steps", "tokens")

# The share of a stage's FLOPs and seconds that was not spent on steps.
APART = (
    "growing_seconds",
    "compiling_seconds",
    "fitting_seconds",
    "fitting_flops",
)


@dataclass(frozen=True)
class StageCost:
    """One stretch of a run in which the model keeps its size.

    Args:
        name: String, for people: `"64 x 2"`, `"operator fit"`.
        steps: Integer. Optimizer steps.
        tokens: Integer. Tokens, or examples, that went through.
        flops: Number. Floating-point operations spent, in FLOPs.
        seconds: Number. Wall time, in seconds; compiling and growing included.
        parameters: Integer. Size of the model during the stage.
        source: Boolean. Whether this is the small model's own training, which
            a user who has that model already does not pay for.
        growing_seconds: Number. Of `seconds`, those of the growth that the
            stage began with, without the operator's.
        compiling_seconds: Number. Of `seconds`, those of the first step of
            each compiled program.
        fitting_seconds: Number. Of `seconds`, those of fitting the operator
            of a strategy that learns.
        fitting_flops: Number. Of `flops`, those of the same.

    Example:

    >>> stage = StageCost("64 x 2", 300, 300 * 4096, flops=1.2e12, seconds=40.0)
    >>> stage.part(0.5).tokens
    614400
    """

    name: str
    steps: int = 0
    tokens: int = 0
    flops: float = 0
    seconds: float = 0
    parameters: int = 0
    source: bool = False
    growing_seconds: float = 0
    compiling_seconds: float = 0
    fitting_seconds: float = 0
    fitting_flops: float = 0

    def prolonged(self, more):
        """This stage and the one after it as one, at the later size."""
        spent = {
            name: getattr(self, name) + getattr(more, name)
            for name in (*UNITS, *APART)
        }
        return replace(more, **spent)

    def part(self, share):
        """The first `share` of the stage, from 0 to 1, as a stage."""
        return replace(
            self,
            steps=round(self.steps * share),
            tokens=round(self.tokens * share),
            **{
                name: getattr(self, name) * share
                for name in ("flops", "seconds", *APART)
            },
        )


@dataclass(frozen=True)
class Comparison:
    """One cost beside the cost it is measured against.

    Args:
        cost: Number.
        reference: Number, in the same unit.

    Example:

    >>> comparison = Comparison(cost=60, reference=100)
    >>> print(comparison)
    saves 40.0 % (1.67x)
    >>> print(Comparison(cost=125, reference=100))
    costs 25.0 % more (0.80x)
    """

    cost: float
    reference: float

    @property
    def saving(self):
        """`1 - cost / reference`: negative where growing lost."""
        return 1 - self.cost / self.reference

    @property
    def speed_up(self):
        """`reference / cost`: below 1 where growing lost."""
        return self.reference / self.cost if self.cost else float("inf")

    def __str__(self):
        percent = 100 * abs(self.saving)
        if self.saving < 0:
            return f"costs {percent:.1f} % more ({self.speed_up:.2f}x)"
        return f"saves {percent:.1f} % ({self.speed_up:.2f}x)"


@dataclass
class CostRecord:
    """The stages of one run, in order.

    Args:
        name: String, for people.
        stages: List of `StageCost`.

    Example:

    >>> grown = CostRecord("grown")
    >>> grown.record(StageCost("small", 10, flops=20, seconds=2, source=True))
    >>> grown.record(StageCost("large", 10, flops=60, seconds=4))
    >>> large = StageCost("large", flops=100, seconds=6)
    >>> scratch = CostRecord("scratch", [large])
    >>> print(grown.compare(scratch))
    saves 20.0 % (1.25x)
    >>> print(grown.compare(scratch, source=False))
    saves 40.0 % (1.67x)
    >>> print(grown.compare(scratch, unit="seconds"))
    saves 0.0 % (1.00x)
    """

    name: str = "run"
    stages: list[StageCost] = field(default_factory=list)

    def record(self, stage):
        """Appends a `StageCost`, or prolongs the last one if that has its name.

        So a callback may record every epoch as it ends.

        Example:

        >>> run = CostRecord()
        >>> run.record(StageCost("small", steps=10))
        >>> run.record(StageCost("small", steps=5))
        >>> [stage.steps for stage in run.stages]
        [15]
        """
        if self.stages and self.stages[-1].name == stage.name:
            stage = self.stages.pop().prolonged(stage)
        self.stages.append(stage)

    def total(self, unit="flops", source=True):
        """Total cost of the run.

        Args:
            unit: `"flops"`, `"seconds"`, `"steps"` or `"tokens"`.
            source: Boolean. Whether to count the small model's own training.

        Returns:
            Number, in `unit`.
        """
        if unit not in UNITS:
            raise ValueError(
                f"Argument `unit` must be one of {UNITS}. "
                f"Received: unit={unit!r}"
            )
        return sum(
            getattr(stage, unit)
            for stage in self.stages
            if source or not stage.source
        )

    def compare(self, reference, unit="flops", source=True):
        """This run's cost beside that of `reference`, as a `Comparison`.

        Args:
            reference: `CostRecord`, usually of the same model from scratch.
            unit: As in `total`.
            source: As in `total`, for this run; a reference counts in full.
        """
        return Comparison(self.total(unit, source), reference.total(unit))

    def saving(self, reference, unit="flops", source=True):
        """`1 - cost / reference`; see `compare`."""
        return self.compare(reference, unit, source).saving

    def speed_up(self, reference, unit="flops", source=True):
        """`reference / cost`; see `compare`."""
        return self.compare(reference, unit, source).speed_up

    def until(self, flops):
        """The ledger as it stood when `flops` had been spent.

        With `cost_to_reach` it prices the way to a target loss. Inside a
        stage, everything is taken to flow evenly.

        Args:
            flops: Number, in FLOPs, the small model's included.

        Returns:
            `CostRecord`.

        Example:

        >>> run = CostRecord("run", [
        ...     StageCost("a", flops=4, seconds=1, source=True),
        ...     StageCost("b", flops=8, seconds=4)])
        >>> run.until(8).total("seconds")
        3.0
        """
        stages = []
        for stage in self.stages:
            if flops <= 0:
                break
            share = min(1.0, flops / stage.flops) if stage.flops else 1.0
            stages.append(stage if share == 1.0 else stage.part(share))
            flops -= stage.flops
        return CostRecord(self.name, stages)

    def to_json(self):
        """The ledger as a JSON string; `from_json` reads it back."""
        return json.dumps(asdict(self), indent=2)

    @classmethod
    def from_json(cls, text):
        """Restores a record from `to_json()`.

        Example:

        >>> run = CostRecord("run", [StageCost("a", 3, flops=4.5)])
        >>> CostRecord.from_json(run.to_json()) == run
        True
        """
        data = json.loads(text)
        stages = [StageCost(**stage) for stage in data["stages"]]
        return cls(data["name"], stages)

    def __rich__(self):
        table = Table(title=escape(f"Ledger of {self.name}"))
        columns = {
            column.name: column.name
            for column in fields(StageCost)
            if column.name not in ("source", *APART)
        }
        for name in APART:
            if any(getattr(stage, name) for stage in self.stages):
                columns[name] = f"of them {name.replace('_', ' ')}"
        for name, title in columns.items():
            justify = "left" if name == "name" else "right"
            table.add_column(title, justify=justify, no_wrap=True)
        for stage in self.stages:
            table.add_row(
                *map(escape, _cells(stage, columns)),
                end_section=stage is self.stages[-1],
            )
        totals = {
            name: sum(getattr(stage, name) for stage in self.stages)
            for name in (*UNITS, *APART)
        }
        cells = _cells(StageCost("total", **totals), columns)
        cells[list(columns).index("parameters")] = ""
        table.add_row(*cells)
        return table

    def __str__(self):
        console = Console(
            file=StringIO(),
            width=_WIDTH,
            force_jupyter=False,
            color_system=None,
        )
        console.print(self)
        return console.file.getvalue().rstrip()


def cost_to_reach(costs, losses, target):
    """The cost at which a loss curve first falls to `target`.

    Linear between the points of the curve.

    Args:
        costs: Sequence of increasing numbers, in any unit.
        losses: Sequence of as many numbers.
        target: Number, a loss.

    Returns:
        Number in the unit of `costs`, or `None` where it is never reached.

    Example:

    >>> cost_to_reach([0, 10, 20], [3.0, 2.0, 1.0], target=1.5)
    15.0
    >>> cost_to_reach([0, 10, 20], [3.0, 2.0, 1.0], target=0.5)
    """
    reached = np.flatnonzero(np.asarray(losses) <= target)
    if not len(reached):
        return None
    last = reached[0]
    if last == 0:
        return float(costs[0])
    first = last - 1
    share = (losses[first] - target) / (losses[first] - losses[last])
    return float(costs[first] + share * (costs[last] - costs[first]))


def _cells(stage, columns):
    """A stage's entries in the columns of a table."""
    cells = []
    for name in columns:
        value = getattr(stage, name)
        if name == "name":
            cells.append(f"{value} (source)" if stage.source else value)
        elif name.endswith("flops"):
            cells.append(f"{value:.3g}")
        elif name.endswith("seconds"):
            cells.append(f"{value:.1f}")
        else:
            cells.append(f"{value:,}")
    return cells
