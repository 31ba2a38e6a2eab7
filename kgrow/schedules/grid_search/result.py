"""The result of a grid search: growth rates, as a table, a picture and a
schedule."""

import dataclasses
import io
import math
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow.algebra.errors import GrowthError
from kgrow.schedules.grid_search.proposal import propose
from kgrow.schedules.trials.loss_rates import Recorded, line

UNITS = ("flops", "seconds")

_TERA = 1e12


@dataclass(frozen=True)
class SearchRow:
    """One variant, and its runs.

    Attributes:
        field: string, the dimension that is larger than at the start; `None`
            for the start itself.
        size: int, how large it is, or `None`.
        config: dict, all sizes.
        parameters: int.
        flops_per_step: number.
        runs: tuple of `Recorded`, one for each seed.
    """

    field: str | None
    size: int | None
    config: dict
    parameters: int
    flops_per_step: float
    runs: tuple

    @property
    def name(self):
        """The variant in a few words, as the table has it."""
        return "start" if self.field is None else f"{self.field}={self.size}"

    @property
    def broken(self):
        """The step at which the loss of a run was no longer finite, or
        `None`."""
        return min((r.broken for r in self.runs if r.broken), default=None)

    def cost_per_step(self, unit):
        """The cost of a step in a unit, or `None` if it was not measured."""
        if unit == "flops":
            return self.flops_per_step
        update_scales = [r.seconds_per_step for r in self.runs]
        return None if None in update_scales else float(np.mean(update_scales))

    def costs(self, unit):
        """Cost spent at each reading."""
        return np.asarray(self.runs[0].steps) * self.cost_per_step(unit)

    def losses(self):
        """The loss at each reading, the mean over the seeds."""
        return np.mean([run.losses for run in self.runs], axis=0)


