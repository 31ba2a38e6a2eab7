"""Links names of Keras to their pages on keras.io, in guides and API pages."""

import pathlib
import re
import tomllib

BASE = "https://keras.io/api/"
PAGES = tomllib.loads(pathlib.Path(__file__).with_suffix(".toml").read_text())
# Code in text; not in a block, and not in a link already.
_NAME = re.compile(
    r"(?<!\">)<code>(keras(?:\.\w+)+)((?:\([^<]*\))?)</code>(?!</a>)"
)


def on_page_content(html, **kwargs):
    """Called by MkDocs with the HTML of a page's Markdown."""
    del kwargs
    return _NAME.sub(_linked, html)


def url_of(name):
    """The page of a name, or `None`.

    >>> url_of("keras.callbacks.History")
    'https://keras.io/api/callbacks/'
    """
    known = name if name in PAGES else name.rpartition(".")[0]
    return BASE + PAGES[known] if known in PAGES else None


def _linked(match):
    url = url_of(match[1])
    return match[0] if url is None else f'<a href="{url}">{match[0]}</a>'
