"""Draws the pictures of stored results, and again where their look changed.

python benchmarks/pictures.py                      # all, in benchmarks/results
python benchmarks/pictures.py savings_gpt2_jax.json --results FOLDER

A picture shows the numbers of its JSON file and nothing else, so that it needs
no run.
"""

import argparse
import json
import pathlib
import statistics

from kgrow.analysis.plots.ends import RunEnd, draw_ends
from kgrow.analysis.plots.style import (
    COLOURS,
    GREY,
    STYLE,
    finished,
    load_pyplot,
)

RESULTS = pathlib.Path(__file__).parent / "results"
_SCRATCH = "scratch"
_LOSSES = {
    "GPT2": "validation loss (nats a token)",
    "BERT": "validation loss (nats a masked token)",
    "ViT": "test loss (nats an image)",
}
_METRICS = {"error": "test error (%)", "loss": "test loss (nats an image)"}


def draw(path):
    """Draws the picture of a result beside its file.

    Args:
        path: `pathlib.Path` of a JSON file that `report.publish()` wrote.

    Returns:
        `pathlib.Path` of the picture, or `None` for a benchmark without one.
    """
    record = json.loads(path.read_text())
    name = record["benchmark"]
    for prefix, function in _PICTURES.items():
        if name.startswith(prefix):
            return function(record, path.with_suffix(".png"))
    return None


def _draw_ends(record, path):
    """Final losses over FLOPs, of a table with runs, losses and TFLOPs."""
    columns = record["columns"]
    loss, flops = columns.index("loss"), columns.index("TFLOP")
    ends = []
    for row in record["rows"]:
        value, deviation = _numbers(row[loss])
        cost, _ = _numbers(row[flops])
        ends.append(RunEnd(row[0], 1e12 * cost, value, deviation))
    references = [end for end in ends if end.name.startswith(_SCRATCH)]
    options = record["options"]
    return draw_ends(
        [end for end in ends if end not in references],
        references,
        path,
        xlabel="training FLOPs, all stages",
        ylabel=_LOSSES[options["family"]],
        title=f"{options['family']}, {options['seeds']} seeds: mean ± "
        "standard deviation",
    )


def _numbers(cell):
    """Mean and deviation of a cell such as `"2.866 ± 0.060"`."""
    mean, _, deviation = cell.partition(" ± ")
    return float(mean), float(deviation or 0)


def _draw_digits(record, path):
    """Error and loss of every method, a column of panels for each budget."""
    runs = record["runs"]
    budgets = sorted({run["steps"] for run in runs})
    names = [run["run"] for run in runs if run["steps"] == budgets[0]]
    names = sorted(
        dict.fromkeys(names),
        key=lambda name: -_spread(runs, name, budgets[0], "error")[0],
    )
    pyplot = load_pyplot()
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(
            len(_METRICS),
            len(budgets),
            figsize=(1.5 + 3.6 * len(budgets), 5.6),
            sharey=True,
            squeeze=False,
            layout="constrained",
        )
        for row, (metric, label) in zip(axes, _METRICS.items(), strict=True):
            for panel, steps in zip(row, budgets, strict=True):
                _draw_methods(panel, runs, names, steps, metric)
                panel.set_xlabel(label)
            row[0].set_ylabel("method")
        for panel, steps in zip(axes[0], budgets, strict=True):
            panel.set_title(
                f"FLOPs of {steps} steps from scratch", fontsize=12, loc="left"
            )
        count = len({run["seed"] for run in runs})
        figure.suptitle(
            f"ViT on digits, {count} seeds: mean ± standard deviation",
            fontsize=12,
        )
        return finished(figure, path)


def _draw_methods(axes, runs, names, steps, metric):
    """A line per method; a band shows where the run from scratch is."""
    mean, deviation = _spread(runs, _SCRATCH, steps, metric)
    axes.axvspan(
        mean - deviation, mean + deviation, color=GREY, alpha=0.15, lw=0
    )
    axes.axvline(mean, color=GREY, linewidth=1)
    for place, name in enumerate(names):
        mean, deviation = _spread(runs, name, steps, metric)
        axes.errorbar(
            mean,
            place,
            xerr=deviation,
            color=GREY if name == _SCRATCH else COLOURS[0],
            marker="o" if name == _SCRATCH else "s",
            capsize=3,
        )
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(left=0)
    axes.grid(axis="y", visible=False)


def _spread(runs, name, steps, metric):
    values = [
        run[metric]
        for run in runs
        if (run["run"], run["steps"]) == (name, steps)
    ]
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.mean(values), deviation


_PICTURES = {
    "savings_": _draw_ends,
    "msg_": _draw_ends,
    "digits": _draw_digits,
}


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="FILE")
    parser.add_argument("--results", type=pathlib.Path, default=RESULTS)
    options = parser.parse_args(args)
    names = options.names or [p.name for p in options.results.glob("*.json")]
    for name in sorted(names):
        picture = draw(options.results / name)
        if picture:
            print(picture)


if __name__ == "__main__":
    main()
