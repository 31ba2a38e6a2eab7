"""Savings as a picture."""

import numpy as np

from kgrow.analysis.plots.style import (
    COLOURS,
    GREY,
    MARKERS,
    STYLE,
    finished,
    literal,
    load_pyplot,
)

_FEW = 5

# Prefix of the note on a reference whose learning rate has not decayed.
NOT_DECAYED = "NOT DECAYED"


def draw_savings(found, path=None, unit="flops", ylabel=None):
    """Draws final metrics over cost, for runs and references.

    Each dot is a run's end, the small model's cost included where it is known;
    the line joins the references' means, budget by budget. A run that lies
    below it (above, where higher is better) is better than a reference of the
    same cost; how far it lies to the left of it is what it saves.

    Args:
        found: `kgrow.analysis.comparison.report.Savings`.
        path: where to write; the suffix decides the format. `None` returns
            matplotlib's figure instead.
        unit: `"flops"` or `"seconds"`.
        ylabel: optional string, by default the metric.

    Returns:
        `path`, or the figure.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: another unit.
    """
    labels = {"flops": "training FLOPs", "seconds": "wall time (s)"}
    if unit not in labels:
        raise ValueError(
            f"`unit` is one of {tuple(labels)}. Received: unit={unit!r}"
        )
    pyplot = load_pyplot()
    with pyplot.rc_context(STYLE):
        names = [row.name for row in found.rows]
        # The legend of more than a few runs would lie on them.
        beside = len(names) > _FEW
        figure, axes = pyplot.subplots(
            figsize=(8.2 if beside else 6.5, 4.2), layout="constrained"
        )
        _references(axes, found, unit)
        markers = MARKERS[1:]  # the first is that of the references
        for place, name in enumerate(names):
            runs = [run for run in found.runs if run.name == name]
            _ends(
                axes,
                runs,
                found.metric,
                unit,
                color=COLOURS[place % len(COLOURS)],
                marker=markers[place % len(markers)],
                label=literal(name + _remark(runs)),
            )
        axes.set_xscale("log")
        _label_costs(axes)
        axes.set_xlabel(labels[unit])
        axes.set_ylabel(literal(ylabel or found.metric))
        if beside:
            figure.legend(loc="outside right upper", fontsize=10)
        else:
            axes.legend(loc="best", fontsize=10)
        return finished(figure, path)


def _references(axes, found, unit):
    runs, metric = found.reference, found.metric
    marked = any(note.startswith(NOT_DECAYED) for note in found.notes)
    decayed = "not all decayed" if marked else "each decayed to its end"
    _ends(
        axes,
        runs,
        metric,
        unit,
        color=GREY,
        marker="o",
        label="from scratch, " + decayed,
    )
    ends = sorted(_end(run, metric, unit) for run in runs)
    groups = []
    for end in ends:
        if groups and end[0] <= 1.1 * groups[-1][0][0]:
            groups[-1].append(end)
        else:
            groups.append([end])
    means = np.array([np.mean(group, axis=0) for group in groups])
    axes.plot(means[:, 0], means[:, 1], color=GREY, linewidth=1.5, zorder=2)


def _ends(axes, runs, metric, unit, **style):
    x, y = zip(*(_end(run, metric, unit) for run in runs), strict=True)
    axes.plot(x, y, linestyle="none", markersize=7, alpha=0.85, **style)


def _remark(runs):
    unknown = any(run.source_cost("flops") is None for run in runs)
    return " (without its source)" if unknown else ""


def _end(run, metric, unit):
    reading, value = run.values(metric)[-1]
    return (run.source_cost(unit) or 0.0) + reading[unit], value


def _label_costs(axes):
    """Ticks within powers of ten: budgets lie close together."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator

    low, high = axes.get_xlim()
    subs = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
    if high > 6 * low:
        subs = (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=subs, numticks=30))
    axes.xaxis.set_minor_locator(LogLocator(subs="all"))
    # Its thresholds would leave labels out where there is less than a decade.
    axes.xaxis.set_major_formatter(
        LogFormatterSciNotation(labelOnlyBase=False, minor_thresholds=(99, 99))
    )
    axes.tick_params(axis="x", which="minor", labelbottom=False)
