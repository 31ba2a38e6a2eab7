"""The preservation table as one picture."""

import numpy as np

from kgrow.analysis.plots.style import finished, load_pyplot

_SIZE_NAMES = {"multiple": "×k", "any": "any"}
_KEPT, _REFUSED = "#0072B2", "#EDEDED"
_BREAK = "CONTRADICTION"


def preservation_map(table, path=None, title="Which growths keep the function"):
    """Draws a `PreservationTable`: a row per strategy, a column per growth.

    Blue with a tick where the function is kept, grey with a dash where the
    strategy refuses; elsewhere from yellow to red, with the relative
    difference of the outputs. A claim that does not hold is black.

    Args:
        table: `kgrow.analysis.preservation.PreservationTable`.
        path: optional, where to write; the suffix decides the format.
        title: string or `None`.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: the table is empty.
    """
    if not table.rows:
        raise ValueError("There is nothing to draw. Received: an empty table")
    pyplot = load_pyplot()
    from matplotlib import colors
    from matplotlib.patches import Patch

    names = list(dict.fromkeys(row.strategy for row in table.rows))
    columns = list(
        dict.fromkeys((r.dim, r.placement, r.size) for r in table.rows)
    )
    paint = pyplot.cm.ScalarMappable(colors.LogNorm(0.03, 3), "YlOrRd")
    image = np.ones((len(names), len(columns), 3))
    with pyplot.rc_context(
        {"font.size": 11, "pdf.fonttype": 42, "savefig.dpi": 200}
    ):
        figure, axes = pyplot.subplots(
            figsize=(
                max(5.0, 2.3 + 0.3 * len(columns)),
                max(5.0, 2.4 + 0.26 * len(names)),
            ),
            layout="constrained",
        )
        for row in table.rows:
            x = columns.index((row.dim, row.placement, row.size))
            y = names.index(row.strategy)
            colour, sign, ink = _cell(row, paint)
            image[y, x] = colors.to_rgb(colour)
            axes.text(
                x, y, sign, ha="center", va="center", fontsize=8.5, color=ink
            )
        axes.imshow(image, aspect="auto")
        _name_cells(axes, names, columns)
        if title:
            figure.suptitle(title, fontsize=12)
        figure.colorbar(
            paint,
            ax=axes,
            shrink=0.7,
            aspect=28,
            pad=0.02,
            label="relative difference of the outputs",
            extend="both",
        )
        legend = [
            Patch(facecolor=_KEPT, label="✓  function kept"),
            Patch(facecolor=_REFUSED, label="–  refused"),
        ]
        if any(row.verdict == _BREAK for row in table.rows):
            legend.append(Patch(facecolor="black", label="!  claim broken"))
        figure.legend(
            handles=legend,
            loc="outside lower center",
            ncols=len(legend),
            frameon=False,
            fontsize=10,
        )
        return finished(figure, path)


def _cell(row, paint):
    """A cell's colour, its sign and the colour of that."""
    if row.verdict == _BREAK:
        return "black", "!", "white"
    if row.kept:
        return _KEPT, "✓", "white"
    if row.verdict == "refuses":
        return _REFUSED, "–", "#777777"
    worst = max(row.differences.values())
    return paint.to_rgba(worst), _number(worst), _ink(paint.to_rgba(worst))


def _number(value):
    """A difference in three characters at most.

    Example:

    >>> _number(0.42), _number(1.26), _number(0.034), _number(25.0)
    ('.4', '1.3', '.03', '25')
    """
    if value < 0.0095:
        return "<.01"
    if value >= 9.95:
        return f"{value:.0f}"
    text = f"{value:.1f}" if value >= 0.095 else f"{value:.2f}"
    return text.removeprefix("0")


def _ink(colour):
    red, green, blue, _ = colour
    light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
    return "black" if light else "white"


def _name_cells(axes, names, columns):
    axes.set_yticks(range(len(names)), names)
    axes.set_xticks(
        range(len(columns)),
        [f"{placement} {_SIZE_NAMES[size]}" for _, placement, size in columns],
        rotation=90,
        fontsize=10,
    )
    axes.set_xticks(np.arange(len(columns) - 1) + 0.5, minor=True)
    axes.set_yticks(np.arange(len(names) - 1) + 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1)
    axes.tick_params(which="both", length=0)
    axes.set_xlabel("placement of the norms, and growth by ×k or to any size")
    axes.set_ylabel("strategy")
    axes.spines[:].set_visible(False)
    _name_dims(axes, [dim for dim, _, _ in columns])


def _name_dims(axes, dims):
    """The dimensions over their columns, with a line between two."""
    for dim in dict.fromkeys(dims):
        first, count = dims.index(dim), dims.count(dim)
        axes.text(
            first + (count - 1) / 2,
            -0.7,
            dim,
            ha="center",
            va="bottom",
            fontsize=12,
        )
        if first:
            axes.axvline(first - 0.5, color="black", linewidth=1.2)
