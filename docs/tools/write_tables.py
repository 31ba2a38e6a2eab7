"""Writes the measured tables into `docs/strategies.md`, or with `--hub` the
rows of KerasHub's classes, of all or of those that are named, into
`docs/kerashub.md`. A row is written as soon as it is measured, so that several
processes can share the work, and one that is interrupted loses nothing. With
`--hf`, the table of grown folders into `docs/safetensors.md`. With
`--evidence`, what the advisor reads into `docs/advice.md`.

python -m docs.tools.write_tables [path]
python -m docs.tools.write_tables --hub [NAME ...]
python -m docs.tools.write_tables --hf
python -m docs.tools.write_tables --evidence
"""

import argparse
import contextlib
import os
import pathlib
import re
import sys

from kgrow.analysis.preservation.measurement import benches, measure
from kgrow.analysis.preservation.msg import tabulate

PAGE = pathlib.Path("docs/strategies.md")
HUB_PAGE = pathlib.Path("docs/kerashub.md")
HF_PAGE = pathlib.Path("docs/safetensors.md")


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


def write_hub(names=(), path=HUB_PAGE):
    """Measures rows of KerasHub's classes and writes each into the page.

    Args:
        names: names of classes in `keras_hub.models`; all if there are none.
        path: the page.

    Returns:
        int, the number of rows that contradict themselves.

    Raises:
        ValueError: a name that the table has no row for.
    """
    from docs.tools.hub_table import hub_row, table_names

    known = table_names()
    names = list(names) or known
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(
            f"The table has no row for {unknown}. Received: names={names}. "
            f"There are: {known}"
        )
    wrong = 0
    for number, name in enumerate(names, 1):
        cells = hub_row(name).line
        merge(cells, known, pathlib.Path(path))
        wrong += any("CONTRADICTION" in cell for cell in cells)
        print(f"{number}/{len(names)}:", *cells, sep=" | ", flush=True)
    return wrong


def write_hf(path=HF_PAGE):
    """Grows tiny folders of every architecture, and writes what was kept."""
    from docs.tools.hf_models import exactness_table

    page = path.read_text()
    path.write_text(replace(page, "hf", exactness_table()))
    return 0


def write_evidence():
    """Writes the evidence that `kgrow.advise` reads."""
    from docs.tools.evidence_tables import write

    write()
    return 0


def merge(cells, known, path):
    """Puts one row into the page of KerasHub's classes, and counts anew.

    Args:
        cells: the row.
        known: names of the classes that have a row; others are dropped.
        path: `pathlib.Path` of the page.
    """
    from docs.tools.hub_table import counts, from_markdown, to_markdown

    with _alone(path):
        page = path.read_text()
        lines = from_markdown(read(page, "hub"))
        lines[cells[0].strip("`")] = cells
        lines = {name: lines[name] for name in known if name in lines}
        page = replace(page, "hub", to_markdown(lines))
        page = replace(page, "hub counts", counts(lines))
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(page)
        part.replace(path)


@contextlib.contextmanager
def _alone(path):
    """Context in which no other process merges into the page."""
    import fcntl

    # Not the page: it is another file after each row.
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def command():
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("path", nargs="?", default=PAGE)
    parser.add_argument("--hub", nargs="*", metavar="NAME")
    parser.add_argument("--hf", action="store_true")
    parser.add_argument("--evidence", action="store_true")
    options = parser.parse_args()
    if options.evidence:
        return write_evidence()
    if options.hf:
        return write_hf()
    if options.hub is None:
        return main(options.path)
    return write_hub(options.hub)


if __name__ == "__main__":
    sys.exit(command())
