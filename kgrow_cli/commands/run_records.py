"""Reads the records of runs from a folder: curves, growths, stages."""

import copy
import csv
import io
import math
import pathlib
import zipfile
from dataclasses import dataclass, field

import h5py

from kgrow.algebra.config_fields import text
from kgrow.algebra.plain_data import short
from kgrow.algebra.scalar_checks import check_count, check_number
from kgrow.analysis.ledger import CostRecord
from kgrow.analysis.run_log import Run as LedgerRun
from kgrow.growth.receipt import Receipt
from kgrow.growth.saving.state_schema import unpack

UNITS = ("flops", "seconds", "tokens", "steps", "epochs")
_FORMER = {"steps": "step", "epochs": "epoch"}
_SIZES = ("growths", "parameters", "learning_rate")


@dataclass
class Record:
    """One run, as its files tell it.

    Attributes:
        name: string.
        columns: dict from names (units, metrics) to lists of as many numbers.
        marks: list of `(place in the run's first unit, label)` of growths.
        growths: list of dicts, what is known of each growth.
        ledger: `CostRecord`, or `None`.
        source: FLOPs of the small model before the run, `None` if unknown.
        sources: list of the names of the files that were read.
        notes: list of strings, what could not be read or is missing.
    """

    name: str
    columns: dict = field(default_factory=dict)
    marks: list = field(default_factory=list)
    growths: list = field(default_factory=list)
    ledger: CostRecord | None = None
    source: float | None = None
    sources: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    @property
    def metrics(self):
        """Names of the columns that are neither units nor sizes."""
        return [n for n in self.columns if n not in (*UNITS, *_SIZES)]


