"""`docs/kerashub.md` says what of KerasHub grows today."""

import pathlib
import re

import keras
import pytest

import kgrow
from kgrow.testing.write_tables import read

pytest.importorskip("keras_hub")
from kgrow.testing.hub_models import CONFIGS, NOT_TRIED  # noqa: E402
from kgrow.testing.hub_table import hub_row, table_names  # noqa: E402

PAGE = pathlib.Path(kgrow.__file__).parents[1] / "docs" / "kerashub.md"
QUICK = ["BertBackbone", "GPT2Backbone", "LlamaBackbone"]
ADVICE = "run: KERAS_BACKEND=jax python -m kgrow.testing.write_tables --hub"

jax_only = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="elsewhere a process derives"
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


def rows():
    lines = read(PAGE.read_text(), "hub").splitlines()[2:]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in lines]
    return {line[0].strip("`"): line for line in cells}


def words(cells):
    """What does not depend on the machine: neither times nor rounding."""
    number = re.compile(r"[\d.]+e[+-]\d+")
    kept = [c for place, c in enumerate(cells) if place != 1]
    return [number.sub("", c).strip() for c in kept]


def check(name):
    row = hub_row(name)
    assert words(rows()[name]) == words(
        re.split(r"(?<!\\) \| ", " | ".join(row.line).strip("| "))
    ), ADVICE


def test_the_page_has_each_class_once():
    assert list(rows()) == table_names(), ADVICE
    assert set(CONFIGS) | set(NOT_TRIED) == set(table_names())


@jax_only
@pytest.mark.parametrize("name", QUICK)
def test_the_page_says_what_grows(name):
    check(name)


@jax_only
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(QUICK)))
def test_the_page_says_what_grows_of_every_class(name):
    check(name)
