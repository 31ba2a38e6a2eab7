"""The measurements as one picture."""

import pathlib

import numpy as np

from kgrow.plots import load_pyplot

_SIZE_NAMES = {"multiple": "×k", "any": "any"}
_KEPT = "#0072B2"
_REFUSED = "#EEEEEE"


def heat_map(table, path):
    """Draws a `PreservationTable`: a row per strategy, a column per growth.

    Blue where the function is kept, grey where the strategy refuses, and from
    yellow to red by the relative difference in between.

    Args:
        table: `PreservationTable`.
        path: where to write; the suffix decides the format.

    Returns:
        `pathlib.Path` of the picture.

    Raises:
        ImportError: where matplotlib is missing.

    Example:

    >>> import tempfile
    >>> from kgrow.testing.table import PreservationTable, Row
    >>> row = Row("direct", "pre-LN", "ffn", "any", {}, {}, "exact", {}, [])
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> heat_map(PreservationTable((row,)), folder / "kept.png").name
    'kept.png'
    """
    pyplot = load_pyplot()
    from matplotlib import colors

    names = list(dict.fromkeys(row.strategy for row in table.rows))
    columns = list(
        dict.fromkeys((r.dim, r.placement, r.size) for r in table.rows)
    )
    paint = pyplot.cm.ScalarMappable(colors.LogNorm(0.03, 3), "YlOrRd")
    image = np.ones((len(names), len(columns), 3))
    for row in table.rows:
        column = columns.index((row.dim, row.placement, row.size))
        colour = _colour(row, paint)
        image[names.index(row.strategy), column] = colors.to_rgb(colour)
    figure, axes = pyplot.subplots(
        figsize=(2.5 + 0.32 * len(columns), 2 + 0.26 * len(names)),
        layout="constrained",
    )
    axes.imshow(image, aspect="auto")
    _name_cells(axes, names, columns)
    figure.colorbar(paint, ax=axes, shrink=0.6, label="relative difference")
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=200)
    pyplot.close(figure)
    return path


def _colour(row, paint):
    if row.kept:
        return _KEPT
    if row.verdict == "refuses":
        return _REFUSED
    return paint.to_rgba(max(row.differences.values()))


def _name_cells(axes, names, columns):
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(
        range(len(columns)),
        [f"{placement} {_SIZE_NAMES[size]}" for _, placement, size in columns],
        rotation=90,
        fontsize=8,
    )
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    _name_dims(axes, [dim for dim, _, _ in columns])


def _name_dims(axes, dims):
    """The dimensions over their columns, with a line between two."""
    for dim in dict.fromkeys(dims):
        first, count = dims.index(dim), dims.count(dim)
        axes.text(first + (count - 1) / 2, -0.8, dim, ha="center", va="bottom")
        if first:
            axes.axvline(first - 0.5, color="black", linewidth=1)
