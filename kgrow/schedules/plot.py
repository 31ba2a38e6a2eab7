"""A schedule as a staircase: each size over the steps."""

import itertools

from kgrow.algebra.config_fields import text, total
from kgrow.analysis.plots.labels import name_points
from kgrow.analysis.plots.style import (
    GREY,
    STYLE,
    finished,
    load_pyplot,
    look,
    short,
)
from kgrow.schedules.stage_bounds import Bound

# Steps of different sizes at one height would hide each other.
_APART = 0.012


def draw_schedule(schedule, path=None):
    """Draws the sizes of each stage, as parts of those of the last.

    Sizes that never change are left out. Growths are dashed lines, ramps
    shaded. Stages that end by a trigger, whose lengths nobody knows yet, are
    drawn as long as the mean of the others.

    Args:
        schedule: `GrowthSchedule`.
        path: optional, where to write; the suffix decides the format.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.

    Example:

    >>> import pathlib, tempfile
    >>> from kgrow.schedules import get
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> draw_schedule(get("Sch1-B"), folder / "schedule.png").name
    'schedule.png'
    """
    pyplot = load_pyplot()
    ends, unit = _ends(schedule)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(8.6, 4), layout="constrained")
        if unit == "training steps":
            _draw_ramps(axes, schedule, ends)
        for index in range(1, len(ends)):
            grown = schedule.grows(index)
            axes.axvline(
                ends[index - 1],
                color=GREY,
                linewidth=0.9,
                linestyle=(0, (4, 3)) if grown else (0, (1, 3)),
                zorder=1,
            )
        names = _draw_stairs(axes, schedule, ends)
        axes.grid(axis="x", visible=False)  # only growths are vertical lines
        axes.set_xlim(0, ends[-1])
        axes.set_ylim(0, 1.08)
        axes.yaxis.set_major_formatter(lambda y, _: f"{y:.0%}")
        axes.set_yticks([0, 0.25, 0.5, 0.75, 1])
        axes.xaxis.set_major_formatter(lambda x, _: short(x))
        axes.set_xlabel(unit)
        axes.set_ylabel("part of the final size")
        if schedule.name:
            axes.set_title(schedule.name, fontsize=12, loc="left")
        name_points(axes, *names)
        return finished(figure, path)


def _ends(schedule):
    """The end of each stage as a number, and its unit."""
    bounds = [stage.until for stage in schedule.stages]
    units = {bound.unit for bound in bounds if isinstance(bound, Bound)}
    if len(units) != 1 or not isinstance(bounds[-1], Bound):
        return list(range(1, len(bounds) + 1)), "stage"
    known = [b.count if isinstance(b, Bound) else None for b in bounds]
    ends, begin = [], 0
    for index, end in enumerate(known):
        if end is None:
            # Its part of the way to the next bound that is known.
            later = next(e for e in known[index:] if e is not None)
            count = next(
                i for i, e in enumerate(known[index:], 1) if e is not None
            )
            end = begin + (later - begin) / count
        ends.append(end)
        begin = end
    return ends, f"training {units.pop()}"


def _draw_ramps(axes, schedule, ends):
    for index in range(1, len(ends)):
        ramp = schedule.ramp(index)
        if ramp is not None:
            begin = ends[index - 1]
            axes.axvspan(
                begin, begin + ramp.steps, color="#DDDDDD", zorder=0, lw=0
            )


def _draw_stairs(axes, schedule, ends):
    """Draws a line per field that changes.

    Returns:
        The lines' ends and looks, each as a dict by name.
    """
    sizes = schedule.sizes
    moving = [f for f in sizes[-1] if sizes[0].get(f) != sizes[-1][f]]
    points, styles = {}, {}
    for number, field in enumerate(moving):
        style = look(number)
        last = total(sizes[-1][field])
        parts = [total(found.get(field, 0)) / last for found in sizes]
        lift = (number - (len(moving) - 1) / 2) * _APART
        heights = [part + lift for part in parts]
        edges = [0, *ends]
        axes.stairs(
            heights,
            edges,
            baseline=None,
            color=style["color"],
            linestyle=style["linestyle"],
            linewidth=2.2,
            zorder=3,
        )
        axes.plot(
            [(a + b) / 2 for a, b in itertools.pairwise(edges)],
            heights,
            style["marker"],
            color=style["color"],
            markersize=5,
            zorder=3,
        )
        first = text(sizes[0].get(field, 0))
        name = f"{field}  {first} to {text(sizes[-1][field])}"
        points[name] = (ends[-1], heights[-1])
        styles[name] = style
    return points, styles