def read_records(folder):
    """The runs in a folder and in those below it.

    Each file of a ledger is a run. A file beside it that has its name but for
    the ending belongs to it. What else lies beside a single one, or where
    there is none, belongs to the run of that folder.

    Raises:
        OSError: there is no such folder, or nothing of a run in it.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {str(folder)!r}.")
    places = [folder, *sorted(p for p in folder.rglob("*") if p.is_dir())]
    records = [r for place in places for r in _read_folder(place, folder)]
    if not records:
        raise FileNotFoundError(
            f"nothing of a run is in {str(folder)!r}: no .jsonl of "
            "kgrow.callbacks.Ledger, no .csv of keras.callbacks.CSVLogger, no "
            "growth history in a .keras or .weights.h5 file."
        )
    return records


def _read_folder(place, root):
    name = root.name if place == root else str(place.relative_to(root))
    try:
        files = sorted(p for p in place.iterdir() if p.is_file())
    except OSError as error:
        return [Record(name, notes=[f"the folder cannot be read: {error}"])]
    ledgers = [p for p in files if p.suffix == ".jsonl"]
    named = {path.stem: _read_ledger(path) for path in ledgers}
    records = list(named.values())
    several = len(records) != 1
    others = Record(name) if several else records[0]
    for path in files:
        for end, read in _READERS:
            if path.name.endswith(end):
                record = named.get(path.name.removesuffix(end), others)
                if _was_read(read, record, path):
                    record.sources.append(path.name)
                break
    if several and (others.sources or others.notes):
        records.append(others)
    for each in records:
        if each.growths and each.metrics and not each.marks:
            each.notes.append(
                "no file says where on the curve the growths were; "
                "kgrow.callbacks.Ledger writes one that does"
            )
    return records


def _was_read(read, record, path):
    """Whether a file is of a run and can be read; nobody knows what is in
    it, and one that makes no sense leaves the record as it was."""
    before = copy.deepcopy(record)
    try:
        return read(record, path)
    except Exception as error:
        vars(record).update(vars(before))
        record.notes.append(f"{path.name} cannot be read: {_cause(error)}")
        return False


def _cause(error):
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text[:200]}"


def label_of(before, after):
    """A short description of a growth.

    Example:

    >>> label_of({"num_layers": 2, "units": 8}, {"num_layers": 4, "units": 8})
    'num_layers 2 to 4'
    """
    return _short(
        f"{name} {text(before[name])} to {text(size)}"
        for name, size in after.items()
        if before.get(name) != size
    )


def _short(changes):
    first, *others = [*changes] or ["growth"]
    return f"{first}, +{len(others)}" if others else first


def _read_ledger(path):
    """A `Record` of a file that `kgrow.callbacks.Ledger` wrote."""
    record = Record(path.stem)
    if _was_read(_read_lines, record, path):
        record.sources.append(path.name)
    return record


def _read_lines(record, path):
    run = LedgerRun.load(path)
    seed = "" if run.seed is None else f", seed {run.seed}"
    record.name = f"{run.name}{seed}"
    points = [
        {
            **{u: reading[_FORMER.get(u, u)] for u in UNITS},
            "parameters": reading["parameters"],
            **{k: v for k, v in reading["logs"].items() if k not in UNITS},
        }
        for reading in run.readings
    ]
    _add_points(record, points, path)
    record.ledger, record.source = run.ledger, run.source_cost("flops")
    for growth in run.growths:
        label = _short(growth["label"].split(", "))
        record.marks.append((growth["flops"], label))
        record.growths.append(
            {
                "label": label,
                "strategy": str(growth["strategy"]),
                "step": check_count("step", growth["step"], 0),
                "exact": bool(growth["exact"]),
                "seconds": check_number("seconds", growth["growing_seconds"])
                + check_number("seconds", growth["fitting_seconds"]),
            }
        )
    if not run.finished:
        record.notes.append(f"{path.name}: the run did not come to its end")
    return True


def _read_csv(run, path):
    rows = list(csv.DictReader(io.StringIO(path.read_text())))
    if not rows or "epoch" not in rows[0]:
        return False
    points = []
    for row in rows:
        point = {k: _number(v) for k, v in row.items() if k}
        points.append({k: v for k, v in point.items() if v is not None})
    # Keras counts the epochs from 0, and writes at their ends.
    for point in points:
        point["epochs"] = point.pop("epoch") + 1
    before = run.columns
    _add_points(run, points, path)
    if "growths" in run.columns and not before:
        _mark_growths(run)
    return True


def _read_json(run, path):
    try:
        run.ledger = CostRecord.from_json(path.read_text())
    except (ValueError, TypeError, KeyError, AttributeError):
        return False  # of another program
    return True


def _read_archive(run, path):
    try:
        with zipfile.ZipFile(path) as archive:
            weights = archive.read("model.weights.h5")
        return _read_history(run, path, io.BytesIO(weights))
    except (zipfile.BadZipFile, KeyError) as error:
        run.notes.append(f"{path.name}: {error}")
        return False


def _read_history(run, path, file=None):
    try:
        with h5py.File(file or path) as store:
            if "vars/growth" not in store:
                return False
            state = unpack(store["vars/growth"][()])
    except (OSError, ValueError) as error:
        run.notes.append(f"{path.name}: {error}")
        return False
    _add_receipts(run, state.get("history", []), path)
    return True


_READERS = (
    (".csv", _read_csv),
    (".json", _read_json),
    (".keras", _read_archive),
    (".weights.h5", _read_history),
)


def _add_points(run, points, path):
    """Adds columns; where files tell of more and of fewer points, the first
    to be read stays."""
    points = [
        {name: value for name, value in point.items() if value is not None}
        for point in points
    ]
    for point in points:
        for name, value in point.items():
            unit = name in UNITS
            if not _is_number(value) or (unit and not math.isfinite(value)):
                raise ValueError(f"{name!r} is {short(value)}, no number")
    names = dict.fromkeys(name for point in points for name in point)
    complete = {
        name: [point[name] for point in points]
        for name in names
        if all(name in point for point in points)
    }
    known = len(next(iter(run.columns.values()), []))
    if known and known != len(points):
        run.notes.append(
            f"{path.name}: its {len(points)} points are not the {known} of "
            "another file, and were left out"
        )
        return
    run.columns = {**complete, **run.columns}


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _mark_growths(run):
    """Marks growths where the count of them in Keras' logs goes up."""
    unit = next(unit for unit in UNITS if unit in run.columns)
    before = 0
    for place, count in zip(
        run.columns[unit], run.columns["growths"], strict=True
    ):
        grown = int(count - before)
        if grown > 0:
            label = "growth" if grown == 1 else f"{grown:,} growths"
            run.marks.append((place, label))
        before = max(before, count)


def _add_receipts(run, receipts, path):
    """The longest history: files of one run hold what was grown so far."""
    try:
        found = [Receipt.from_dict(receipt) for receipt in receipts]
    except TypeError as error:
        run.notes.append(f"{path.name}: {error}")
        return
    if not found or len(found) < len(run.growths):
        return
    run.growths = [
        {
            "label": label_of(r.source_config, r.target_config),
            "strategy": r.strategy,
            "step": r.step,
            "exact": r.exact,
            "seconds": r.seconds,
            "parameters": (r.parameters_before, r.parameters_after),
            "difference": r.relative_diff,
            "peak": r.peak_bytes,
        }
        for r in found
    ]
    if len(found) == len(run.marks):
        run.marks = [
            (place, growth["label"])
            for (place, _), growth in zip(run.marks, run.growths, strict=True)
        ]


def _number(value):
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
