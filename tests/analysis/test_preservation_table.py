"""The tables in `docs/strategies.md` say what the strategies do today."""

import pathlib
import re

import pytest

import kgrow
from docs.tools.write_tables import read, replace
from kgrow import GrowthError, strategies
from kgrow.analysis.preservation import (
    PreservationRow,
    PreservationTable,
    preservation_table,
)
from kgrow.analysis.preservation.measurement import benches, measure
from kgrow.analysis.preservation.msg import tabulate

pytestmark = pytest.mark.once

PAGE = pathlib.Path(kgrow.__file__).parents[1] / "docs" / "strategies.md"

# Of an inexact number, which has two digits in the page.
CLOSE = 0.03

ADVICE = "run: python -m docs.tools.write_tables"


@pytest.fixture(scope="module")
def page():
    return PAGE.read_text()


@pytest.fixture(scope="module")
def places():
    return benches()


@pytest.fixture(scope="module")
def whole_table(places):
    """The page's own, in both precisions: half a minute."""
    return measure(places)


@pytest.fixture(scope="module")
def table():
    return measure(benches(["pre-LN", "post-LN"], ["float32"]))


@pytest.fixture(scope="module")
def msg(whole_table, places):
    return tabulate(whole_table, places["pre-LN"]["float64"])


def cells(text):
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[c.strip() for c in line.strip("|").split("|")] for line in lines]


def agree(written, now):
    """Whether two cells say the same: words do to the letter, numbers, of
    which the first is in float64, nearly."""
    if written == now:
        return True
    try:
        old, new = ([float(n) for n in c.split(" / ")] for c in (written, now))
    except ValueError:
        return False
    return all(abs(new[0] - n) <= CLOSE * abs(n) for n in old)


def check_page(old, new):
    prose = [
        [line for line in text.splitlines() if not line.startswith("|")]
        for text in (old, new)
    ]
    assert prose[0] == prose[1], ADVICE
    assert len(cells(old)) == len(cells(new)), ADVICE
    for written, now in zip(cells(old), cells(new), strict=True):
        assert len(written) == len(now), ADVICE
        for one, other in zip(written, now, strict=True):
            assert agree(one, other), (ADVICE, written, now)


@pytest.mark.slow
def test_the_page_says_what_is_kept(page, whole_table):
    check_page(read(page, "preservation"), whole_table.to_markdown())
    check_claims(whole_table)


@pytest.mark.slow
def test_the_page_says_what_msg_asks(page, msg):
    check_page(read(page, "msg"), msg.to_markdown())
    names = strategies.names(aliases=False)
    assert [row.strategy for row in msg.rows] == names
    assert msg.to_dict()["rows"][0]["strategy"] == names[0]
    assert "net2net" in str(msg)


def check_claims(table):
    """Both ways round: claims are neither too bold nor too timid. Those of
    strategies that learn may be timid, as the start is all that is kept."""
    assert not table.contradictions
    timid = {row.strategy for row in table.select(verdict="unclaimed")}
    assert all(strategies.get(name).needs_data for name in timid)
    for verdict in ("exact", "exact but for epsilon", "inexact", "refuses"):
        assert table.select(verdict=verdict)


def test_what_is_claimed_is_kept(table):
    check_claims(table)


def test_every_strategy_has_its_rows_and_its_section(page, table):
    headings = "".join(re.findall(r"^###.*", page, re.MULTILINE))
    headings = re.findall(r"`(\w+)`", headings)
    assert len(set(headings)) == len(headings)
    assert set(strategies.names()) <= set(headings)
    names = strategies.names(aliases=False)
    assert {row.strategy for row in table.rows} == set(names)


def test_what_is_not_kept_has_its_reason(table):
    for row in table.rows:
        assert row.kept or row.reason, row
        assert bool(row.differences) == (row.verdict != "refuses"), row


def test_a_table_is_data(table):
    assert PreservationTable.from_dict(table.to_dict()) == table
    assert "net2net" in str(table)


# --- the harness itself -------------------------------------------------------


class Liar(strategies.Net2Net):
    """Claims whatever it does."""

    def claims(self, plan):
        return [kgrow.algebra.Claim("hidden", True, "exact")]


class Coward(strategies.Net2Net):
    """Claims nothing."""

    def claims(self, plan):
        return [kgrow.algebra.Claim("hidden", False, "who knows")]


@pytest.mark.parametrize(
    "strategy, verdict", [(Liar, "CONTRADICTION"), (Coward, "unclaimed")]
)
def test_wrong_claims_are_found_out(strategy, verdict):
    size = "any" if strategy is Liar else "multiple"
    table = preservation_table(
        [strategy("even")], ["pre-LN"], ["hidden"], [size], ["float32"]
    )
    (row,) = table.rows
    assert row.strategy == f"{strategy.__name__}(split='even')"
    assert row.verdict == verdict and row.cell.split()[0] != "0"
    assert (table.contradictions == [row]) == (strategy is Liar)


def test_a_cell_says_both_numbers_only_where_they_differ():
    def cell(one, other):
        differences = {"float32": one, "float64": other}
        place = ("net2net", "pre-LN", "hidden", "any", {}, {})
        return PreservationRow(*place, "inexact", differences, []).cell

    assert cell(0.2501, 0.2499) == "0.25"
    assert cell(0.26, 0.25) == "0.25 / 0.26"


@pytest.mark.parametrize(
    "options, message",
    [
        ({"strategies": ["none"]}, "Unknown strategy"),
        ({"strategies": "lemon"}, "must be a list of strategies"),
        ({"placements": "pre-LN"}, "must be a list of some of"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises(GrowthError, match=message):
        preservation_table(**options)


def test_a_page_without_the_table_stays_as_it_is():
    assert replace("nothing here", "msg", "| a |") == "nothing here"
