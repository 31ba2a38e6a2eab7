"""A grid search as a picture: losses over the cost, and rates."""

import math

from kgrow.analysis.plots.labels import name_points
from kgrow.analysis.plots.style import (
    GREY,
    MARKERS,
    STYLE,
    finished,
    load_pyplot,
    look,
)

_LABELS = {"flops": "training FLOPs", "seconds": "wall time (s)"}


def draw_search(
    search, path=None, unit="flops", title="Loss of each size, and its rate"
):
    """Draws the result of `search()`, one column per dimension.

    Above, the loss of each size over the cost: the lower a curve, the better.
    A cross is where a loss was no longer finite; the dotted line is the cost
    at which all are compared. Below, the rate of each size beside that of the
    start, in each window.

    Args:
        search: `Search`.
        path: optional, where to write; the suffix decides the format.
        unit: `"flops"` or `"seconds"`.
        title: string or `None`.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.
    """
    pyplot = load_pyplot()
    fields = search.fields
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            nrows=2,
            ncols=len(fields),
            figsize=(1 + 3.8 * len(fields), 5.6),
            height_ratios=(3, 2),
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        names = []
        for number, field in enumerate(fields):
            rows = [search.rows[0]]
            rows += [row for row in search.rows if row.field == field]
            sizes = [search.start[field], *(row.size for row in rows[1:])]
            above, below = axes[:, number]
            names.append(_draw_losses(above, search, rows, sizes, unit))
            labels = [f"{size:,}" for size in sizes]
            _draw_rates(below, search, rows, unit, labels)
            above.set_title(field, fontsize=12, loc="left")
            above.set_xlabel(_LABELS[unit])
            below.set_xlabel(field)
        axes[0, 0].set_ylabel("training loss")
        axes[1, 0].set_ylabel("rate / rate of the start")
        if title:
            figure.suptitle(title, fontsize=12)
        # The panels of a row share their limits, which are final only now.
        for panel, (points, styles) in zip(axes[0], names, strict=True):
            name_points(panel, points, styles)
        return finished(figure, path)


def _draw_losses(axes, search, rows, sizes, unit):
    """A line per size, with its name at its end."""
    end = search.horizon(unit)
    if not math.isnan(end):
        axes.axvline(end, color=GREY, linewidth=1, linestyle=(0, (1, 3)))
    points, styles = {}, {}
    for index, (row, size) in enumerate(zip(rows, sizes, strict=True)):
        if not row.cost_per_step(unit):
            continue
        style = look(index)
        for run in row.runs:
            costs = [s * row.cost_per_step(unit) for s in run.steps]
            # Values beyond would compress the rest of the plot.
            shown = [c for c in costs if not c > 1.1 * end]
            axes.plot(
                shown,
                run.losses[: len(shown)],
                color=style["color"],
                linestyle=style["linestyle"],
                linewidth=2 if len(row.runs) == 1 else 1,
            )
            if run.broken is not None and costs:
                axes.plot(costs[-1], run.losses[-1], "x", color=style["color"])
            if shown:
                points[f"{size:,}"] = shown[-1], run.losses[len(shown) - 1]
                styles[f"{size:,}"] = style
    axes.set_xlim(0, None if math.isnan(end) else 1.1 * end)
    return points, styles


def _draw_rates(axes, search, rows, unit, labels):
    """A line per window, the later the darker, and one for the whole run."""
    axes.axhline(1, color=GREY, linewidth=1, linestyle=(0, (4, 3)))
    for window in range(search.windows):
        base = search.gamma(rows[0], unit, window)
        rates = [search.gamma(row, unit, window) / base for row in rows]
        part = window / max(search.windows - 1, 1)
        axes.plot(
            range(len(rows)),
            rates,
            color=_shade(part),
            marker=MARKERS[1 + window % (len(MARKERS) - 1)],
            linewidth=1,
            markersize=5,
            label=_window_name(window, search.windows),
        )
    overall = [search.ratio(row, unit) for row in rows]
    axes.plot(
        range(len(rows)),
        overall,
        color="black",
        marker=MARKERS[0],
        linewidth=2,
        markersize=5,
        label="whole run",
    )
    axes.set_xticks(range(len(rows)), labels)
    axes.set_xlim(-0.3, len(rows) - 0.7)
    if axes.get_subplotspec().is_first_col():
        axes.figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=search.windows + 1,
            fontsize=10,
        )


def _shade(part):
    """A blue from light to dark, for a part of a run from 0 to 1."""
    from matplotlib import colormaps

    return colormaps["Blues"](0.4 + 0.45 * part)


def _window_name(window, count):
    return f"part {window + 1} of {count}"
