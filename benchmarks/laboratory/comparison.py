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
        rate: Float or `None`, the one that is best for the reference.
        tuning: Dict from rates to losses.
        references: List of results, from scratch at that rate.
        grown: List of results, of all recipes.
        savings: `kgrow.analysis.comparison.report.Savings`, or `None` where
            there are no references of two lengths, or nothing beside them.
    """

    rung: str
    text: str
    decay: str
    rate: float | None
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
    rate = plan.best_rate(base, found, decay)
    references = [run for run in runs if _is_reference(run, rate)]
    grown = [run for run in runs if run["spec"]["recipe"] != "scratch"]
    lengths = {run["spec"]["tokens"] for run in references}
    savings = None
    if len(lengths) > 1 and grown:
        savings = kgrow.savings(
            [_named(run, rate) for run in grown], list(map(as_run, references))
        )
    tuning = plan.tuned(base, found, decay)
    return Comparison(
        rung, text, decay, rate, tuning, references, grown, savings
    )


def _is_reference(run, rate):
    return run["spec"]["recipe"] == "scratch" and run["spec"]["rate"] == rate


def _named(run, rate):
    """A `kgrow.Run` whose name tells it from runs of the same recipe that
    were trained in another way."""
    spec, name = run["spec"], run["name"]
    if spec["rate"] != rate:
        name += f", rate {spec['rate']:g}"
    usual = plan.length(spec["recipe"]) * plan.LONGEST
    if spec["tokens"] != usual:
        name += f", {spec['tokens']:g} tokens"
    return kgrow.Run(**{**vars(as_run(run)), "name": name})
