"""The summary that the MSG paper makes of other methods, measured."""

import dataclasses
import io
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow import strategies
from kgrow.algebra.errors import GrowthError
from kgrow.analysis.preservation.freedom import free_weights
from kgrow.analysis.preservation.measurement import benches, measure
from kgrow.analysis.preservation.symmetry import Trainer
from kgrow.analysis.preservation.table import PreservationTable

# The paper's columns in its order, under kgrow's names, and one more.
_DIMS = {
    "layer_num": "depth",
    "hidden_dim": "hidden",
    "ffn_dim": "ffn",
    "head_num": "heads",
    "all widths": "width",
}
_WIDTHS = ("hidden", "ffn", "heads")


@dataclass(frozen=True)
class MSGRow:
    """The architectures and functions that one strategy preserves.

    Attributes:
        strategy: string, its registered name.
        marks: dict from dimensions to the paper's marks: `"✓"`, the function
            is kept in every case; `"□"`, in some, and is not, or the strategy
            refuses, in others; `"○"`, the dimension grows and the function
            never stays; `"×"`, the dimension does not grow.
        any_size: bool, whether all that grows grows to any size.
        free: int, new weights that may be anything where the function is kept.
        new: int, all new weights there.
        parted: int, pairs of units copied alike that one step parts.
        pairs: int, all such pairs.

    Example:

    >>> marks = {"depth": "×", "hidden": "□", "ffn": "□", "heads": "□",
    ...     "width": "□"}
    >>> MSGRow("hypercloning", marks, False, 0, 9, 4, 4).cells[1:]
    ['×', '□', '□', '□', '□', 'no', '0 %', '4 of 4']
    """

    strategy: str
    marks: dict
    any_size: bool
    free: int
    new: int
    parted: int
    pairs: int

    @property
    def cells(self):
        """The row as text."""
        free = f"{100 * self.free / self.new:.0f} %" if self.new else "–"
        parted = f"{self.parted} of {self.pairs}" if self.pairs else "–"
        return [
            self.strategy,
            *(self.marks[dim] for dim in _DIMS.values()),
            "yes" if self.any_size else "no",
            free,
            parted,
        ]


@dataclass(frozen=True)
class MSGTable:
    """Table 1 of the MSG paper, for strategies that are there to be measured.

    Attributes:
        rows: tuple of `MSGRow`s.
        preservation: `PreservationTable`, from which the marks follow.
    """

    rows: tuple[MSGRow, ...]
    preservation: PreservationTable

    def to_dict(self):
        """The table as plain data that JSON can hold."""
        return {
            "rows": [dataclasses.asdict(row) for row in self.rows],
            "preservation": self.preservation.to_dict(),
        }

    def to_markdown(self):
        header = _header()
        cells = [header, ["---"] + [":-:"] * (len(header) - 1)]
        cells += [row.cells for row in self.rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in cells)

    def __rich__(self):
        table = Table()
        for column in _header():
            table.add_column(column, overflow="fold")
        for row in self.rows:
            table.add_row(*map(escape, row.cells))
        return table

    def __str__(self):
        console = Console(
            file=io.StringIO(),
            width=100,
            force_jupyter=False,
            color_system=None,
        )
        console.print(self)
        return console.file.getvalue().rstrip()


def _header():
    return ["", *_DIMS, "any size", "free new weights", "copies part"]


def msg_table(names=None):
    """Measures the properties in Table 1 of the MSG paper.

    The marks come from `preservation_table()` in float64: three placements of
    norms, to a multiple and to any size. Two of the paper's columns become
    numbers: how many new weights may be anything, where the paper asks whether
    all may; and whether copies part in one step of gradient descent, without
    dropout, which the paper calls symmetry. Its other columns, schedule and
    speed-up, are of recipes and not of operators.

    Args:
        names: optional list of registered names; all by default.

    Returns:
        `MSGTable`.

    Reference:

    - Yao et al., "Masked Structural Growth for 2x Faster Language Model
      Pre-training" (2305.02869), Table 1 and Sec. 2.3.
    """
    places = benches(dtypes=["float64"])
    return tabulate(measure(places, names), places["pre-LN"]["float64"])


def tabulate(table, bench):
    """The `MSGTable` of measurements that are there already.

    Args:
        table: `PreservationTable`.
        bench: `Bench` of a pre-LN network in float64, for the rest.
    """
    trainers = {dim: Trainer(bench, dim, "multiple") for dim in _WIDTHS}
    names = list(dict.fromkeys(row.strategy for row in table.rows))
    return MSGTable(
        tuple(_row(table, bench, trainers, name) for name in names), table
    )


def _row(table, bench, trainers, name):
    rows = table.select(strategy=name)
    grown = {row.dim for row in rows if row.verdict != "refuses"}
    free, new = _freedom(table, bench, name)
    return MSGRow(
        name,
        {
            dim: _mark(table.select(strategy=name, dim=dim))
            for dim in _DIMS.values()
        },
        all(row.verdict != "refuses" for row in rows if row.dim in grown),
        free,
        new,
        *_copies_part(bench, trainers, name),
    )


def _mark(rows):
    if all(row.verdict == "refuses" for row in rows):
        return "×"
    kept = [row.kept for row in rows]
    return "✓" if all(kept) else "□" if any(kept) else "○"


def _freedom(table, bench, name):
    """Free and new weights, over all growths that keep the function in a
    pre-LN network, to any size where that is among them."""
    free, new = 0, 0
    for dim in _DIMS.values():
        kept = [
            row.size
            for row in table.select(
                strategy=name, dim=dim, placement=bench.placement
            )
            if row.kept
        ]
        if kept:
            counts = free_weights(bench, strategies.get(name), dim, kept[-1])
            free, new = free + counts[0], new + counts[1]
    return free, new


def _copies_part(bench, trainers, name):
    """How many pairs of copies part, and how many there are, in all widths."""
    parted, pairs = 0, 0
    for dim, trainer in trainers.items():
        try:
            plan = bench.plan(strategies.get(name), dim, trainer.size)
        except GrowthError:
            continue
        counts = trainer.twins(plan)
        parted, pairs = parted + counts[0], pairs + counts[1]
    return parted, pairs
