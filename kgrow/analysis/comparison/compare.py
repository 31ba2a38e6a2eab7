"""Compute what growing saved, from files of runs, with confidence intervals.

Three questions are asked of each run, for they have different answers.

- *To the reference's end*: what had the run spent when it was first as good as
  the longest reference is at its end? This is how most papers ask. The run's
  learning rate may still be high at that point, which counts against it.
- *To its own end*: what would a reference have had to spend to end as good as
  the run ends? Both ends are decayed, so this is the fair one.
- *At equal FLOPs*: how good is a reference that ends after as many FLOPs?

Each is answered with and without the small model's cost. Its cost is what the
run's source had cost, or, where the run itself began small, what it had spent
until it first grew.

The last two need references of several budgets, each with its own learning
rate, decayed to its own end: a long run that is cut off early is worse than a
short one that was meant to be short, which makes every saving look larger.
Between budgets the metric is taken to be linear in the logarithm of the cost.
"""

import math
from collections.abc import Mapping

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.analysis.comparison.estimates import Difference, Estimate
from kgrow.analysis.comparison.picture import NOT_DECAYED
from kgrow.analysis.comparison.report import UNITS, Savings, SavingsRow
from kgrow.analysis.ledger import cost_to_reach
from kgrow.analysis.run_log import Run

# A rate that ends above this part of its highest has not decayed. Cosines to a
# tenth are usual.
DECAYED = 0.1
_SLACK = 1.001


def savings(
    runs,
    reference,
    metric="val_loss",
    mode="min",
    confidence=0.95,
    undecayed="refuse",
):
    """Compares runs that grew with runs that did not.

    Runs that share their name are one row, over their seeds. A run whose seed
    one of the references has is compared with the references of that seed,
    and only these give a confidence interval.

    Args:
        runs: paths of files that `kgrow.callbacks.Ledger` wrote, or `Run`s, or
            a dict from names to lists of these.
        reference: the same, of the model that the others arrive at, trained
            from scratch. Several budgets, each with its own learning-rate
            schedule, are what the fair comparisons are read off.
        metric: string, a name in the logs, such as `"val_loss"`.
        mode: `"min"` or `"max"`, whether lower or higher is better.
        confidence: float in (0, 1), of the intervals.
        undecayed: `"refuse"` or `"mark"`: what to do with a reference whose
            learning rate is still above a tenth of its highest at its end, or
            was not logged. A marked one is named in the notes.

    Returns:
        `Savings`.

    Raises:
        GrowthError: a file is no run's, a reference's rate has not decayed or
            it did not come to its end, or runs lack the metric.

    Example:

    >>> from kgrow.analysis.ledger import CostRecord, StageCost
    >>> def run(name, flops, loss):
    ...     reading = dict(step=9, flops=flops, seconds=flops, tokens=1,
    ...         learning_rate=0.0, logs={"val_loss": loss})
    ...     first = dict(reading, flops=flops / 2, logs={"val_loss": 3.0})
    ...     return Run(name, 0, (first, reading),
    ...         CostRecord(name, [StageCost("a", flops=flops)]),
    ...         peak_learning_rate=1.0)
    >>> short, long = run("large", 1e9, 2.2), run("large", 2e9, 2.0)
    >>> found = savings([run("grown", 1e9, 2.0)], [short, long])
    >>> print(found.row("grown").own_end["flops", True])
    saves 50.0 % (2.00x), n = 1
    """
    if mode not in ("min", "max"):
        raise GrowthError(f"`mode` is 'min' or 'max'. Received: mode={mode!r}")
    if undecayed not in ("refuse", "mark"):
        raise GrowthError(
            "`undecayed` is 'refuse' or 'mark'. Received: "
            f"undecayed={undecayed!r}"
        )
    if not 0 < confidence < 1:
        raise GrowthError(
            "`confidence` is a number between 0 and 1. Received: "
            f"confidence={confidence!r}"
        )
    runs, reference = _load(runs, "runs"), _load(reference, "reference")
    notes = _check_references(reference, undecayed)
    sign = 1.0 if mode == "min" else -1.0
    scratch = _References(reference, metric, sign)
    names = list(dict.fromkeys(run.name for run in runs))
    rows = tuple(
        _row(
            [run for run in runs if run.name == name],
            scratch,
            metric,
            sign,
            confidence,
        )
        for name in names
    )
    for row in rows:
        if not row.paired:
            notes.append(
                f"{row.name}: its seeds are not those of the references. It is "
                "compared with their mean, and there is no interval."
            )
        elif len(row.seeds) == 1:
            notes.append(f"{row.name}: one seed, so there is no interval.")
    for run in runs:
        if not run.finished:
            notes.append(
                f"{run.name} (seed {run.seed}) did not come to its end."
            )
    return Savings(
        metric,
        rows,
        scratch.budgets(),
        tuple(notes),
        reference,
        runs,
        mode == "min",
    )


