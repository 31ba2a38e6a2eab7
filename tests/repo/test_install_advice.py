"""What users are told to install exists."""

import ast
import pathlib
import re
import tomllib

import pytest

pytestmark = pytest.mark.once

ROOT = pathlib.Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FOLDERS = "kgrow kgrow_cli docs examples notebooks tpu_scripts".split()
# `pip install`, up to three other words of the command, `kgrow` without a path.
FROM_AN_INDEX = re.compile(
    r"pip install (?:[^\s`]*[^\s`.;:] ){0,3}?[\"'\\]*kgrow(?![\w/])"
)
EXTRAS = re.compile(r"\bkgrow\[([\w,-]+)\]")


def strings(tree):
    """The strings of a program; formatted ones with their gaps left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (v for v in node.values if isinstance(v, ast.Constant))
            yield "".join(str(part.value) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def text_of(path):
    text = path.read_text("utf-8")
    if path.suffix == ".py" and ("install" in text or "kgrow[" in text):
        # Sentences are cut between lines of the program.
        text = "\n".join(strings(ast.parse(text)))
    return re.sub(r"\s+", " ", text)


@pytest.fixture(scope="module")
def texts():
    paths = [p for folder in FOLDERS for p in (ROOT / folder).rglob("*")]
    kinds = {".py", ".md", ".ipynb", ".sh", ".html", ".toml"}
    paths = [p for p in paths if p.suffix in kinds]
    paths += [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    return {str(p.relative_to(ROOT)): text_of(p) for p in paths}


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("pip install kgrow", True),
        ('`pip install "kgrow[hub]"`', True),
        ("uv pip install -U 'kgrow[jax]'", True),
        ("pip install torch kgrow", True),
        (r"%pip install \"kgrow[jax,plots]\"", True),
        ('pip install "path/to/kgrow[jax]"', False),
        ("pip install -e ./kgrow", False),
        ("`pip install torch`. kgrow grows models", False),
        ("pip install keras-hub. kgrow grows models", False),
    ],
)
def test_the_pattern_tells_an_index_from_a_checkout(text, wrong):
    assert bool(FROM_AN_INDEX.search(text)) == wrong


def test_sentences_that_a_program_puts_together_are_read(tmp_path):
    path = tmp_path / "message.py"
    path.write_text('raise E(f"{x}: pip "\n    "install kgrow[hub]")\n')
    assert FROM_AN_INDEX.search(text_of(path))


def test_nobody_is_sent_to_an_index_for_kgrow(texts):
    """No index has it: installing is from a checkout."""
    wrong = {
        n: m[0] for n, t in texts.items() if (m := FROM_AN_INDEX.search(t))
    }
    assert not wrong


def test_every_extra_that_is_named_exists(texts):
    named = {
        extra
        for text in texts.values()
        for found in EXTRAS.findall(text)
        for extra in found.split(",")
    }
    assert {"jax", "hub", "hf"} <= named
    assert named <= set(PROJECT["optional-dependencies"])
