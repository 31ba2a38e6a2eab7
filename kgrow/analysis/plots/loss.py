"""Plot the loss of runs over their cost, with growths marked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from kgrow.analysis.plots.labels import spread_out
from kgrow.analysis.plots.style import (
    STYLE,
    finished,
    literal,
    load_pyplot,
    look,
    short,
)

_UNITS = {
    "flops": "training FLOPs",
    "seconds": "wall time (s)",
    "tokens": "training tokens",
    "steps": "training steps",
    "epochs": "epochs",
}
# Units drawn by default, if every run has them.
_COSTS = ("flops", "seconds", "tokens")
# Fractions of the axes: the height of a line of text, and the length of a
# letter of rotated text.
_LINE, _LETTER = 0.08, 0.028
# Markers are this part of the axes' diagonal apart.
_MARKED = 0.2
# Maximum number of letters of rotated text beside the axes.
_TALLEST = 34


@dataclass(frozen=True)
class Curve:
    """One run as the plots take it; a dict with the same keys does too.

    Args:
        name: String, written beside the curve's end.
        flops: Sequence of numbers. Training FLOPs spent at each point.
        loss: Sequence of as many numbers.
        seconds: Sequence of as many numbers, or empty.
        events: Sequence of `(flops, label)`, one for each growth; where a run
            has no `flops`, in the first of the others that it has.
        tokens: Sequence of as many numbers, or empty.
        steps: Sequence of as many numbers, or empty.
        epochs: Sequence of as many numbers, or empty.
    """

    name: str
    flops: tuple
    loss: tuple
    seconds: tuple = ()
    events: tuple = ()
    tokens: tuple = ()
    steps: tuple = ()
    epochs: tuple = ()

    @property
    def units(self):
        """Units that the curve can be drawn over.

        Example:

        >>> Curve("run", (), (2.0, 1.0), steps=(10, 20)).units
        ['steps']
        """
        return [unit for unit in _UNITS if len(getattr(self, unit))]

    @classmethod
    def of(cls, run):
        """`run` itself, or the curve that a mapping describes."""
        return cls(**run) if isinstance(run, Mapping) else run


def loss_curves(
    runs,
    path=None,
    over=None,
    ylabel="validation loss",
    title=None,
    top=None,
):
    """Draws each run's loss over FLOPs, seconds and tokens, a panel for each.

    A growth is a triangle on its curve, and a dashed line with its label.

    Args:
        runs: Sequence of `Curve`, or of dicts with its fields.
        path: Optional. Where to write; the suffix decides the format.
        over: Optional list from `"flops"`, `"seconds"`, `"tokens"`,
            `"steps"`, `"epochs"`; by default those of the first three that
            every run has, or else one of the others.
        ylabel: String, with the unit.
        title: String or `None`.
        top: Number or `None`. Where the loss axis ends, to give the room to
            the part of the curves that matters; not heeded where it would
            leave nothing of them.

    Returns:
        `pathlib.Path` of the picture, or matplotlib's figure if there is no
        `path`.

    Raises:
        ImportError: where matplotlib is missing.
        ValueError: there is no run, or one without what `over` asks for.

    Example:

    >>> import pathlib, tempfile
    >>> run = {"name": "grown", "flops": [1e9, 2e9], "loss": [3.0, 2.0],
    ...     "tokens": [1e3, 2e3], "events": [(1.5e9, "64 to 128 wide")]}
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> loss_curves([run], folder / "loss.png").name
    'loss.png'
    """
    pyplot = load_pyplot()
    curves = [_literal(Curve.of(run)) for run in runs]
    ylabel, title = literal(ylabel), title and literal(title)
    units = _units(curves, over)
    width = min(3.0 + 3.3 * len(units), 12.6)
    with pyplot.rc_context(STYLE):
        # Type as large in a column, however many panels share it.
        size = 8.5 + width / 2.8
        pyplot.rcParams["font.size"] = size
        pyplot.rcParams["axes.labelsize"] = size + 1
        figure, axes = pyplot.subplots(
            ncols=len(units),
            figsize=(width, 4),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        axes[0, 0].set_ylabel(ylabel)
        for panel, unit in zip(axes[0], units, strict=True):
            _draw_panel(panel, curves, unit)
        lowest = min(min(curve.loss) for curve in curves)
        if top is not None and top > lowest:
            axes[0, 0].set_ylim(lowest - 0.05 * (top - lowest), top)
        for panel, unit in zip(axes[0], units, strict=True):
            _label_events(panel, curves, unit)
        _name_ends(axes[0, -1], curves)
        if title:
            figure.suptitle(title, fontsize=12)
        return finished(figure, path)


def loss_over_flops(
    runs, path=None, ylabel="validation loss", title=None, top=None
):
    """The same over FLOPs, and beside it over seconds where all runs have
    them; see `loss_curves()`.

    Example:

    >>> import pathlib, tempfile
    >>> run = {"name": "grown", "flops": [1e9, 2e9], "loss": [3.0, 2.0]}
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> loss_over_flops([run], folder / "loss.png").name
    'loss.png'
    """
    curves = [Curve.of(run) for run in runs]
    timed = all(len(curve.seconds) for curve in curves)
    over = ("flops", "seconds") if timed else ("flops",)
    return loss_curves(curves, path, over, ylabel, title, top)


def _units(curves, over):
    if not curves:
        raise ValueError("There is no run to draw. Received: runs=[]")
    unknown = [unit for unit in over or () if unit not in _UNITS]
    if unknown:
        raise ValueError(
            f"Argument `over` is a list of some of {list(_UNITS)}. "
            f"Received: over={over!r}"
        )
    common = [u for u in _UNITS if all(u in c.units for c in curves)]
    for unit in over or ():
        if unit not in common:
            lacking = [c.name for c in curves if unit not in c.units]
            raise ValueError(
                f"Not every run says its {unit}. Received: none in {lacking}"
            )
    if not common:
        raise ValueError(
            "The runs have nothing in common to be drawn over. Received: "
            f"{ {c.name: c.units for c in curves} }"
        )
    costs = [unit for unit in common if unit in _COSTS]
    return list(over or costs or common[:1])


def _draw_panel(axes, curves, unit):
    for index, curve in enumerate(curves):
        style = look(index)
        x = np.asarray(getattr(curve, unit), float)
        axes.plot(
            x,
            curve.loss,
            color=style["color"],
            linestyle=style["linestyle"],
            linewidth=2,
            marker=style["marker"],
            markevery=_MARKED,
            markersize=4,
        )
        axes.plot(
            x[-1],
            curve.loss[-1],
            style["marker"],
            color=style["color"],
            markersize=6,
            clip_on=False,
            zorder=5,
        )
        for event, _ in curve.events:
            place = _convert(curve, unit, event)
            axes.axvline(
                place,
                color=style["color"],
                linewidth=0.9,
                linestyle=(0, (4, 3)),
                zorder=1,
            )
            axes.plot(
                place,
                np.interp(event, getattr(curve, curve.units[0]), curve.loss),
                "^",
                color=style["color"],
                markeredgecolor="white",
                markersize=9,
                zorder=4,
            )
    axes.set_xlabel(_UNITS[unit])
    axes.set_xlim(left=0)
    axes.margins(x=0.02)
    axes.grid(axis="x", visible=False)  # only growths are vertical lines
    axes.locator_params(axis="x", nbins=5)
    if unit in ("tokens", "steps"):
        axes.xaxis.set_major_formatter(lambda x, _: short(x))


def _convert(curve, unit, event):
    """Where on the axis of `unit` an event was."""
    base = curve.units[0]
    if unit == base:
        return event
    return float(np.interp(event, getattr(curve, base), getattr(curve, unit)))


def _label_events(axes, curves, unit):
    """Writes the labels upright beside their lines, none on another."""
    low, high = axes.get_xlim()
    events = [
        (
            (_convert(curve, unit, event) - low) / (high - low),
            _brief(label),
            index,
        )
        for index, curve in enumerate(curves)
        for event, label in curve.events
    ]
    placed = []
    for x, label, index in sorted(events):
        near = [(y, said) for at, y, said in placed if abs(at - x) < 0.055]
        if any(said == label for _, said in near):
            continue  # the same growth of another run
        y = min((y for y, _ in near), default=0.985)
        placed.append((x, y - _LETTER * len(label) - 0.02, label))
        axes.annotate(
            label,
            xy=(x, y),
            xycoords="axes fraction",
            xytext=(3, 0),
            textcoords="offset points",
            rotation=90,
            va="top",
            color=look(index)["color"],
            fontsize="small",
            zorder=6,
            bbox={
                "facecolor": "white",
                "edgecolor": "none",
                "pad": 1,
                "alpha": 0.85,
            },
        )


def _literal(curve):
    """A curve whose names are drawn as they are."""
    events = tuple((at, literal(label)) for at, label in curve.events)
    return replace(curve, name=literal(curve.name), events=events)


def _brief(label):
    """A label that is not taller than the axes: of many changes the first.

    Example:

    >>> _brief("64 to 128 wide")
    '64 to 128 wide'
    >>> _brief("hidden_dim 32 to 64, num_heads 2 to 4, num_layers 2 to 3")
    'hidden_dim 32 to 64, +2'
    """
    first, *others = label.split(", ")
    if len(label) <= _TALLEST or not others:
        return label
    return f"{first}, +{len(others)}"


def _name_ends(axes, curves):
    """Writes each run's name and last loss beside its end, none on another."""
    low, high = axes.get_ylim()
    order = sorted(range(len(curves)), key=lambda i: curves[i].loss[-1])
    heights = [(curves[i].loss[-1] - low) / (high - low) for i in order]
    places = spread_out(heights, _LINE, 0.0, 1.0)
    for index, y in zip(order, places, strict=True):
        curve, style = curves[index], look(index)
        axes.plot(
            1.045,
            y,
            style["marker"],
            color=style["color"],
            markersize=6,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.annotate(
            f"{curve.name}  {curve.loss[-1]:.3f}",
            xy=(1.075, y),
            xycoords="axes fraction",
            va="center",
            color=style["color"],
        )
