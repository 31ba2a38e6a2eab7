"""Writes the measured tables into `docs/strategies.md`, or with `--hub` those
of KerasHub's classes into `docs/kerashub.md`.

python -m kgrow.testing.write_tables [--hub] [path]
"""

import pathlib
import re
import sys

from kgrow.testing.msg import tabulate
from kgrow.testing.preservation import benches, measure

PAGE = pathlib.Path("docs/strategies.md")
HUB_PAGE = pathlib.Path("docs/kerashub.md")


def read(page, name):
    """The table `name` as it stands in a page, without its markers.

    Example:

    >>> read("<!-- msg: begin -->\\n\\n| a |\\n\\n<!-- msg: end -->", "msg")
    '| a |'
    """
    return _pattern(name).search(page)["table"].strip()


def replace(page, name, text):
    """The page with another table `name`.

    Example:

    >>> page = "<!-- msg: begin --><!-- msg: end -->"
    >>> read(replace(page, "msg", "| b |"), "msg")
    '| b |'
    """
    return _pattern(name).sub(
        lambda match: f"{match['begin']}\n\n{text}\n\n{match['end']}", page
    )


def _pattern(name):
    return re.compile(
        f"(?P<begin><!-- {name}: begin -->)(?P<table>.*?)"
        f"(?P<end><!-- {name}: end -->)",
        re.DOTALL,
    )


def main(path=PAGE):
    path = pathlib.Path(path)
    page = path.read_text()
    places = benches()
    table = measure(places)
    msg = tabulate(table, places["pre-LN"]["float64"])
    page = replace(page, "preservation", table.to_markdown())
    path.write_text(replace(page, "msg", msg.to_markdown()))
    for row in table.contradictions:
        print(f"{row.strategy}, {row.dim}, {row.placement}: {row.cell}")
    return len(table.contradictions)


def write_hub(path=HUB_PAGE):
    from kgrow.testing.hub_table import hub_table, to_markdown

    path = pathlib.Path(path)
    rows = hub_table(report=lambda row: print(*row.line, sep=" | "))
    path.write_text(replace(path.read_text(), "hub", to_markdown(rows)))
    return sum("CONTRADICTION" in cell for row in rows for cell in row.line)


if __name__ == "__main__":
    hub = sys.argv[1:2] == ["--hub"]
    sys.exit(write_hub(*sys.argv[2:]) if hub else main(*sys.argv[1:]))
