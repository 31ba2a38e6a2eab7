"""`kgrow report` of any folder: bad files are named, the rest is reported."""

import json
import os
import subprocess
import sys
import zipfile

import pytest
from typer.testing import CliRunner

from kgrow.analysis.ledger import CostRecord, StageCost
from kgrow_cli import keras_choice
from kgrow_cli.app import app

GOOD = "epoch,val_loss\n0,3.5\n1,2.5\n"
DEEP = "[" * 100_000 + "]" * 100_000
LEDGER = {"kind": "run", "name": "n", "seed": 1, "source": "scratch"}


def lines(*entries):
    return "\n".join(json.dumps(entry) for entry in entries) + "\n"


READING = {
    "kind": "reading",
    "step": 1,
    "epoch": 1,
    "flops": 1.0,
    "seconds": 1.0,
    "tokens": 1,
    "parameters": 1,
    "logs": {"val_loss": 1.0},
    "stages": [],
}
BAD = {
    "a list per line.jsonl": lines([1], [2]),
    "numbers.jsonl": lines(1, 2),
    "no header.jsonl": lines({"kind": "reading"}),
    "odd header.jsonl": lines({"kind": "run"}),
    "text as flops.jsonl": lines(LEDGER, {**READING, "flops": "many"}),
    "a list as a loss.jsonl": lines(
        LEDGER, {**READING, "logs": {"val_loss": [1]}}
    ),
    "no step.jsonl": lines(LEDGER, {**READING, "epoch": None}),
    "infinite.jsonl": lines(LEDGER, {**READING, "flops": float("inf")}),
    "odd stages.jsonl": lines(
        LEDGER, {**READING, "stages": [{"name": 3, "steps": "x"}]}
    ),
    "odd growth.jsonl": lines(
        LEDGER, READING, {"kind": "growth", "label": 3, "step": "x"}
    ),
    "latin.jsonl": "é".encode("latin-1"),
    "deep.jsonl": DEEP,
    "latin.csv": "epoch,loss\n0,é\n".encode("latin-1"),
    "no epoch.csv": "loss\n1\n",
    "text as an epoch.csv": "epoch,loss\nfirst,1\n",
    "infinite epoch.csv": "epoch,loss\ninf,1\n",
    "nothing.csv": "",
    "zeros.csv": "\0\0\0",
    "many growths.csv": "epoch,loss,growths\n0,1,0\n1,1,1e12\n",
    "endless growths.csv": "epoch,loss,growths\n0,1,nan\n1,1,inf\n",
    "a long field.csv": "epoch,loss\n0," + "1" * 200_000 + "\n",
    "deep.json": DEEP,
    "a number.json": "3",
    "odd.json": json.dumps({"name": "n", "stages": [{"name": 1}]}),
    "text.keras": "no archive",
    "text.weights.h5": "no archive",
    "latin.weights.h5": b"\x89HDF\r\n\x1a\n" + b"\xff" * 64,
    r"$\frac{ in a name.csv": GOOD,
    "[b] [lr=1e-3] in a name.csv": GOOD,
    "<script> in a name.csv": GOOD,
}


def report(folder, code=0):
    result = CliRunner().invoke(
        app, ["report", str(folder)], env={"COLUMNS": "200"}
    )
    said = " ".join(f"{result.stdout} {result.stderr}".split())
    assert result.exit_code == code, said
    return said


def put(folder, name):
    folder.mkdir(parents=True, exist_ok=True)
    content = BAD[name]
    if isinstance(content, str):
        content = content.encode()
    (folder / name).write_bytes(content)


@pytest.mark.sample
@pytest.mark.parametrize("name", BAD)
def test_one_bad_file_of_many(name, tmp_path):
    """Beside a good run, in a folder of its own."""
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "log.csv").write_text(GOOD)
    put(tmp_path / "bad", name)
    report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "<td>2.5000</td>" in page


def test_all_of_them_at_once(tmp_path):
    for number, name in enumerate(BAD):
        put(tmp_path / f"run {number}", name)
        put(tmp_path / "together", name)
    (tmp_path / "good").mkdir()
    (tmp_path / "good" / "log.csv").write_text(GOOD)
    said = report(tmp_path)
    assert "<td>2.5000</td>" in (tmp_path / "report.html").read_text()
    for name in ("a list per line.jsonl", "latin.csv", "deep.jsonl"):
        assert f"{name} cannot be read" in said
    assert "<script> in" not in (tmp_path / "report.html").read_text()


def test_names_with_dollars_and_brackets_are_drawn(tmp_path):
    for name in (r"$\frac{", "[b] [lr=1e-3]", "_hidden"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.csv").write_text(GOOD)
    report(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert r"$\frac{" in page and "[b] [lr=1e-3]" in page


def test_a_zip_that_is_no_model(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.keras", "w") as archive:
        archive.writestr("model.weights.h5", "text")
    (tmp_path / "log.csv").write_text(GOOD)
    assert "a.keras" in report(tmp_path)


def test_brackets_in_names_are_printed():
    record = CostRecord(
        "[lr=1e-3] [/b]", [StageCost("[bold]1[/]", 1, 1, 1.0, 1.0, 1)]
    )
    assert "[lr=1e-3] [/b]" in str(record) and "[bold]1[/]" in str(record)


@pytest.mark.parametrize(
    ("installed", "chosen"),
    [
        (("tensorflow", "torch"), None),
        (("torch",), "torch"),
        (("jax", "torch"), "jax"),
    ],
)
def test_a_backend_that_is_installed_is_taken(
    installed, chosen, monkeypatch, tmp_path
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(
        keras_choice.importlib.util,
        "find_spec",
        lambda name: name in installed or None,
    )
    keras_choice._settle()
    assert os.environ.get("KERAS_BACKEND") == chosen
    (tmp_path / "keras.json").write_text(json.dumps({"backend": installed[-1]}))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    keras_choice._settle()
    assert "KERAS_BACKEND" not in os.environ


def test_no_backend_at_all(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setattr(
        keras_choice.importlib.util, "find_spec", lambda name: None
    )
    with pytest.raises(ImportError, match="none is installed"):
        keras_choice._settle()


def test_no_message_sends_to_an_index_that_has_no_kgrow():
    root = os.path.dirname(os.path.dirname(keras_choice.__file__))
    found = subprocess.run(
        ["grep", "-rnE", r"pip install ['\"]?kgrow", "--include=*.py"]
        + [os.path.join(root, name) for name in ("kgrow", "kgrow_cli")],
        capture_output=True,
        text=True,
    )
    assert found.stdout == "", sys.version