@dataclass(frozen=True)
class Search:
    """The result of `search()`.

    Printing one shows a table, `plot()` a picture, `propose()` a schedule.
    In the table `loss` is that in the last window, of as many FLOPs for all;
    `alpha` the fall of the loss in a step, `tau` steps in a second, and
    `gamma/s` their product; `ratio` the rate for FLOPs beside that of the
    start.

    Attributes:
        rows: tuple of `SearchRow`, that of the start first.
        windows: int, in how many parts the runs are looked at.
        flops: tuple of `(sizes, FLOPs of a step)`, for all structures that
            lie between start and target.

    Example:

    >>> config = {"num_layers": 1}
    >>> run = Recorded((0, 1, 2, 3, 4), (4.0, 3.0, 2.5, 2.2, 2.0), 0.1)
    >>> deep = Recorded((0, 1, 2, 3, 4), (4.0, 2.5, 1.9, 1.5, 1.0), 0.2)
    >>> found = Search((SearchRow(None, None, config, 10, 1e9, (run,)),
    ...     SearchRow("num_layers", 2, {"num_layers": 2}, 20, 2e9, (deep,))), 2,
    ...     ((config, 1e9), ({"num_layers": 2}, 2e9)))
    >>> print(found)  # doctest: +NORMALIZE_WHITESPACE
    variant       parameters  loss  alpha   tau  gamma/s  gamma/TFLOP  ratio
    start                 10  2.23  0.589  10.0     5.89          589   1.00
    num_layers=2          20  2.20   1.20   5.0     6.00          600   1.02
    """

    rows: tuple
    windows: int
    flops: tuple

    @property
    def fields(self):
        """The dimensions that were tried, in order."""
        return list(dict.fromkeys(r.field for r in self.rows if r.field))

    @property
    def start(self):
        """The sizes of the start."""
        return self.rows[0].config

    @property
    def target(self):
        """The sizes of the target."""
        return {**self.start, **{r.field: r.size for r in self.rows if r.field}}

    def row(self, field=None, size=None):
        """The `SearchRow` of a dimension, of its largest size by default.

        Args:
            field: string, or `None` for the start.
            size: optional int.
        """
        found = [
            row
            for row in self.rows
            if row.field == field and (size is None or row.size == size)
        ]
        if not found:
            raise GrowthError(
                f"There is no such variant. Received: field={field!r}, "
                f"size={size}. There are: {[row.name for row in self.rows]}"
            )
        return found[-1]

    def horizon(self, unit="flops"):
        """The cost at which all variants are compared: that at which the
        first of them ends."""
        _check_unit(unit)
        ends = [
            row.costs(unit)[-1]
            for row in self.rows
            if row.broken is None and row.cost_per_step(unit)
        ]
        return min(ends, default=math.nan)

    def gamma(self, row, unit="flops", window=None):
        """The pre-training rate of a variant: how far the loss falls for a
        unit of cost.

        Over the whole run it is taken from the loss before training, the mean
        over all variants, to a straight line through the last window; in a
        window it is the slope of such a line.

        Args:
            row: `SearchRow`.
            unit: `"flops"` or `"seconds"`.
            window: optional int, from 0; the whole run by default.

        Returns:
            float; not a number where a loss was not finite.
        """
        if row.broken is not None or not row.cost_per_step(unit):
            return math.nan
        end = self.horizon(unit)
        last = self.windows - 1 if window is None else window
        low, high = (end * w / self.windows for w in (last, last + 1))
        value, slope = line(row.costs(unit), row.losses(), low, high)
        if window is not None:
            return -slope
        return (self._first_loss() - value) / ((low + high) / 2)

    def ratio(self, row, unit="flops"):
        """The rate of a variant beside that of the start: 1.2 if it learns
        20 % faster for the same cost."""
        return self.gamma(row, unit) / self.gamma(self.rows[0], unit)

    def _first_loss(self):
        rows = [row for row in self.rows if row.broken is None]
        return float(np.mean([row.losses()[0] for row in rows]))

    def propose(self, total_steps=None, budget=None, **arguments):
        """A schedule from the start to the target, by the measured rates.

        One dimension grows at a time. That whose target size learns fastest
        for its cost grows first, that which slows learning down grows last;
        of two that differ by less than `margin`, the one whose growth costs
        fewer FLOPs goes first. Stages are about equally long, the early ones
        a little longer.

        Growing one dimension a stage, the order by rates, and durations that
        are "roughly equal, slightly emphasizing the early stages" are the
        paper's. Ours are the numbers: the rate over the whole of a short run,
        the margin, lengths that fall along a straight line, and the fit to a
        budget. Rates are measured from scratch, with all other dimensions at
        the start: what two dimensions do together is not looked at. Nor does
        a short run say anything about the end of a long one.

        Args:
            total_steps: int, the steps of the whole run; or
            budget: number, its training FLOPs, which it does not exceed.
            unit: `"flops"` or `"seconds"`, of the rates.
            strategy: how the model grows, see `Stage`.
            ramp: optional int or `Ramp`, see `Stage`; by default, for
                strategies that take one, 5000 steps or a quarter of the
                shortest stage.
            learning_rate: what becomes of it at every growth, see `Stage`.
            emphasis: float in `[0, 1)`: the first stage is longer than the
                mean by this part, the last one shorter.
            margin: float, the difference of two ratios that counts as none.

        Returns:
            `GrowthSchedule`.

        Raises:
            GrowthError: the loss of the start, or that of every size of a
                dimension, was not finite; the steps are too few.
        """
        _check_unit(arguments.get("unit", "flops"))
        return propose(self, total_steps, budget, **arguments)

    def plot(self, path=None, unit="flops"):
        """Draws the losses over the cost, and the rates.

        Args:
            path: optional, where to write the picture; the suffix decides the
                format.
            unit: `"flops"` or `"seconds"`.

        Returns:
            `pathlib.Path` of the picture, or matplotlib's figure.
        """
        from kgrow.schedules.grid_search.picture import draw_search

        _check_unit(unit)
        return draw_search(self, path, unit)

    def to_dict(self):
        """The result as plain data that JSON can hold."""
        found = dataclasses.asdict(self)
        found["flops"] = [[dict(s), f] for s, f in self.flops]
        return found

    @classmethod
    def from_dict(cls, data):
        """Restores a result from `to_dict()`.

        Args:
            data: dict, through JSON or not.
        """
        rows = []
        for row in data["rows"]:
            runs = tuple(
                Recorded(
                    tuple(run["steps"]),
                    tuple(run["losses"]),
                    run["seconds_per_step"],
                    run["broken"],
                )
                for run in row["runs"]
            )
            rows.append(SearchRow(**{**row, "runs": runs}))
        flops = tuple((dict(sizes), cost) for sizes, cost in data["flops"])
        return cls(tuple(rows), data["windows"], flops)

    def __rich__(self):
        timed = not math.isnan(self.horizon("seconds"))
        columns = ["variant", "parameters", "loss", "alpha"]
        columns += ["tau", "gamma/s"] if timed else []
        columns += ["gamma/TFLOP", "ratio"]
        table = Table(box=None, pad_edge=False)
        for column in columns:
            justify = "left" if column == "variant" else "right"
            table.add_column(column, justify=justify, no_wrap=True)
        for row in self.rows:
            table.add_row(*map(escape, _cells(self, row, timed)))
        return table

    def __str__(self):
        console = Console(
            file=io.StringIO(),
            width=200,
            force_jupyter=False,
            color_system=None,
        )
        console.print(self)
        lines = console.file.getvalue().splitlines()
        return "\n".join(line.rstrip() for line in lines).rstrip()


def _cells(search, row, timed):
    cells = [row.name, f"{row.parameters:,}"]
    if row.broken is not None:
        return [*cells, f"not finite at step {row.broken:,}"]
    unit = "seconds" if timed else "flops"
    # gamma = alpha * tau, for every definition of gamma.
    rate, cost = search.gamma(row, unit), row.cost_per_step(unit)
    cells += [_figures(_last_loss(search, row)), _figures(rate * cost)]
    if timed:
        cells += [f"{1 / cost:.1f}", _figures(rate)]
    cells.append(_figures(search.gamma(row) * _TERA))
    return [*cells, f"{search.ratio(row):.2f}"]


def _last_loss(search, row):
    """The loss in the last window, at the same cost for all."""
    end = search.horizon()
    low = end * (search.windows - 1) / search.windows
    return line(row.costs("flops"), row.losses(), low, end)[0]


def _figures(value):
    """Three or four figures of a number, in plain notation where they fit."""
    if not 1e-3 <= abs(value) < 1e5:
        return f"{value:.2e}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}"


def _check_unit(unit):
    if unit not in UNITS:
        raise GrowthError(
            f"`unit` must be one of {UNITS}. Received: unit={unit!r}"
        )
