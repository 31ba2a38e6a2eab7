"""The result of a comparison, as a table (terminal or Markdown) and as a
picture."""

from dataclasses import dataclass, field
from io import StringIO

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kgrow.analysis.comparison.picture import draw_savings

UNITS = ("flops", "seconds")

_COLUMNS = (
    "run",
    "question",
    "unit",
    "with the small model's cost",
    "without it",
)


@dataclass(frozen=True)
class SavingsRow:
    """The savings of all runs of one name.

    Args:
        name: String.
        seeds: Tuple of the runs' seeds.
        final: Tuple of the last values of the metric, one for each seed.
        to_end: `{(unit, with source): Estimate}`, to the reference's end.
        own_end: The same, to the run's own end.
        equal_flops: `{with source: Difference}`.
        paired: Boolean, whether every seed is one of the reference's.
    """

    name: str
    seeds: tuple
    final: tuple
    to_end: dict
    own_end: dict
    equal_flops: dict
    paired: bool


@dataclass(frozen=True)
class Savings:
    """The result of `savings()`; prints as a table.

    Args:
        metric: String.
        rows: Tuple of `SavingsRow`.
        budgets: Tuple of `(mean flops, mean final value, runs)` of the
            references.
        notes: Tuple of strings, what a reader has to know.
        reference: List of the references' `Run`s.
        runs: List of the other `Run`s.
        lower_is_better: Boolean.
    """

    metric: str
    rows: tuple
    budgets: tuple
    notes: tuple
    reference: list = field(repr=False, default_factory=list)
    runs: list = field(repr=False, default_factory=list)
    lower_is_better: bool = True

    def row(self, name):
        """The `SavingsRow` of the runs of a name."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def lines(self):
        """`[(run, question, unit, with the small model, without), ...]`, as
        strings."""
        found = []
        for row in self.rows:
            ends = ", ".join(f"{value:.4g}" for value in row.final)
            found.append((row.name, f"its own {self.metric}", "", ends, ""))
            questions = {
                "to the reference's end": row.to_end,
                "to its own end": row.own_end,
            }
            for question, estimates in questions.items():
                for unit in UNITS:
                    answers = (str(estimates[unit, s]) for s in (True, False))
                    found.append((row.name, question, unit, *answers))
            answers = (str(row.equal_flops[s]) for s in (True, False))
            found.append((row.name, "at equal FLOPs", self.metric, *answers))
        return found

    def to_markdown(self):
        """The table as Markdown, the notes below it."""
        rows = [_COLUMNS, ("---",) * len(_COLUMNS), *self.lines()]
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        notes = "\n".join(f"- {note}" for note in self.notes)
        return f"{table}\n\n{notes}" if notes else table

    def plot(self, path=None, **options):
        """Draws the runs and the references' ends, see
        `kgrow.analysis.comparison.picture.draw_savings`."""
        return draw_savings(self, path, **options)

    def __rich__(self):
        table = Table(
            title=escape(f"Savings by {self.metric}"), title_justify="left"
        )
        for column in _COLUMNS:
            table.add_column(column)
        previous = ("", "")
        for name, question, *answers in self.lines():
            if previous[0] not in ("", name):
                table.add_section()
            seen = name == previous[0], (name, question) == previous
            shown = ("" if seen[0] else name, "" if seen[1] else question)
            table.add_row(*map(escape, (*shown, *answers)))
            previous = (name, question)
        table.caption = escape("\n".join(self.notes))
        table.caption_justify = "left"
        return table

    def __str__(self):
        console = Console(
            file=StringIO(), width=120, force_jupyter=False, color_system=None
        )
        console.print(self)
        return console.file.getvalue().rstrip()
