"""Writes the measured tables into `docs/strategies.md`.

python -m kgrow.testing.write_tables [path]
"""

import pathlib
import re
import sys

from kgrow.testing.msg import tabulate
from kgrow.testing.preservation import benches, measure

PAGE = pathlib.Path("docs/strategies.md")


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


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
