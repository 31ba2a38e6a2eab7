"""A page of HTML that needs no other file."""

import base64
import html

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1b; margin: 2rem auto;
  max-width: 60rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
table { border-collapse: collapse; font-size: 0.9rem; display: block;
  overflow-x: auto; }
th, td { padding: 0.25rem 0.8rem 0.25rem 0; text-align: right;
  border-bottom: 1px solid #ddd; white-space: nowrap; }
th { border-bottom: 2px solid #888; font-weight: 600; white-space: normal;
  vertical-align: bottom; }
th.text, td.text { text-align: left; white-space: normal; }
img { max-width: 100%; height: auto; }
footer, .note { color: #555; font-size: 0.85rem; }
@media print { body { margin: 0; max-width: none; font-size: 11px; } }
"""


def make_page(title, parts):
    """The page as text.

    Args:
        title: string.
        parts: list of pieces of HTML, as the functions below make them.

    Example:

    >>> make_page("a < b", [])[:15]
    '<!doctype html>'
    """
    said = html.escape(title)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{said}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{said}</h1>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def heading(text):
    """A heading.

    Example:

    >>> heading("what & why")
    '<h2>what &amp; why</h2>'
    """
    return f"<h2>{html.escape(text)}</h2>"


def note(text):
    """A small line.

    Example:

    >>> note("read: log.csv")
    '<p class="note">read: log.csv</p>'
    """
    return f'<p class="note">{html.escape(text)}</p>'


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
    lines = [_row("th", columns, words)]
    lines += [_row("td", row, words) for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def picture(path, said):
    """An image inside the page itself.

    Args:
        path: `pathlib.Path` of a PNG file.
        said: string, what it shows.
    """
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<img alt="{html.escape(said, quote=True)}" '
        f'src="data:image/png;base64,{data}">'
    )


def _row(tag, cells, words):
    parts = [
        f"<{tag}{' class=' + chr(34) + 'text' + chr(34) if i in words else ''}>"
        f"{html.escape(cell)}</{tag}>"
        for i, cell in enumerate(cells)
    ]
    return f"<tr>{''.join(parts)}</tr>"
