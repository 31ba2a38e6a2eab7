"""Plot where runs end: the final metric over the cost, a point per method."""

from dataclasses import dataclass

from kgrow.analysis.plots.labels import name_points
from kgrow.analysis.plots.style import (
    GREY,
    STYLE,
    finished,
    literal,
    load_pyplot,
    look,
)


@dataclass(frozen=True)
class RunEnd:
    """The end of all runs of one name.

    Args:
        name: String.
        cost: Number, in the unit of the axis; the mean over seeds.
        value: Number, the final metric; the mean over seeds.
        deviation: Number, the metric's standard deviation over seeds.
    """

    name: str
    cost: float
    value: float
    deviation: float = 0.0


def draw_ends(
    ends,
    references,
    path=None,
    xlabel="training FLOPs",
    ylabel="validation loss",
    title=None,
    reference_name="from scratch",
):
    """Draws final metrics over cost: a point per method, and the references'
    line.

    Bars are one standard deviation over seeds. Where lower is better, a method
    below the line ends better than a reference of its cost, and its distance
    to the left of the line is the cost it saves.

    Args:
        ends: sequence of `RunEnd`, one for each method.
        references: sequence of `RunEnd`, one for each budget.
        path: optional, where to write; the suffix decides the format.
        xlabel: string, with the unit.
        ylabel: string, with the unit.
        title: string or `None`.
        reference_name: string, written at the end of the line.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.

    Example:

    >>> figure = draw_ends([RunEnd("lemon", 1e12, 2.3, 0.1)],
    ...     [RunEnd("50 %", 1e12, 2.6), RunEnd("100 %", 2e12, 2.4)])
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['lemon', 'from scratch']
    """
    pyplot = load_pyplot()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(7.4, 4.4), layout="constrained")
        line = sorted(references, key=lambda end: end.cost)
        _draw_points(axes, line, GREY, "o", linestyle="-")
        styles = {}
        # The first look has the marker of the references.
        for index, end in enumerate(ends, 1):
            styles[literal(end.name)] = look(index)
            style = look(index)
            _draw_points(axes, [end], style["color"], style["marker"])
        axes.set_xscale("log")
        _label_costs(axes)
        axes.set_xlabel(literal(xlabel))
        axes.set_ylabel(literal(ylabel))
        if title:
            axes.set_title(literal(title), fontsize=12, loc="left")
        points = {literal(end.name): (end.cost, end.value) for end in ends}
        points[literal(reference_name)] = (line[-1].cost, line[-1].value)
        styles[literal(reference_name)] = {"color": GREY, "marker": "o"}
        figure.draw_without_rendering()  # so that the limits are final
        axes.set_xlim(axes.get_xlim())
        axes.set_ylim(axes.get_ylim())
        name_points(axes, points, styles)
        return finished(figure, path)


def _draw_points(axes, ends, colour, marker, linestyle="none"):
    deviations = [end.deviation for end in ends]
    axes.errorbar(
        [end.cost for end in ends],
        [end.value for end in ends],
        deviations if any(deviations) else None,
        color=colour,
        marker=marker,
        linestyle=linestyle,
        linewidth=1.5,
        elinewidth=1,
        capsize=2.5,
        markersize=7,
        markeredgecolor="white",
        markeredgewidth=0.6,
        zorder=2 if linestyle == "-" else 3,
    )


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
