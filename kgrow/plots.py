"""Pictures of runs that grew: loss over FLOPs, and over seconds.

matplotlib is imported when a picture is drawn, not before.
"""

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# Okabe and Ito's colours, which remain apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")

STYLE = {
    "font.size": 11,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "axes.formatter.use_mathtext": True,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
}


@dataclass(frozen=True)
class Curve:
    """One run as the plots take it; a dict with the same keys does too.

    Args:
        name: String, written beside the curve's end.
        flops: Sequence of numbers. Training FLOPs spent at each point.
        loss: Sequence of as many numbers.
        seconds: Sequence of as many numbers, or empty.
        events: Sequence of `(flops, label)`, one for each growth.
    """

    name: str
    flops: tuple
    loss: tuple
    seconds: tuple = ()
    events: tuple = ()

    @classmethod
    def of(cls, run):
        """`run` itself, or the curve that a mapping describes."""
        return cls(**run) if isinstance(run, Mapping) else run


def loss_over_flops(runs, path, ylabel="validation loss", title=None, top=None):
    """Draws each run's loss over the training FLOPs it had spent.

    Growth events are vertical lines in their run's colour, with their labels.
    Where every run has `seconds`, a second panel shows the loss over time.

    Args:
        runs: Sequence of `Curve`, or of dicts with its fields.
        path: Where to write; the suffix decides the format.
        ylabel: String.
        title: String or `None`.
        top: Number or `None`. Where the loss axis ends, to give the room to
            the part of the curves that matters.

    Returns:
        `pathlib.Path` of the picture.

    Raises:
        ImportError: where matplotlib is missing.

    Example:

    >>> import tempfile
    >>> run = {"name": "grown", "flops": [1e9, 2e9], "loss": [3.0, 2.0],
    ...     "events": [(1.5e9, "64 to 128 wide")]}
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> loss_over_flops([run], folder / "loss.png").name
    'loss.png'
    """
    pyplot = load_pyplot()
    curves = [Curve.of(run) for run in runs]
    timed = all(len(curve.seconds) for curve in curves)
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            ncols=2 if timed else 1,
            figsize=(10 if timed else 6, 4),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        _panel(axes[0, 0], curves, "flops", "training FLOPs")
        if timed:
            _panel(axes[0, 1], curves, "seconds", "wall time (s)")
        axes[0, 0].set_ylabel(ylabel)
        axes[0, 0].set_ylim(top=top)
        _name_ends(axes[0, -1], curves)
        if title:
            figure.suptitle(title, fontsize=12)
        figure.savefig(path)
        pyplot.close(figure)
    return path


def load_pyplot():
    """matplotlib's `pyplot`, or an error that says how to get it."""
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError(
            "Plots need matplotlib. Install it with: pip install 'kgrow[plots]'"
        ) from error
    return pyplot


def _panel(axes, curves, unit, xlabel):
    for curve, colour in zip(curves, _colours(len(curves)), strict=True):
        x = getattr(curve, unit)
        axes.plot(x, curve.loss, color=colour, linewidth=2)
        axes.plot(x[-1], curve.loss[-1], "o", color=colour, markersize=5)
        for flops, label in curve.events:
            _mark(axes, _convert(curve, unit, flops), label, colour)
    axes.set_xlabel(xlabel)
    axes.set_xlim(left=0)
    axes.margins(x=0.02)


def _colours(count):
    return [COLOURS[index % len(COLOURS)] for index in range(count)]


def _convert(curve, unit, flops):
    """Where on the axis of `unit` the run had spent `flops`."""
    if unit == "flops":
        return flops
    return float(np.interp(flops, curve.flops, curve.seconds))


def _mark(axes, x, label, colour):
    axes.axvline(x, color=colour, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        label,
        xy=(x, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -4),
        textcoords="offset points",
        rotation=90,
        va="top",
        color=colour,
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
    )


def _name_ends(axes, curves):
    """Writes each run's name and last loss beside its end, none on another."""
    apart = 0.07  # of the height of the axes: one line
    low, high = axes.get_ylim()
    named = zip(curves, _colours(len(curves)), strict=True)
    floor = 0.0
    for curve, colour in sorted(named, key=lambda pair: pair[0].loss[-1]):
        y = max(floor, (curve.loss[-1] - low) / (high - low))
        floor = y + apart
        axes.annotate(
            f"{curve.name}  {curve.loss[-1]:.3f}",
            xy=(1.02, y),
            xycoords="axes fraction",
            va="center",
            color=colour,
        )
