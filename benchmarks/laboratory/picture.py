"""A comparison as a picture: where runs end, and what they saved."""

import numpy as np

from kgrow.analysis.plots.labels import spread_out
from kgrow.analysis.plots.style import (
    COLOURS,
    GREY,
    STYLE,
    finished,
    load_pyplot,
)

_LINE = 0.045  # of the axis, from one label to the next


def draw(comparison, path):
    """Draws loss over FLOPs, and beside it what each method saved.

    On the left the grey line joins the references, each decayed to its own
    end; a run below it is better than a reference of its cost. On the right is
    how many FLOPs a run saved against a reference that ends as good.

    Args:
        comparison: `Comparison` with `savings`.
        path: Path, where to write.
    """
    pyplot = load_pyplot()
    rows = sorted(comparison.savings.rows, key=_saving)
    colours = {
        row.name: COLOURS[0] if _saving(row) > 0 else COLOURS[1] for row in rows
    }
    with pyplot.rc_context(STYLE):
        figure, (left, right) = pyplot.subplots(
            1, 2, figsize=(13, 5.6), layout="constrained"
        )
        _losses(left, comparison, rows, colours)
        _savings(right, rows, colours)
        figure.suptitle(comparison.title, fontsize=12)
        finished(figure, path)


def _losses(axes, comparison, rows, colours):
    budgets = np.array([pair[:2] for pair in comparison.savings.budgets])
    axes.plot(
        budgets[:, 0] / 1e12, budgets[:, 1], color=GREY, marker="o", zorder=2
    )
    axes.annotate(
        "from scratch",
        (budgets[0, 0] / 1e12, budgets[0, 1]),
        xytext=(8, 4),
        textcoords="offset points",
        color=GREY,
    )
    ends = {row.name: _end(row, comparison.savings) for row in rows}
    for name, (flops, loss) in ends.items():
        axes.plot(
            flops, loss, color=colours[name], marker="s", linestyle="none"
        )
    _label(axes, ends, colours)
    axes.set_xscale("log")
    _plain_ticks(axes, [flops for flops, _ in ends.values()], budgets)
    axes.set_xlabel("training TFLOPs, the small model's included")
    axes.set_ylabel("validation loss (nats a token)")


def _end(row, savings):
    """`(TFLOPs, loss)`, means over seeds."""
    runs = [run for run in savings.runs if run.name == row.name]
    flops = [
        run.source_cost("flops") + run.readings[-1]["flops"] for run in runs
    ]
    return np.mean(flops) / 1e12, np.mean(row.final)


def _label(axes, ends, colours):
    """The names in a column beside the points, each with a line to its own."""
    axes.margins(x=0.08, y=0.1)
    low, high = axes.get_ylim()
    names = sorted(ends, key=lambda name: ends[name][1])
    places = spread_out(
        [ends[name][1] for name in names], _LINE * (high - low), low, high
    )
    for name, place in zip(names, places, strict=True):
        axes.annotate(
            name,
            ends[name],
            xytext=(1.02, place),
            textcoords=axes.get_yaxis_transform(),
            color=colours[name],
            fontsize=9,
            va="center",
            arrowprops={
                "arrowstyle": "-",
                "relpos": (0, 0.5),
                "shrinkA": 0,
                "color": colours[name],
                "lw": 0.5,
                "alpha": 0.5,
            },
        )


def _plain_ticks(axes, flops, budgets):
    from matplotlib.ticker import NullFormatter, ScalarFormatter

    values = [*flops, *(budgets[:, 0] / 1e12)]
    axes.set_xlim(0.93 * min(values), 1.05 * max(values))
    ticks = np.geomspace(min(values), max(values), 5)
    axes.set_xticks([float(f"{tick:.2g}") for tick in ticks])
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="x", which="minor", length=0)


def _savings(axes, rows, colours):
    known = [row for row in rows if np.isfinite(_saving(row))]
    for place, row in enumerate(known):
        estimate = row.own_end["flops", True]
        axes.barh(
            place,
            100 * estimate.saving,
            color=colours[row.name],
            alpha=0.5 if estimate.extrapolated else 0.9,
            height=0.62,
        )
        edge = estimate.saving
        if estimate.interval is not None:
            low, high = estimate.interval
            axes.plot(
                [100 * low, 100 * high], [place, place], color="black", lw=1.2
            )
            edge = max(edge, high)
        axes.annotate(
            f"{100 * estimate.saving:+.1f} %".replace("-", "\N{MINUS SIGN}"),
            (max(0.0, 100 * edge), place),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=9,
        )
    axes.axvline(0, color=GREY, lw=1)
    axes.set_yticks(range(len(known)), [row.name for row in known], fontsize=9)
    axes.grid(visible=False, axis="y")
    axes.set_axisbelow(True)
    axes.margins(x=0.15)
    axes.set_xlabel("FLOPs saved at equal loss (%)")


def _saving(row):
    saving = row.own_end["flops", True].saving
    return -np.inf if saving is None else saving
