"""The file of a run: one JSON line per event.

    {"kind": "run", ...}      the first line: name, seed, what it started from
    {"kind": "reading", ...}  the end of an epoch: totals, stages, logs
    {"kind": "growth", ...}   a growth: when, from what to what, how long
    {"kind": "end", ...}      `fit` came to its end

A line says at which step it was written. A run that goes on from an earlier
step first removes what was written after that step, so that no event is
in the file twice.
"""

import json
import os
import pathlib
from dataclasses import dataclass

from kgrow.algebra.errors import GrowthError
from kgrow.analysis.ledger import CostRecord, StageCost
from kgrow.analysis.plots import Curve

UNKNOWN, SCRATCH = "unknown", "scratch"


class RunFile:
    """Writes the lines of one run.

    Args:
        path: Where to write, one file a run.

    Example:

    >>> import tempfile
    >>> file = RunFile(tempfile.mkdtemp() + "/run.jsonl")
    >>> file.begin({"name": "grown"}, step=0, growths=0)
    >>> file.append("reading", step=5, flops=10)
    >>> file.append("reading", step=9, flops=18)
    >>> file.begin({"name": "grown"}, step=5, growths=0)
    >>> [line["kind"] for line in file.lines()]
    ['run', 'reading']
    """

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def lines(self):
        """`[dict, ...]`, one per line; empty if there is no file. A last line
        cut off by a crash is dropped."""
        if not self.path.exists():
            return []
        found = []
        text = self.path.read_text()
        for number, line in enumerate(text.splitlines(), 1):
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError as error:
                if not text.endswith("\n") and number == text.count("\n") + 1:
                    break
                raise GrowthError(
                    f"{self.path} is no record of a run: line {number} is no "
                    f"JSON ({error}). Give another path."
                ) from error
        return found

    def begin(self, header, step, growths):
        """Truncates the file to the events before a step.

        Args:
            header: Dict, what the first line says.
            step: Integer, steps that are trained.
            growths: Integer, how often the model has grown.

        Raises:
            GrowthError: the file is that of a run that came to its end, and
                this one begins anew.
        """
        old = self.lines()
        if old and old[0].get("kind") != "run":
            raise GrowthError(
                f"{self.path} is no record of a run. Give another path."
            )
        if step == 0 and any(line["kind"] == "end" for line in old):
            raise GrowthError(
                f"{self.path} holds a run that came to its end, and this one "
                "starts from step 0. Give another path, or remove the file; "
                "to go on with that run, load its weights before `fit`."
            )
        kept = [
            line
            for line in old[1:]
            if line["step"] <= step
            and line["kind"] != "end"
            and line.get("number", 0) <= growths
        ]
        first = old[0] if step and old else {"kind": "run", **header}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_name(self.path.name + ".new")
        beside.write_text("".join(map(_line, [first, *kept])))
        os.replace(beside, self.path)

    def append(self, kind, **values):
        """Writes one line more."""
        with self.path.open("a") as file:
            file.write(_line({"kind": kind, **values}))