class _References:
    """The ends of the references, by seed.

    Args:
        runs: list of `Run`.
        metric: string.
        sign: number that makes lower better.
    """

    def __init__(self, runs, metric, sign):
        self.sign = sign
        self.seeds = {run.seed for run in runs} - {None}
        self._ends = {}
        for run in runs:
            reading, value = run.values(metric)[-1]
            end = (reading["flops"], reading["seconds"], sign * value)
            self._ends.setdefault(run.seed, []).append(end)

    def ends(self, seed):
        """Array of `(flops, seconds, signed value)`, cheapest first: those of
        a seed; the means of all where `None`."""
        if seed in self.seeds:
            return np.array(sorted(self._ends[seed]))
        return self._mean_ends()

    def _mean_ends(self):
        """Runs of about the same budget as one."""
        every = sorted(end for ends in self._ends.values() for end in ends)
        groups = []
        for end in every:
            if groups and end[0] <= 1.02 * groups[-1][0][0]:
                groups[-1].append(end)
            else:
                groups.append([end])
        return np.array([np.mean(group, axis=0) for group in groups])

    def budgets(self):
        """`((flops, value), ...)`, means over seeds."""
        return tuple(
            (float(flops), float(self.sign * value))
            for flops, _, value in self._mean_ends()
        )


def _row(runs, scratch, metric, sign, confidence):
    paired = all(run.seed in scratch.seeds for run in runs)
    both = [(unit, source) for unit in UNITS for source in (True, False)]
    common = dict(asked=len(runs), confidence=confidence, paired=paired)
    to_end = {key: _Gathered() for key in both}
    own_end = {key: _Gathered() for key in both}
    equal = {source: _Gathered() for source in (True, False)}
    for run in runs:
        ends = scratch.ends(run.seed if paired else None)
        points = run.values(metric)
        values = [sign * value for _, value in points]
        for unit, source in both:
            extra = run.beside(unit, source)
            if extra is None:
                for gathered in (to_end, own_end):
                    gathered[unit, source].unknown = _NOT_KNOWN
                continue
            costs = [extra + reading[unit] for reading, _ in points]
            column = UNITS.index(unit)
            to_end[unit, source].add(_to_reference(costs, values, ends, column))
            own_end[unit, source].add(
                _to_own_end(costs[-1], values[-1], ends, column)
            )
        for source in (True, False):
            extra = run.beside("flops", source)
            if extra is None:
                equal[source].unknown = _NOT_KNOWN
                continue
            spent = extra + points[-1][0]["flops"]
            equal[source].add(_at_equal_flops(spent, values[-1], ends))
    return SavingsRow(
        name=runs[0].name,
        seeds=tuple(run.seed for run in runs),
        final=tuple(run.values(metric)[-1][1] for run in runs),
        to_end={k: g.made(Estimate, **common) for k, g in to_end.items()},
        own_end={k: g.made(Estimate, **common) for k, g in own_end.items()},
        equal_flops={k: g.made(Difference, **common) for k, g in equal.items()},
        paired=paired,
    )


_NOT_KNOWN = "not known: nobody said what the source had cost"
_ONE_BUDGET = "needs references of several budgets"
_BEFORE = "no cost left: it was there before the model grew"


