"""The README: short, and its code runs as printed."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import keras
import pytest

ROOT = pathlib.Path(__file__).parents[2]
TEXT = (ROOT / "README.md").read_text("utf-8")
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.once
def test_it_is_short():
    assert len(TEXT.splitlines()) <= 160


@pytest.mark.once
def test_its_first_sentence_says_what_kgrow_does():
    first = TEXT.split("\n\n")[1].lower()
    for word in ("function-preserving", "net2net", "lemon", "ligo", "msg"):
        assert word in first


@pytest.mark.once
def test_its_snippets_are_python():
    assert SNIPPETS
    for snippet in SNIPPETS:
        ast.parse(snippet)


@pytest.mark.once
def test_the_site_begins_with_the_same_example():
    assert SNIPPETS[0] in (ROOT / "docs" / "index.md").read_text("utf-8")


@pytest.mark.slow
def test_its_snippets_run_as_printed_and_in_order(tmp_path):
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        "PYTHONPATH": str(ROOT),
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        [sys.executable, "-c", "".join(SNIPPETS)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert "function kept" in done.stdout
    # The sizes of the receipt that is shown; losses depend on the backend.
    rows = re.findall(r"^│ (?!loss).*│$", TEXT, re.MULTILINE)
    assert rows and all(row in done.stdout for row in rows)
