"""The documentation: every public name is in it, and what it names is there."""

import importlib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
import types

import pytest

import kgrow
from docs.tools import keras_links
from kgrow_cli import app

pytestmark = pytest.mark.once

ROOT = pathlib.Path(app.__file__).parents[1]
API = sorted((ROOT / "docs" / "api").glob("*.md"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PACKAGES = ("algebra", "callbacks", "datasets", "hf", "hub", "layers")
PACKAGES += ("models", "schedules", "strategies", "analysis.ledger")
PACKAGES += ("analysis.plots", "analysis.preservation", "growth.lowering")


def named(page):
    """The dotted names that an API page documents."""
    return re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)


def resolve(name):
    """The object of a dotted name: a module where there is one of that name,
    as for those that read the sources."""
    module, rest = name, []
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            rest.insert(0, last)
    for part in rest:
        found = getattr(found, part)
    return found


def identifier(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def documented():
    """`[(page, dotted name, object), ...]` of all API pages."""
    found = [
        (page.name, name, resolve(name)) for page in API for name in named(page)
    ]
    assert found
    return found


def public(module):
    """`(dotted name, object)` of what a module lists and is no module."""
    for name in module.__all__:
        found = getattr(module, name)
        if not isinstance(found, types.ModuleType):
            yield f"{module.__name__}.{name}", found


@pytest.mark.parametrize("package", ["kgrow", *PACKAGES])
def test_every_public_name_is_on_one_api_page(documented, package):
    path = package if package == "kgrow" else f"kgrow.{package}"
    for name, found in public(importlib.import_module(path)):
        pages = [page for page, _, other in documented if other is found]
        assert len(pages) == 1, f"{name} is on the pages {pages}"


def test_every_public_package_is_looked_at():
    """Every module that `kgrow` lists is among those of the test above."""
    listed = {
        found.__name__.removeprefix("kgrow.")
        for found in (getattr(kgrow, name) for name in kgrow.__all__)
        if isinstance(found, types.ModuleType)
    }
    assert listed <= set(PACKAGES)


def test_what_is_documented_has_a_docstring(documented):
    for _, name, found in documented:
        assert not isinstance(found, types.ModuleType), name
        if isinstance(found, (type, types.FunctionType)):
            assert (found.__doc__ or "").strip(), name


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_links_lead_to_files(page):
    """As a code host follows them; those of the site are checked with it."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        path = link.partition("#")[0]
        if path and "://" not in link:
            assert (page.parent / path).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=identifier)
def test_commands_and_tests_that_are_named_exist(page):
    """Scripts, tests, modules and targets that a page points to."""
    text = page.read_text()
    folders = "benchmarks|examples|kgrow|kgrow_cli|notebooks|tests"
    for path in re.findall(rf"\b(?:{folders})/[\w/]+\.(?:py|ipynb)\b", text):
        assert (ROOT / path).is_file(), path
    for path, name in re.findall(r"([\w/]*test_\w+\.py)::(test_\w+)", text):
        source = (ROOT / path).read_text()
        assert f"def {name}(" in source, f"{path}::{name}"
    for module in re.findall(r"python -m (kgrow[\w.]*)", text):
        assert importlib.util.find_spec(module), module
    targets = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.M):
        assert re.search(rf"^{''.join(target)}:", targets, re.M), target


# --- the site ----------------------------------------------------------------


def tool(name):
    """A module of `docs/tools`."""
    path = ROOT / "docs" / "tools" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"docs_{name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site; every warning is an error."""
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", folder],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_holds_every_page_and_name(site, documented):
    for page in (ROOT / "docs").rglob("*.md"):
        path = page.relative_to(ROOT / "docs").with_suffix(".html")
        assert (site / path).is_file(), path
    for page, name, _ in documented:
        text = (site / "api" / page).with_suffix(".html").read_text()
        assert f'id="{name}"' in text, f"{page}: {name}"
    commands = (site / "api" / "cli.html").read_text()
    assert "while it trains, and see whether it pays" in commands
    assert "[bold]" not in commands and "span style" not in commands
    assert (site / "changelog.html").is_file()
    assert not (site / "tools").exists()


def test_a_reader_s_browser_fetches_nothing(site):
    fetched = re.compile(
        r'<(?:script|img|iframe)[^>]*\ssrc="(?:https?:)?//'
        r'|<link[^>]*rel="(?:stylesheet|preconnect)"[^>]*href="(?:https?:)?//'
    )
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(API)
    for page in pages:
        assert not fetched.search(page.read_text()), page


@pytest.mark.parametrize(
    "name", [p.stem for p in sorted((ROOT / "notebooks").glob("*.ipynb"))]
)
def test_every_notebook_has_a_page_with_its_pictures(site, name):
    page = (site / "notebooks" / f"{name}.html").read_text()
    pictures = {
        path.name
        for path in (site / "notebooks" / f"{name}_files").iterdir()
        if path.suffix == ".png"
    }
    assert pictures and all(f"{name}_files/{p}" in page for p in pictures)
    assert (site / "notebooks" / f"{name}.ipynb").is_file()


def test_names_of_keras_lead_to_its_documentation(site):
    page = (site / "api" / "layers.html").read_text()
    link = keras_links.BASE + keras_links.PAGES["keras.layers.Layer"]
    assert f'<a href="{link}"><code>keras.layers.Layer</code></a>' in page
    assert keras_links.url_of("keras.src.ops") is None


@pytest.mark.parametrize("name", keras_links.PAGES)
def test_names_that_are_linked_are_keras_s(name):
    assert resolve(name) is not None


def test_examples_are_code(site):
    """No example is set as nested quotations, and none as running text."""
    seen = 0
    for page in (site / "api").glob("*.html"):
        text = page.read_text()
        assert "<blockquote>" not in text, page.name
        prose = re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.DOTALL)
        assert "&gt;&gt;&gt;" not in prose, page.name
        seen += text.count('<span class="gp">&gt;&gt;&gt; </span>')
    assert seen > 100


def test_tables_and_lists_are_whole(site):
    """No row of a table that a blank line cut off stands as text, and no
    fence, directive or marker is left over."""
    for page in site.rglob("*.html"):
        prose = re.sub(
            r"<(pre|code)\b.*?</\1>", "", page.read_text(), flags=re.DOTALL
        )
        for left in ("<p>|", "```", "<p>:::", "<!-- commands"):
            assert left not in prose, f"{page.name}: {left}"


def test_docstrings_become_markdown():
    pytest.importorskip("griffe")
    text = (
        "Adds.\n\nCall arguments:\n    x: a\n        number.\n    y: another."
        "\n\nReturns:\n    The sum.\n\nExample:\n\n>>> 1 + 1\n2\n\nMore."
    )
    assert tool("docstrings").markdown(text) == (
        "Adds.\n\n**Call arguments:**\n\n- **`x`** – a\n    number.\n"
        "- **`y`** – another.\n\n**Returns:**\n\nThe sum.\n\n**Example:**\n\n"
        "```pycon\n>>> 1 + 1\n2\n```\n\nMore."
    )