class _Gathered:
    """Numbers of several seeds, with notes."""

    def __init__(self):
        self.values, self.extrapolated, self.unknown = [], 0, None

    def add(self, result):
        """Adds a number, a pair `(number, extrapolated)`, `None` for a missing
        number, or a string with the reason why there is none."""
        if isinstance(result, str):
            self.unknown = result
        elif result is not None:
            value, beyond = result
            self.values.append(value)
            self.extrapolated += beyond

    def made(self, cls, **common):
        return cls(
            tuple(self.values),
            extrapolated=self.extrapolated,
            unknown=self.unknown,
            **common,
        )


def _to_reference(costs, values, ends, column):
    """The run's cost to be as good as the longest reference, over that."""
    flops, seconds, target = ends[-1]
    cost = cost_to_reach(costs, values, target)
    if cost is None:
        return None
    if cost <= 0:
        return _BEFORE
    return cost / (flops, seconds)[column], False


def _to_own_end(cost, value, ends, column):
    """The run's cost over that of a reference that ends as good."""
    if len(ends) < 2:
        return _ONE_BUDGET
    if cost <= 0:
        return _BEFORE
    logs, values = np.log(ends[:, column]), ends[:, 2]
    if not np.all(np.diff(values) < 0):
        return "the references of larger budgets do not end better"
    if not np.all(np.diff(logs) > 0):
        return "the references of larger budgets did not take longer"
    index = int(np.clip(np.sum(values > value) - 1, 0, len(values) - 2))
    slope = np.diff(logs)[index] / np.diff(values)[index]
    needed = math.exp(logs[index] + slope * (value - values[index]))
    beyond = not values[-1] <= value <= values[0]
    return cost / needed, beyond


def _at_equal_flops(flops, value, ends):
    """How much better the run ends than a reference of as many FLOPs."""
    if flops <= 0:
        return _BEFORE
    for spent, _, there in ends:
        if abs(flops / spent - 1) < _SLACK - 1:
            return there - value, False
    if len(ends) < 2:
        return _ONE_BUDGET
    logs, values = np.log(ends[:, 0]), ends[:, 2]
    place = math.log(flops)
    index = int(np.clip(np.sum(logs < place) - 1, 0, len(logs) - 2))
    slope = np.diff(values)[index] / np.diff(logs)[index]
    there = values[index] + slope * (place - logs[index])
    return there - value, not logs[0] <= place <= logs[-1]


def _check_references(reference, undecayed):
    """Notes on unsuitable references; raises if one cannot be used."""
    notes = []
    for run in reference:
        name = f"{run.name} (seed {run.seed})"
        if not run.finished:
            raise GrowthError(
                f"The reference {name} did not come to its end. Train it on, "
                "or leave it out."
            )
        left = run.rate_left
        if left is not None and left <= DECAYED * _SLACK:
            continue
        rate = (
            "was not logged"
            if left is None
            else f"ends at {100 * left:.0f} % of its highest"
        )
        if undecayed == "refuse":
            raise GrowthError(
                f"The learning rate of the reference {name} {rate}. Against "
                "a run that has not decayed every method looks good: train "
                "one whose schedule ends with it, at a tenth of its highest "
                "or below, or say undecayed='mark' to have it compared and "
                "named in the notes."
            )
        notes.append(
            f"{NOT_DECAYED}: the learning rate of the reference {name} {rate}. "
            "Savings against it are too large."
        )
    return notes


def _load(runs, argument):
    """A list of `Run`s."""
    if isinstance(runs, Mapping):
        found = []
        for name, some in runs.items():
            for run in _load(some, argument):
                found.append(_renamed(run, name))
        return found
    if isinstance(runs, Run) or not hasattr(runs, "__iter__"):
        runs = [runs]
    if isinstance(runs, str):
        runs = [runs]
    found = [run if isinstance(run, Run) else Run.load(run) for run in runs]
    if not found:
        raise GrowthError(
            f"There are no runs in `{argument}`. Received: {runs}"
        )
    return found


def _renamed(run, name):
    return Run(**{**vars(run), "name": name})
