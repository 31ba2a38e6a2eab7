"""Savings as a picture."""

import numpy as np

from kgrow.analysis.plots.ends import RunEnd, draw_ends

# Prefix of the note on a reference whose learning rate has not decayed.
NOT_DECAYED = "NOT DECAYED"

_LABELS = {"flops": "training FLOPs", "seconds": "wall time (s)"}
# Budgets of references that differ by less are one.
_SAME_BUDGET = 1.1


def draw_savings(found, path=None, unit="flops", ylabel=None, title=None):
    """Draws final metrics over cost, for runs and references.

    Each point is the mean of a method's runs, the small model's cost included
    where it is known, with a bar of one standard deviation over seeds; the
    line joins the references' means, budget by budget. A method below it
    (above, where higher is better) ends better than a reference of the same
    cost; its distance to the left of the line is the cost it saves.

    Args:
        found: `kgrow.analysis.comparison.report.Savings`.
        path: where to write; the suffix decides the format. `None` returns
            matplotlib's figure instead.
        unit: `"flops"` or `"seconds"`.
        ylabel: optional string, by default the metric.
        title: optional string.

    Returns:
        `path`, or the figure.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: another unit.
    """
    if unit not in _LABELS:
        raise ValueError(
            f"`unit` is one of {tuple(_LABELS)}. Received: unit={unit!r}"
        )
    ends = []
    for row in found.rows:
        runs = [run for run in found.runs if run.name == row.name]
        points = [_end(run, found.metric, unit) for run in runs]
        ends.append(_mean(row.name + _remark(runs), points))
    return draw_ends(
        ends,
        _references(found, unit),
        path,
        xlabel=_LABELS[unit],
        ylabel=ylabel or found.metric,
        title=title,
        reference_name="from scratch" + _decay(found),
    )


def _references(found, unit):
    points = sorted(_end(run, found.metric, unit) for run in found.reference)
    budgets = []
    for point in points:
        if budgets and point[0] <= _SAME_BUDGET * budgets[-1][0][0]:
            budgets[-1].append(point)
        else:
            budgets.append([point])
    return [_mean("from scratch", budget) for budget in budgets]


def _mean(name, points):
    """`RunEnd` of all seeds' `(cost, value)`."""
    costs, values = zip(*points, strict=True)
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return RunEnd(
        name, float(np.mean(costs)), float(np.mean(values)), deviation
    )


def _decay(found):
    marked = any(note.startswith(NOT_DECAYED) for note in found.notes)
    return ",\nnot all decayed" if marked else ""


def _remark(runs):
    unknown = any(run.source_cost("flops") is None for run in runs)
    return " (without its source)" if unknown else ""


def _end(run, metric, unit):
    reading, value = run.values(metric)[-1]
    return (run.source_cost(unit) or 0.0) + reading[unit], value
