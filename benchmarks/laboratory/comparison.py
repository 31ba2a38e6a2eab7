"""Results set against the references of their rung, text and decay."""

from dataclasses import dataclass

import kgrow
from laboratory import plan
from laboratory.files import DONE
from laboratory.spec import RunSpec
from laboratory.training import as_run


@dataclass(frozen=True)
class Comparison:
    """All runs of one rung, on one text, under one decay.

    Args:
        rung: String.
        text: String.
        decay: String.
        best: `RunSpec` of the longest reference, with the rate and the weight
            decay that are best, or `None` where they are not known yet.
        tuning: Dict from rates to losses.
        references: List of results, from scratch in that setting.
        grown: List of results, of all recipes.
        savings: `kgrow.analysis.comparison.report.Savings`, or `None` where
            there are no references of two lengths, or nothing beside them.
    """

    rung: str
    text: str
    decay: str
    best: RunSpec | None
    tuning: dict
    references: list
    grown: list
    savings: object

    @property
    def title(self):
        return f"{self.rung}, {self.text}, {self.decay}"


def compare(found):
    """A `Comparison` for each rung, text and decay that has results.

    Args:
        found: `{key: result}`, of `Results.read()`.
    """
    done = [result for result in found.values() if result["state"] == DONE]
    groups = {}
    for result in done:
        spec = result["spec"]
        group = spec["rung"], spec["text"], spec["decay"]
        groups.setdefault(group, []).append(result)
    return [_compared(*group, runs, found) for group, runs in groups.items()]


def _compared(rung, text, decay, runs, found):
    base = RunSpec(rung, text, "scratch")
    best = plan.best_setting(base, found, decay)
    references = [run for run in runs if _is_reference(run, best)]
    grown = [run for run in runs if run["spec"]["recipe"] != "scratch"]
    lengths = {run["spec"]["tokens"] for run in references}
    savings = None
    if len(lengths) > 1 and grown:
        savings = kgrow.savings(
            [_named(run, best) for run in grown], list(map(as_run, references))
        )
    tuning = plan.tuned(base, found, decay)
    return Comparison(
        rung, text, decay, best, tuning, references, grown, savings
    )


def _is_reference(run, best):
    if best is None or run["spec"]["recipe"] != "scratch":
        return False
    return not _differences(run["spec"], best)


def _differences(spec, best):
    """What of a run's training is not as in the reference, as words."""
    return [
        f"{name.replace('_', ' ')} {spec[name]:g}"
        for name in ("rate", "weight_decay", "batch")
        if spec[name] != getattr(best, name)
    ]


def _named(run, best):
    """A `kgrow.Run` whose name tells it from runs of the same recipe that
    were trained in another way."""
    spec = run["spec"]
    words = [run["name"], *_differences(spec, best)]
    usual = plan.length(spec["recipe"]) * plan.LONGEST
    if spec["tokens"] != usual:
        words.append(f"{spec['tokens']:g} tokens")
    return kgrow.Run(**{**vars(as_run(run)), "name": ", ".join(words)})
