"""What the runs say, as a section of a page and a picture."""

import re

import numpy as np

from laboratory.comparison import compare
from laboratory.picture import draw

_COLUMNS = (
    "run",
    "validation loss",
    "TFLOP",
    "saves, of the FLOPs",
    "95 %",
    "better at equal FLOPs",
    "seeds",
)


def write(results, folder, page):
    """Draws the picture and writes the section into a page.

    Args:
        results: `Results`.
        folder: Path, where the picture goes.
        page: Path of a Markdown file that has the section's two marks.

    Returns:
        String, the section.
    """
    comparisons = compare(results.read())
    pictures = {}
    for comparison in comparisons:
        if comparison.savings is not None:
            name = re.sub(r"\W+", "_", comparison.title).lower()
            pictures[comparison.title] = f"{name}.png"
            draw(comparison, folder / f"{name}.png")
    text = section(comparisons, results.read(), pictures)
    page.write_text(replaced(page.read_text(), text))
    return text


def section(comparisons, found, pictures):
    """The section as Markdown.

    Args:
        comparisons: List of `Comparison`.
        found: `{key: result}`.
        pictures: `{title: file name}`.
    """
    parts = [_inventory(found)]
    for comparison in comparisons:
        parts.append(f"### {comparison.title}")
        parts.append(_tuning(comparison))
        parts.append(_references(comparison))
        if comparison.savings is not None:
            name = pictures[comparison.title]
            parts.append(
                "![Loss over FLOPs, and what was saved]"
                f"(../benchmarks/results/evidence/{name})"
            )
            parts.append(_methods(comparison))
    return "\n\n".join(part for part in parts if part)


def replaced(page, text):
    """A page with another section between its two marks.

    Example:

    >>> page = "<!-- evidence: begin -->old<!-- evidence: end -->"
    >>> replaced(page, "new").split()[3:5]
    ['-->', 'new']

    Raises:
        ValueError: the page has no marks.
    """
    begin, end = "<!-- evidence: begin -->", "<!-- evidence: end -->"
    if begin not in page or end not in page:
        raise ValueError(f"The page has no section {begin} ... {end}.")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{text}\n\n{end}{after}"


def _inventory(found):
    done = [run for run in found.values() if run["state"] == "done"]
    if not done:
        return "No run has been made yet."
    failed = len(found) - len(done)
    text = (
        f"{_counted(len(done), 'run')} "
        f"so far, {failed or 'none'} of which failed to end."
        if failed
        else f"{_counted(len(done), 'run')} so far."
    )
    timed = sum(bool(run["seconds_count"]) for run in done)
    if not timed:
        text += (
            " None was timed on an idle machine, so nothing is said of seconds."
        )
    return text


def _counted(number, word):
    return f"{number} {word}" + ("" if number == 1 else "s")


def _tuning(comparison):
    losses = [
        f"{rate:g}: {loss:.4f}"
        for rate, loss in sorted(comparison.tuning.items())
    ]
    text = (
        f"Rates of the shortest reference, and its loss: {'; '.join(losses)}."
    )
    best = comparison.best
    if best is None:
        return f"{text} The best one is not bracketed yet."
    return (
        f"{text} All runs below train at {best.rate:g} with a weight decay of "
        f"{best.weight_decay:g}, if nothing else is said."
    )


def _references(comparison):
    lines = []
    for tokens in sorted({r["spec"]["tokens"] for r in comparison.references}):
        runs = [
            r for r in comparison.references if r["spec"]["tokens"] == tokens
        ]
        error = max(run["validation"]["standard_error"] for run in runs)
        weights = runs[0]["weights"]
        ratio = tokens * weights["blocks"] / weights["all"]
        lines.append(
            f"| {tokens:g} ({ratio:.1f} of all weights) "
            f"| {_spread([run['validation']['loss'] for run in runs], 4)} "
            f"| {error:.4f} "
            f"| {_spread([r['validation']['bits_per_byte'] for r in runs], 4)} "
            f"| {_tera([run['readings'][-1]['flops'] for run in runs])} "
            f"| {len(runs)} |"
        )
    if not lines:
        return ""
    head = (
        "| from scratch, tokens a weight of the blocks | validation loss | "
        "its standard error over windows | bits a byte | TFLOP | seeds |\n"
        "|---|---|---|---|---|---|"
    )
    return "\n".join([head, *lines])


def _methods(comparison):
    rows = sorted(comparison.savings.rows, key=_saving, reverse=True)
    lines = [_row(row, comparison.savings) for row in rows]
    head = f"| {' | '.join(_COLUMNS)} |\n|{'---|' * len(_COLUMNS)}"
    return "\n".join([head, *lines])


def _saving(row):
    saving = row.own_end["flops", True].saving
    return -np.inf if saving is None else saving


def _row(row, savings):
    estimate = row.own_end["flops", True]
    runs = [run for run in savings.runs if run.name == row.name]
    flops = [
        run.source_cost("flops") + run.readings[-1]["flops"] for run in runs
    ]
    gain = row.equal_flops[True]
    cells = (
        row.name,
        _spread(row.final, 4),
        _tera(flops),
        _percent(estimate),
        _between(estimate.interval),
        "" if gain.mean is None else f"{gain.mean:+.4f}",
        str(len(row.seeds)),
    )
    return f"| {' | '.join(cells)} |"


def _percent(estimate):
    if estimate.saving is None:
        return estimate.unknown or "not reached"
    beyond = ", beyond the references" if estimate.extrapolated else ""
    return f"{100 * estimate.saving:.1f} %{beyond}"


def _between(interval):
    if interval is None:
        return ""
    low, high = interval
    return f"{100 * low:.0f} to {100 * high:.0f} %"


def _tera(flops):
    return f"{np.mean(flops) / 1e12:.2f}"


def _spread(values, digits):
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"
