"""A page of HTML that needs no other file.

The templates are in `kgrow_cli/templates/`; Jinja2 escapes what they are given.
"""

import base64
import functools

import jinja2


def make_page(title, parts):
    """The page as text.

    Args:
        title: string.
        parts: list of pieces of HTML, as the functions below make them.

    Example:

    >>> make_page("a < b", [])[:15]
    '<!doctype html>'
    """
    page = _environment().get_template("page.html")
    return page.render(title=title, parts=parts)


def heading(text):
    """A heading.

    Example:

    >>> str(heading("what & why"))
    '<h2>what &amp; why</h2>'
    """
    return _macros().heading(text)


def note(text):
    """A small line.

    Example:

    >>> str(note("read: log.csv"))
    '<p class="note">read: log.csv</p>'
    """
    return _macros().note(text)


def table(columns, rows, words=(0,)):
    """A table.

    Args:
        columns: list of strings.
        rows: list of lists of strings.
        words: numbers of the columns that hold words, set to the left.

    Example:

    >>> table(["run", "loss"], [["a", "2.5"]]).count("<td")
    2
    """
    return _macros().table(columns, rows, words)


def picture(path, alt):
    """An image inside the page itself.

    Args:
        path: `pathlib.Path` of a PNG file.
        alt: string, what it shows.
    """
    data = base64.b64encode(path.read_bytes()).decode()
    return _macros().picture(alt, data)


@functools.cache
def _environment():
    return jinja2.Environment(
        loader=jinja2.PackageLoader("kgrow_cli"),
        autoescape=True,
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
    )


@functools.cache
def _macros():
    return _environment().get_template("parts.html").module
