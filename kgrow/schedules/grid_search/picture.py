"""A grid search as a picture: losses over the cost, and rates."""

import math
import pathlib

from kgrow.analysis.plots import COLOURS, STYLE, load_pyplot

_LABELS = {"flops": "training FLOPs", "seconds": "wall time (s)"}
_START = "#777777"


def draw_search(search, path=None, unit="flops"):
    """Draws the result of `search()`, one column per dimension.

    Above, the loss of each size over the cost: the lower a curve, the better.
    A cross is where a loss was no longer finite; the dotted line is the cost
    at which all are compared. Below, the rate of each size beside that of the
    start, in each window.

    Args:
        search: `Search`.
        path: optional, where to write; the suffix decides the format.
        unit: `"flops"` or `"seconds"`.

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
            figsize=(1 + 3.2 * len(fields), 5.4),
            height_ratios=(3, 2),
            sharey="row",
            squeeze=False,
            layout="constrained",
        )
        for number, field in enumerate(fields):
            rows = [search.rows[0]]
            rows += [row for row in search.rows if row.field == field]
            sizes = [search.start[field], *(row.size for row in rows[1:])]
            _draw_losses(axes[0, number], search, rows, sizes, unit)
            _draw_rates(axes[1, number], search, rows, sizes, unit)
            axes[0, number].set_title(field, fontsize=12, loc="left")
            axes[0, number].set_xlabel(_LABELS[unit])
            axes[1, number].set_xlabel(field)
        axes[0, 0].set_ylabel("training loss")
        axes[1, 0].set_ylabel("rate / that of the start")
        if path is None:
            return figure
        path = pathlib.Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)
        pyplot.close(figure)
    return path


def _colours(count):
    return [_START, *(COLOURS[i % len(COLOURS)] for i in range(count - 1))]


def _draw_losses(axes, search, rows, sizes, unit):
    end = search.horizon(unit)
    if not math.isnan(end):
        axes.axvline(end, color="#777777", linewidth=1, linestyle=(0, (1, 3)))
    colours = _colours(len(rows))
    for row, size, colour in zip(rows, sizes, colours, strict=True):
        if not row.cost_per_step(unit):
            continue
        for number, run in enumerate(row.runs):
            costs = [s * row.cost_per_step(unit) for s in run.steps]
            # Values beyond would compress the rest of the plot.
            shown = [c for c in costs if not c > 1.1 * end]
            axes.plot(
                shown,
                run.losses[: len(shown)],
                color=colour,
                linewidth=2 if len(row.runs) == 1 else 1,
                label=None if number else f"{size:,}",
            )
            if run.broken is not None and costs:
                axes.plot(costs[-1], run.losses[-1], "x", color=colour)
    axes.set_xlim(0, None if math.isnan(end) else 1.1 * end)
    axes.legend(fontsize=10, loc="best", handlelength=1.2)


def _draw_rates(axes, search, rows, sizes, unit):
    axes.axhline(1, color="#777777", linewidth=1, linestyle=(0, (4, 3)))
    shades = [0.35, 1.0]
    for window in range(search.windows):
        base = search.gamma(rows[0], unit, window)
        rates = [search.gamma(row, unit, window) / base for row in rows]
        part = window / max(search.windows - 1, 1)
        axes.plot(
            range(len(rows)),
            rates,
            "o-",
            color=COLOURS[0],
            alpha=shades[0] + part * (shades[1] - shades[0]),
            linewidth=1,
            markersize=4,
            label=_window_name(window, search.windows),
        )
    overall = [search.ratio(row, unit) for row in rows]
    axes.plot(
        range(len(rows)),
        overall,
        "s-",
        color="black",
        linewidth=2,
        markersize=5,
        label="whole run",
    )
    axes.set_xticks(range(len(rows)), [f"{size:,}" for size in sizes])
    axes.set_xlim(-0.3, len(rows) - 0.7)
    if axes.get_subplotspec().is_first_col():
        axes.figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside lower center",
            ncols=search.windows + 1,
            fontsize=10,
        )


def _window_name(window, count):
    return f"part {window + 1} of {count}"
