"""Tables that fit the terminal without losing a character."""

import copy
import dataclasses

from rich.measure import Measurement
from rich.table import Table

_ANY_WIDTH = 10_000


def print_table(console, table):
    """Prints a `rich.table.Table`, in bands of columns where it is too wide.

    Every band begins with the first column.
    """
    for band in bands(console, table):
        console.print(band)


def print_text(console, text):
    """Prints text as it is, its lines wrapped between words."""
    console.print(text, markup=False, highlight=False, emoji=False)


def bands(console, table):
    """The tables that together show `table` in the width of a console.

    Example:

    >>> from rich.console import Console
    >>> wide = Table("run", "steps", "seconds")
    >>> wide.add_row("grown", "1,000", "12.5")
    >>> [len(band.columns) for band in bands(Console(width=20), wide)]
    [2, 2]
    """
    first, *others = [_narrowest(console, c) for c in table.columns]
    found, chosen = [], [first]
    for column in others:
        if len(chosen) > 1 and not _fits(console, [*chosen, column], table):
            found.append(_band(table, chosen))
            chosen = [first]
        chosen.append(column)
    found.append(_band(table, chosen))
    for band in found[1:]:
        band.title = None
    return found


def _fits(console, columns, table):
    options = console.options.update(max_width=_ANY_WIDTH)
    measured = Measurement.get(console, options, _band(table, columns))
    return measured.minimum <= console.width


def _narrowest(console, column):
    """`column`, never narrower than its longest word, or cell if it does not
    wrap; rich would cut these."""
    options = console.options.update(max_width=_ANY_WIDTH)
    found = [
        Measurement.get(console, options, console.render_str(str(cell)))
        for cell in (column.header, *column.cells)
    ]
    width = max(m.maximum if column.no_wrap else m.minimum for m in found)
    return dataclasses.replace(column, min_width=width)


def _band(table, columns):
    band = copy.copy(table)
    band.columns = [
        dataclasses.replace(column, _index=index)
        for index, column in enumerate(columns)
    ]
    return band


@dataclasses.dataclass(frozen=True)
class AlignedRows:
    """Rows in aligned columns, of which the last may wrap between words.

    Where the other columns leave too little room, each row takes two lines:
    its first cell, and below it the others, indented.

    Args:
        rows: list of tuples of strings.
        right: indices of the columns that are aligned to the right.
    """

    rows: list
    right: tuple = (1,)

    def __rich_console__(self, console, options):
        del console
        widths = [
            max(map(len, cells)) for cells in zip(*self.rows, strict=True)
        ]
        words = [w for row in self.rows for w in row[-1].split()]
        needed = sum(w + 2 for w in widths[:-1]) + max(map(len, words))
        if needed <= options.max_width:
            yield self._grid(self.rows)
        else:
            for row in self.rows:
                yield _plain(row[0])
                if len(row) > 1:
                    yield self._grid([("", *row[1:])])

    def _grid(self, rows):
        table = Table.grid(padding=(0, 2))
        last = len(rows[0]) - 1
        for index in range(last + 1):
            table.add_column(
                justify="right" if index in self.right else "left",
                no_wrap=index < last,
            )
        for row in rows:
            table.add_row(*map(_plain, row))
        return table


def _plain(text):
    return text.replace("[", "\\[")
