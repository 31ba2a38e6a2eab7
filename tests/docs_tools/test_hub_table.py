"""`docs/kerashub.md` says what of KerasHub grows today."""

import pathlib
import re

import keras
import pytest

import kgrow
from docs.tools.write_tables import merge, read, write_hub

pytest.importorskip("keras_hub")
from docs.tools.hub_models import CONFIGS, NOT_TRIED  # noqa: E402
from docs.tools.hub_table import (
    HubRow,
    counts,
    from_markdown,
    hub_row,
    table_names,
    to_markdown,
)

pytestmark = pytest.mark.once

PAGE = pathlib.Path(kgrow.__file__).parents[1] / "docs" / "kerashub.md"
QUICK = ["BertBackbone", "GPT2Backbone", "LlamaBackbone"]
ADVICE = "run: KERAS_BACKEND=jax python -m docs.tools.write_tables --hub"

jax_only = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="elsewhere a process derives"
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


def rows():
    return from_markdown(read(PAGE.read_text(), "hub"))


def words(cells):
    """What does not depend on the machine: neither times nor rounding."""
    number = re.compile(r"[\d.]+e[+-]\d+")
    kept = [c for place, c in enumerate(cells) if place != 1]
    return [number.sub("", c).strip() for c in kept]


def check(name):
    row = hub_row(name)
    assert words(rows()[name]) == words(row.line), ADVICE


def test_the_page_has_each_class_once():
    assert list(rows()) == table_names(), ADVICE
    assert set(CONFIGS) | set(NOT_TRIED) == set(table_names())


def test_the_page_counts_its_rows():
    assert read(PAGE.read_text(), "hub counts") == counts(rows()), ADVICE


# Its recurrence adds rounding up over positions, which the tolerance does not
# know of: twice what is allowed. The page says so.
KNOWN = ["RWKV7Backbone"]


def test_no_row_contradicts_itself_unnoticed():
    found = [n for n, c in rows().items() if "CONTRADICTION" in " ".join(c)]
    assert found == KNOWN


def test_rows_are_merged_one_by_one(tmp_path):
    old = {n: HubRow(n, reason="no").line for n in ("ABackbone", "BBackbone")}
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- hub counts: begin --><!-- hub counts: end -->\n"
        f"<!-- hub: begin -->\n{to_markdown(old)}\n<!-- hub: end -->"
    )
    new = HubRow("CBackbone", 1.0, {"units": []}, ["units"], {"ffn": "exact"})
    merge(new.line, ["BBackbone", "CBackbone"], page)
    assert from_markdown(read(page.read_text(), "hub")) == {
        "BBackbone": old["BBackbone"],
        "CBackbone": new.line,
    }
    assert read(page.read_text(), "hub counts").startswith(
        "2 classes, 1 derived, 1 of them with a field that grows.\nFfn"
    )


def test_a_name_without_a_row_is_refused():
    with pytest.raises(ValueError, match="no row for"):
        write_hub(["GPT17Backbone"])


@pytest.mark.once
@jax_only
@pytest.mark.parametrize("name", QUICK)
def test_the_page_says_what_grows(name):
    check(name)


@jax_only
@pytest.mark.each
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CONFIGS) - set(QUICK)))
def test_the_page_says_what_grows_of_every_class(name):
    check(name)
