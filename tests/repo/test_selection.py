"""Which tests run where, and how a long run goes on."""

import types

import pytest
from helpers import selection
from helpers.passed_tests import PassedTests
from hypothesis import given
from hypothesis import strategies as st

pytestmark = pytest.mark.once

CASES = st.lists(
    st.fixed_dictionaries({"a": st.integers(0, 4), "b": st.integers(0, 4)}),
    min_size=1,
    max_size=40,
)


@given(CASES, st.integers(0, 2))
def test_a_sample_is_a_third_or_has_every_value(cases, start):
    kept = selection.sample(cases, start)
    assert kept == selection.sample(cases, start)
    assert 0 < len(kept) <= -(-len(cases) // 3)
    for name in "ab":
        missing = {c[name] for c in cases} - {cases[i][name] for i in kept}
        assert not missing or len(kept) == -(-len(cases) // 3)


def test_a_square_grid_is_covered_by_a_diagonal():
    cases = [{"a": a, "b": b} for a in range(6) for b in range(6)]
    assert len(selection.sample(cases)) == 6


def test_backends_take_different_cases_of_a_list():
    cases = [{"name": i} for i in range(9)]
    kept = [set(selection.sample(cases, s)) for s in range(3)]
    assert set.union(*kept) == set(range(9))


class Item:
    """A test with marks, `(of the test or the file, name)`."""

    def __init__(self, number, *marks):
        self.nodeid = f"file::test[{number}]"
        self.callspec = types.SimpleNamespace(params={"number": number})
        self.marks = [(w, types.SimpleNamespace(name=n)) for w, n in marks]
        self.keywords = {name for _, name in marks}
        self.slow = False

    def iter_markers_with_node(self):
        return iter(self.marks)

    def add_marker(self, mark):
        self.slow = mark.name == "slow"


@pytest.mark.parametrize(
    "marks, backend, where",
    [
        ([], "jax", "quick"),
        ([("test", "compiles")], "jax", "slow"),
        ([("test", "compiles")], "torch", "quick"),
        ([("file", "once")], "jax", "elsewhere"),
        ([("file", "once")], "torch", "quick"),
        ([("test", "each"), ("file", "once")], "jax", "quick"),
        ([("test", "each"), ("test", "compiles")], "jax", "slow"),
        ([("test", "compiles"), ("file", "once")], "tensorflow", "slow"),
        ([("test", "each"), ("file", "compiles")], "tensorflow", "quick"),
        ([("test", "sample"), ("file", "compiles")], "jax", "slow"),
        ([("test", "sample"), ("file", "once")], "jax", "elsewhere"),
    ],
)
def test_marks_decide(marks, backend, where):
    item = Item(0, *marks)
    elsewhere = selection.select([item], backend)
    found = "elsewhere" if elsewhere else "slow" if item.slow else "quick"
    assert found == where


@pytest.mark.parametrize(
    "mark, backend, quick",
    [("grid", "jax", 1), ("grid", "torch", 3), ("sample", "torch", 3)],
)
def test_grids_are_sampled(mark, backend, quick):
    items = [Item(i, ("test", mark)) for i in range(9)]
    assert not selection.select(items, backend)
    assert sum(not item.slow for item in items) == quick


def run(path, outcomes):
    """The tests that one run with `--passed` takes, which end as told."""
    config = types.SimpleNamespace(
        option=types.SimpleNamespace(passed=path),
        hook=types.SimpleNamespace(pytest_deselected=lambda items: None),
    )
    plugin = PassedTests(config)
    items = [types.SimpleNamespace(nodeid=name) for name in outcomes]
    plugin.pytest_collection_modifyitems(config, items)
    for item in items:
        for when in ("setup", "call", "teardown"):
            failed = when == "call" and not outcomes[item.nodeid]
            report = types.SimpleNamespace(
                nodeid=item.nodeid, when=when, failed=failed
            )
            plugin.pytest_runtest_logreport(report)
    return [item.nodeid for item in items]


def test_a_run_goes_on_with_what_has_not_passed(tmp_path, monkeypatch):
    path = tmp_path / "lists" / "torch"
    assert run(path, {"a": True, "b": False}) == ["a", "b"]
    assert run(path, {"a": True, "b": True, "c": True}) == ["b", "c"]
    assert run(path, {"a": True, "b": True, "c": True}) == []
    monkeypatch.setattr("helpers.passed_tests.fingerprint", lambda: "other")
    assert run(path, {"a": True}) == ["a"]
