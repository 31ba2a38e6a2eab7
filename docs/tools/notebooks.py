"""Makes a page of every notebook, with the outputs that are stored in it."""

import pathlib
import re

import nbformat
from mkdocs.structure.files import File
from nbconvert import MarkdownExporter

FOLDER = pathlib.Path(__file__).parents[2] / "notebooks"
_BADGE = re.compile(r"^\[!\[Open in Colab\].*$", re.MULTILINE)
_OTHER = re.compile(r"\]\((\d\d_\w+)\.ipynb\)")
_TO_PAGE = re.compile(r"\]\((?:\.\./)+notebooks/(\d\d_\w+)\.ipynb\)")
_TO_INDEX = re.compile(r"\]\((?:\.\./)+notebooks/README\.md\)")


def on_files(files, config):
    """Called by MkDocs with the files of the site; adds the pages, and the
    notebooks' own README as their index."""
    for path in sorted(FOLDER.glob("*.ipynb")):
        text, pictures = page_of(path)
        _add(files, config, f"notebooks/{path.stem}.md", text)
        files.append(
            File.generated(
                config, f"notebooks/{path.name}", abs_src_path=str(path)
            )
        )
        for name, data in pictures.items():
            _add(files, config, f"notebooks/{name}", data)
    index = (FOLDER / "README.md").read_text()
    _add(files, config, "notebooks/index.md", _OTHER.sub(r"](\1.md)", index))
    return files


def on_page_markdown(markdown, page, **kwargs):
    """Called by MkDocs with a page; links to notebooks lead to their pages."""
    del kwargs
    up = "../" * page.file.src_uri.count("/")
    markdown = _TO_INDEX.sub(rf"]({up}notebooks/index.md)", markdown)
    return _TO_PAGE.sub(rf"]({up}notebooks/\1.md)", markdown)


def page_of(path):
    """A notebook as Markdown, and its pictures by the names that it uses.

    Args:
        path: `pathlib.Path` of a notebook.

    Returns:
        `(text, {name: bytes})`.
    """
    exporter = MarkdownExporter()
    resources = {
        "unique_key": path.stem,
        "output_files_dir": f"{path.stem}_files",
    }
    text, found = exporter.from_notebook_node(nbformat.read(path, 4), resources)
    # A reader's browser fetches nothing, so no badge.
    text = _OTHER.sub(r"](\1.md)", text)
    link = f"[Download this notebook]({path.name})"
    return _BADGE.sub(link, text, count=1), found["outputs"]


def _add(files, config, name, content):
    files.append(File.generated(config, name, content=content))
