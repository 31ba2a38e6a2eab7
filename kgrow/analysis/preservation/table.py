"""Measurements of function preservation, as data and as tables."""

import dataclasses
import io
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

_SIZE_NAMES = {"multiple": "multiple", "any": "any size"}


@dataclass(frozen=True)
class PreservationRow:
    """One strategy on one network, along one dimension, to one size.

    Attributes:
        strategy: string, its name, or its `repr` if it was given as an object.
        placement: string, of the network's norms.
        dim: string, what grew: `"hidden"`, `"ffn"`, `"heads"`, all three as
            `"width"`, or `"depth"`.
        size: `"multiple"` or `"any"`.
        before: dict of the config fields that grew.
        after: dict.
        verdict: `"exact"`, within rounding; `"exact but for epsilon"`, within
            what the claims allow beyond it; `"inexact"`; `"refuses"`;
            `"CONTRADICTION"`, where the strategy claims to keep the function
            and does not; `"unclaimed"`, the other way round.
        differences: dict from dtypes to the largest difference of the outputs,
            relative to the largest output. Empty if the strategy refuses.
        claims: list of the strategy's claims, each as a dict.
        reason: string, why it refuses or does not keep the function.
    """

    strategy: str
    placement: str
    dim: str
    size: str
    before: dict
    after: dict
    verdict: str
    differences: dict
    claims: list
    reason: str = ""

    @property
    def kept(self):
        """Whether the function is kept, be it claimed or not."""
        exact = ("exact", "exact but for epsilon", "unclaimed")
        return self.verdict in exact

    @property
    def cell(self):
        """The printed entry: a word if the function is kept, which is the same
        on every machine, else the difference in float64, and in float32 where
        it differs."""
        words = {
            "exact but for epsilon": "exact to ε",
            "refuses": "–",
            "unclaimed": "exact (unclaimed)",
        }
        if self.kept or self.verdict == "refuses":
            return words.get(self.verdict, self.verdict)
        texts = [
            f"{self.differences[dtype]:.2g}"
            for dtype in ("float64", "float32")
            if dtype in self.differences
        ]
        text = " / ".join(dict.fromkeys(texts))
        return text if self.verdict == "inexact" else f"{self.verdict} {text}"


@dataclass(frozen=True)
class PreservationTable:
    """Rows of measurements; prints as one table per dimension.

    Attributes:
        rows: tuple of `PreservationRow`s.
    """

    rows: tuple[PreservationRow, ...]

    def select(self, **values):
        """The rows with the given values, such as `dim="ffn"`.

        Example:

        >>> row = PreservationRow("direct", "pre-LN", "ffn", "any", {}, {},
        ...     "exact", {}, [])
        >>> PreservationTable((row,)).select(dim="hidden")
        []
        """
        return [
            row
            for row in self.rows
            if all(getattr(row, name) == v for name, v in values.items())
        ]

    @property
    def contradictions(self):
        """The rows in which a strategy claims more than it keeps."""
        return self.select(verdict="CONTRADICTION")

    def to_dict(self):
        """The table as plain data that JSON can hold."""
        return {"rows": [dataclasses.asdict(row) for row in self.rows]}

    @classmethod
    def from_dict(cls, values):
        return cls(tuple(PreservationRow(**row) for row in values["rows"]))

    def to_markdown(self):
        """One Markdown table per dimension, each under a line that names it."""
        parts = []
        for dim in self._distinct("dim"):
            header, lines = self._grid(dim)
            cells = [header, ["---"] + [":-:"] * (len(header) - 1), *lines]
            table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
            parts.append(f"**{self._title(dim)}**\n\n{table}")
            parts += self._refusals(dim)
        return "\n\n".join(parts)

    def __rich_console__(self, console, options):
        for dim in self._distinct("dim"):
            header, lines = self._grid(dim)
            table = Table(title=escape(self._title(dim)), title_justify="left")
            for column in header:
                table.add_column(escape(column), overflow="fold")
            for line in lines:
                table.add_row(*map(escape, line))
            yield table
            yield from map(escape, self._refusals(dim))

    def __str__(self):
        console = Console(
            file=io.StringIO(),
            width=100,
            force_jupyter=False,
            color_system=None,
        )
        console.print(self)
        return console.file.getvalue().rstrip()

    def _distinct(self, name):
        return list(dict.fromkeys(getattr(row, name) for row in self.rows))

    def _title(self, dim):
        rows = self.select(dim=dim)
        growths = [
            f"`{field}` {before} → "
            + " or ".join({str(row.after[field]): None for row in rows})
            for field, before in rows[0].before.items()
        ]
        return f"{dim}: {', '.join(growths)}"

    def _refusing(self, dim):
        """The strategies that do not grow a dimension at all."""
        return [
            strategy
            for strategy in self._distinct("strategy")
            if all(
                row.verdict == "refuses"
                for row in self.select(strategy=strategy, dim=dim)
            )
        ]

    def _refusals(self, dim):
        names = self._refusing(dim)
        return [f"Refuse: {', '.join(names)}."] if names else []

    def _grid(self, dim):
        """The header, and a line of cells per strategy that grows it."""
        columns = [
            (placement, size)
            for placement in self._distinct("placement")
            for size in self._distinct("size")
        ]
        header = [dim, *(f"{p}, {_SIZE_NAMES[s]}" for p, s in columns)]
        lines, refusing = [], self._refusing(dim)
        for strategy in self._distinct("strategy"):
            if strategy in refusing:
                continue
            rows = {
                (row.placement, row.size): row
                for row in self.select(strategy=strategy, dim=dim)
            }
            lines.append([strategy, *(rows[c].cell for c in columns)])
        return header, lines
