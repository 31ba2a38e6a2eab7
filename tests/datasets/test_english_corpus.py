"""English from Debian packages, on folders made to look like theirs."""

import gzip

import keras
import pytest

from kgrow.algebra.errors import GrowthError
from kgrow.datasets.text import english_corpus, sources
from kgrow.datasets.text.text import Text

# Nothing here depends on the backend.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)

ENTRIES = [
    f"Word{i} \\Word{i}\\, n.\n   Sense {i}.\n\n".encode() for i in range(2000)
]


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _packages(root, pages=60):
    """What the three packages put there, in small."""
    python = root / "doc/python3.11/html/_sources"
    linux = root / "doc/linux-doc-6.1/Documentation"
    for i in range(pages):
        page = f"Page {i}\n=======\n".encode() * 40
        _write(python / "library" / f"{i}.rst.txt", b"Python. " + page)
        _write(linux / "mm" / f"{i}.rst.gz", gzip.compress(b"Linux. " + page))
    _write(linux / "conf.py.gz", gzip.compress(b"no prose"))
    dictionary = gzip.compress(b"".join(ENTRIES))
    _write(root / "dictd/gcide.dict.dz", dictionary)
    return root


@pytest.fixture
def root(tmp_path):
    return _packages(tmp_path / "share")


def test_pages_are_documents_and_the_dictionary_is_cut_between_entries(root):
    found = english_corpus.documents(root)
    pages, blocks = found[:120], found[120:]
    assert all(page.startswith(b"Python. ") for page in pages[:60])
    assert all(page.startswith(b"Linux. ") for page in pages[60:])
    assert len(blocks) > 2
    assert b"".join(blocks) == b"".join(ENTRIES)
    assert all(block.startswith(b"Word") for block in blocks)
    assert all(block.endswith(b"\n\n") for block in blocks)


@pytest.mark.parametrize("package", english_corpus.PACKAGES)
def test_a_missing_package_is_named_with_what_installs_it(root, package):
    for path in english_corpus._files(package, root):
        path.unlink()
    with pytest.raises(
        GrowthError, match=f"missing with: apt-get install {package.name}$"
    ):
        english_corpus.documents(root)


def test_splits_hold_whole_documents(root, monkeypatch):
    documents = english_corpus.documents(root)
    monkeypatch.setattr(english_corpus, "documents", lambda: documents)
    found = sources.documents("english")
    assert sorted(found["train"] + found["validation"]) == sorted(documents)
    assert not {*found["train"]} & {*found["validation"]}
    share = sum(map(len, found["validation"])) / sum(map(len, documents))
    assert 0.05 <= share < 0.2


def test_it_is_a_text_by_name(root, monkeypatch):
    documents = english_corpus.documents(root)
    monkeypatch.setattr(english_corpus, "documents", lambda: documents)
    text = Text("english", "subwords", 270)
    tokens = text.tokens("validation")
    assert text.decode(tokens) == b"".join(text.documents["validation"])
