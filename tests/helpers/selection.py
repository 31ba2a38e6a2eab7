"""Which tests are quick on which backend, by their marks.

Torch runs all quick tests, because nothing is compiled there. On the others
`compiles` leaves a test to `make slow`, and `once` leaves it out. `each` takes
back what its file says of all tests. `grid` takes some of a test's cases on
every backend; `sample` does on torch, and elsewhere as its file's mark says.
A test whose cases are the families runs on torch for each of them.
"""

import collections
import math

import pytest

import kgrow

ALL = "torch"

# Other backends test these families; torch tests every family.
EVERYWHERE = ("BERT", "GPT2", "MLP")

# Backends take different cases of equal worth.
START = {"jax": 0, "tensorflow": 1, "torch": 2}

# Of a grid's cases, one in so many is quick.
ONE_IN = {"jax": 48, "tensorflow": 48, "torch": 3}

STRONGEST_FIRST = ("compiles", "grid", "once", "each")


def select(items, backend):
    """Returns the items that do not run on this backend at all.

    Marks others as slow. The choice is the same in every run and process.
    """
    grids = collections.defaultdict(list)
    elsewhere = []
    for item in items:
        mark = _mark(item) or "each"
        if backend == ALL and mark != "grid":
            mark = "each"
        if mark == "each" and "sample" in item.keywords:
            mark = "grid"
        if mark == "once":
            elsewhere.append(item)
        elif mark == "compiles" or backend != ALL and _of_another_family(item):
            item.add_marker(pytest.mark.slow)
        elif mark == "grid":
            grids[item.nodeid.partition("[")[0]].append(item)
    for cases in grids.values():
        params = [case.callspec.params for case in cases]
        if backend == ALL and set(params[0]) == {"family"}:
            continue
        kept = sample(params, START[backend], ONE_IN[backend])
        for number, item in enumerate(cases):
            if number not in kept:
                item.add_marker(pytest.mark.slow)
    return elsewhere


def _mark(item):
    """The mark that decides elsewhere than on torch: a test's own before its
    file's."""
    nearest = None
    found = set()
    for node, mark in item.iter_markers_with_node():
        if mark.name in STRONGEST_FIRST:
            nearest = nearest or node
            found |= {mark.name} if node is nearest else set()
    return min(found, key=STRONGEST_FIRST.index, default=None)


def _of_another_family(item):
    """Whether a test of all families is run for one of the rest."""
    if not hasattr(item, "callspec"):
        return False
    params = item.callspec.params
    family = str(params.get("family", params.get("growth", ""))).split("-")[0]
    return family in kgrow.models.registered() and family not in EVERYWHERE


def sample(cases, start=0, one_in=3):
    """Numbers of some of the cases, with as many values as possible.

    Greedy: each next case brings the most values that no earlier one has.
    Stops when every value of every parameter is there, or at the share.

    Args:
        cases: list of dicts from a parameter to its value.
        start: which of the cases that bring equally many comes first.
        one_in: as many cases at most as there are in all, divided by this.

    >>> grid = [{"a": a, "b": b} for a in "pqr" for b in "xyz"]
    >>> [tuple(grid[i].values()) for i in sample(grid)]
    [('p', 'x'), ('q', 'y'), ('r', 'z')]
    """
    pairs = [{(k, repr(v)) for k, v in case.items()} for case in cases]
    numbers = range(len(cases))
    order = sorted(numbers, key=lambda i: ((i - start) % one_in, i))
    chosen, seen = [], set()
    while len(chosen) < math.ceil(len(cases) / one_in):
        best = max(order, key=lambda i: len(pairs[i] - seen))
        if not pairs[best] - seen:
            break
        chosen.append(best)
        seen |= pairs[best]
    return sorted(chosen)