@dataclass(frozen=True)
class Run:
    """The contents of a run's file.

    Args:
        name: String; runs that differ in their seed only share it.
        seed: Integer or `None`.
        readings: Tuple of dicts: `step`, `epoch`, `flops`, `seconds`,
            `tokens`, `learning_rate` and `logs`. FLOPs and seconds are those
            of this run, without its source.
        ledger: `CostRecord`, without the source's stages.
        source: `"scratch"`, `"unknown"`, or the `CostRecord` of what the model
            was grown from.
        growths: Tuple of dicts: `step`, `flops`, `label` and others.
        peak_learning_rate: Number or `None`, the highest there was.
        finished: Boolean, whether `fit` came to its end.
    """

    name: str
    seed: int | None
    readings: tuple
    ledger: CostRecord
    source: object = SCRATCH
    growths: tuple = ()
    peak_learning_rate: float | None = None
    finished: bool = True

    @classmethod
    def load(cls, path):
        """Reads a file of `kgrow.callbacks.Ledger`.

        Raises:
            GrowthError: there is no such file, or it is something else.
        """
        lines = RunFile(path).lines()
        if not lines or lines[0].get("kind") != "run":
            raise GrowthError(
                f"{path} is no record of a run. It should be a file that "
                "`kgrow.callbacks.Ledger` wrote. Received: "
                f"{'no lines' if not lines else lines[0]}"
            )
        header = lines[0]
        readings = tuple(x for x in lines if x["kind"] == "reading")
        rates = [x.get("learning_rate") for x in lines[1:]]
        rates += [x.get("peak_learning_rate") for x in lines[1:]]
        rates = [rate for rate in rates if rate is not None]
        stages = readings[-1]["stages"] if readings else []
        return cls(
            name=header["name"],
            seed=header["seed"],
            readings=readings,
            ledger=CostRecord(header["name"], [StageCost(**s) for s in stages]),
            source=read_source(header["source"]),
            growths=tuple(x for x in lines if x["kind"] == "growth"),
            peak_learning_rate=max(rates, default=None),
            finished=lines[-1]["kind"] == "end",
        )

    @property
    def rate_left(self):
        """The last learning rate as a part of the highest, or `None` where it
        was not logged."""
        if not self.readings or not self.peak_learning_rate:
            return None
        last = self.readings[-1]["learning_rate"]
        return None if last is None else last / self.peak_learning_rate

    def source_cost(self, unit):
        """Cost of the source in `"flops"`, `"seconds"` or `"tokens"`, or `None`
        if unknown."""
        if self.source == SCRATCH:
            return 0.0
        return None if self.source == UNKNOWN else self.source.total(unit)

    def beside(self, unit, source):
        """Costs to add to the run's own.

        Args:
            unit: `"flops"` or `"seconds"`.
            source: Boolean, whether the small model is counted. If so, what
                was spent before this run; if not, less than nothing: what the
                run spent until it first grew, where it began with the small
                model itself.

        Returns:
            Number, or `None` where nobody knows.
        """
        if source:
            return self.source_cost(unit)
        if self.source == SCRATCH and self.growths:
            return -self.growths[0][unit]
        return 0.0

    def values(self, metric):
        """`[(reading, value), ...]` of the readings that have a metric.

        Raises:
            GrowthError: none has it.
        """
        found = [
            (reading, reading["logs"][metric])
            for reading in self.readings
            if reading["logs"].get(metric) is not None
        ]
        if not found:
            known = sorted({k for r in self.readings for k in r["logs"]})
            raise GrowthError(
                f"The run {self.name!r} (seed {self.seed}) has no readings of "
                f"{metric!r}. There are: {', '.join(known) or 'none'}"
            )
        return found

    def curve(self, metric="val_loss", source=False):
        """The run as `kgrow.analysis.plots` draws it.

        Args:
            metric: String, a name in the logs.
            source: Boolean, whether the curve begins after the cost of the
                source. Needs a known source.
        """
        start = {unit: 0.0 for unit in ("flops", "seconds", "tokens")}
        if source:
            start = {unit: self.source_cost(unit) for unit in start}
        if None in start.values():
            raise GrowthError(
                f"What the source of the run {self.name!r} had cost is not "
                "known, so that its curve cannot begin there."
            )
        readings, values = zip(*self.values(metric), strict=True)
        return Curve(
            self.name,
            [start["flops"] + reading["flops"] for reading in readings],
            list(values),
            [start["seconds"] + reading["seconds"] for reading in readings],
            [(start["flops"] + g["flops"], g["label"]) for g in self.growths],
            [start["tokens"] + reading["tokens"] for reading in readings],
        )


def source_config(source):
    """The source of a run, as data that JSON can hold.

    Args:
        source: `"scratch"`, `"unknown"`, a `CostRecord`, or the path of a file:
            that of a run, or what `CostRecord.to_json()` gave.

    Raises:
        GrowthError: it is none of these.

    Example:

    >>> source_config("scratch")
    'scratch'
    >>> small = CostRecord("small", [StageCost("small", flops=5)])
    >>> source_config(small)["name"]
    'small'
    """
    if source in (SCRATCH, UNKNOWN):
        return source
    if isinstance(source, (str, os.PathLike)):
        source = _source_file(source)
    if not isinstance(source, CostRecord):
        raise GrowthError(
            "`source` says what the model cost before this run: 'scratch' if "
            "it starts here, a `CostRecord`, the path of a file that a ledger "
            f"left, or 'unknown'. Received: source={source!r}"
        )
    return json.loads(source.to_json())


def read_source(config):
    """Restores a source from `source_config()`."""
    if config in (SCRATCH, UNKNOWN):
        return config
    return CostRecord.from_json(json.dumps(config))


def _source_file(path):
    path = pathlib.Path(path)
    if not path.exists():
        raise GrowthError(
            "There is no file of the source's cost. Where nobody knows it, "
            f"say source='unknown'. Received: source={str(path)!r}"
        )
    text = path.read_text()
    if not text.lstrip().startswith('{"kind"'):
        return CostRecord.from_json(text)
    run = Run.load(path)
    if run.source == UNKNOWN:
        raise GrowthError(
            f"The run in {path} was itself started from something whose cost "
            "nobody knows. Say source='unknown'."
        )
    before = [] if run.source == SCRATCH else run.source.stages
    return CostRecord(run.name, [*before, *run.ledger.stages])


def _line(values):
    return json.dumps(values) + "\n"
