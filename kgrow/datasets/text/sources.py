"""Where text comes from: the standard library, English, a folder, or TFDS.

A source is a list of documents, bytes, for each of two splits. The standard
library's files are dealt by their names, see
`kgrow.datasets.text.stdlib_corpus`. All others are dealt by a hash of what is
in them: a twentieth of the bytes is for validation, whole documents of it, so
that equal documents are on one side. A file longer than 64 KiB counts as
several documents, cut where lines end, so that a single long file can be
learned from; parts of one file may then be on both sides.

All of a text is held in memory. Of a large data set of TFDS take a slice:
`"tfds:lm1b@train[:5%]"`.
"""

import hashlib
import pathlib

from kgrow.algebra.errors import GrowthError
from kgrow.datasets.text import english_corpus, stdlib_corpus
from kgrow.datasets.tfds import builder_of, load_tfds

STDLIB = "stdlib"
ENGLISH = "english"
TFDS = "tfds:"
SPLITS = ("train", "validation")

_LONGEST = 2**16  # bytes of a document


def documents(text, data_dir=None):
    """The documents of a text, by split.

    Args:
        text: String or path. `"stdlib"`, the source of Python's standard
            library; `"english"`, the text of three Debian packages, see
            `kgrow.datasets.text.english_corpus`; a folder, all of whose files
            are read, those below it too, but for hidden ones; or
            `"tfds:NAME"` or `"tfds:NAME@SPLIT"`, a data set of TensorFlow
            Datasets that has been prepared, `SPLIT` being TFDS's name of a
            split or a slice of one, by default `"train"`.
        data_dir: Optional string, TFDS's folder where it is not the usual one.

    Returns:
        `{"train": [bytes, ...], "validation": [bytes, ...]}`.

    Raises:
        GrowthError: there is no such text, a file is none, or the text is too
            short to be dealt to two splits.

    Example:

    >>> found = documents("stdlib")
    >>> validation = stdlib_corpus.load("validation")
    >>> sum(map(len, found["validation"])) == len(validation)
    True
    """
    name = str(text)
    if data_dir is not None and not name.startswith(TFDS):
        raise GrowthError(
            f"Argument `data_dir` is for texts of TFDS, '{TFDS}NAME'. "
            f"Received: text={name!r}, data_dir={str(data_dir)!r}"
        )
    if name == STDLIB:
        return _stdlib()
    if name == ENGLISH:
        return _dealt(english_corpus.documents(), name)
    if name.startswith(TFDS):
        whole = _tfds(name, data_dir)
    else:
        whole = _folder(name)
    return _dealt(whole, name)


def _stdlib():
    root = stdlib_corpus._root()
    found = {split: [] for split in SPLITS}
    for path in stdlib_corpus.stdlib_files():
        split = stdlib_corpus.split_of(path.relative_to(root).as_posix())
        found[split].append(path.read_bytes())
    return found


def _folder(name):
    root = pathlib.Path(name)
    if not root.is_dir():
        raise GrowthError(
            f"A text is '{STDLIB}', '{ENGLISH}', a folder of text files or "
            f"'{TFDS}NAME'. "
            f"There is no such folder. Received: text={name!r}"
        )
    files = sorted(
        (path for path in root.rglob("*") if _is_member(path, root)),
        key=lambda path: path.relative_to(root).as_posix(),
    )
    found = []
    for path in files:
        content = path.read_bytes()
        if b"\0" in content:
            raise GrowthError(
                "A folder of text holds nothing but text. Received: "
                f"text={name!r}, where {path.relative_to(root)} has zero bytes"
            )
        found.extend(_parts(content))
    return found


def _is_member(path, root):
    parts = path.relative_to(root).parts
    return path.is_file() and not any(part.startswith(".") for part in parts)


def _parts(content):
    """Pieces of at most `_LONGEST` bytes, cut after a newline where
    possible."""
    start, found = 0, []
    while len(content) - start > _LONGEST:
        end = content.rfind(b"\n", start, start + _LONGEST) + 1
        end = end or start + _LONGEST
        found.append(content[start:end])
        start = end
    return [*found, content[start:]]


def _tfds(name, data_dir):
    """The text of each example, followed by a newline."""
    _, tfds = load_tfds()
    known, _, split = name[len(TFDS) :].partition("@")
    split = split or "train"
    builder = builder_of(known, data_dir)
    key = _text_key(tfds, builder.info.features, name)
    # One reader, so that the order is the same in every run.
    config = tfds.ReadConfig(interleave_cycle_length=1, try_autocache=False)
    try:
        examples = builder.as_dataset(
            split=split, shuffle_files=False, read_config=config
        )
    except (AssertionError, KeyError, ValueError) as error:
        raise GrowthError(
            f"The data set has no such split, or is not prepared in "
            f"{builder.data_dir}. Received: text={name!r}, "
            f"data_dir={data_dir!r}"
        ) from error
    texts = examples.map(lambda example: example[key])
    return [text + b"\n" for text in texts.as_numpy_iterator()]


def _text_key(tfds, features, name):
    keys = [k for k in features if isinstance(features[k], tfds.features.Text)]
    if "text" in keys:
        return "text"
    if len(keys) != 1:
        raise GrowthError(
            f"The data set must have a feature `text`, or one that is text. "
            f"Received: text={name!r} with features {sorted(features)}"
        )
    return keys[0]


def _dealt(whole, name):
    whole = [document for document in whole if document]
    keys = [hashlib.sha256(document).digest() for document in whole]
    wanted = stdlib_corpus.VALIDATION_SHARE * sum(map(len, whole))
    sizes = {}
    for key, document in zip(keys, whole, strict=True):
        sizes[key] = sizes.get(key, 0) + len(document)
    chosen, taken = set(), 0
    for key in sorted(sizes):
        if taken >= wanted:
            break
        chosen.add(key)
        taken += sizes[key]
    if len(chosen) == len(sizes):
        raise GrowthError(
            "A text needs two documents at least, one to learn from and one "
            f"to validate on; a file of more than {_LONGEST // 1024} KiB "
            f"counts as several. Received: text={name!r} with {len(sizes)}"
        )
    found = {split: [] for split in SPLITS}
    for key, document in zip(keys, whole, strict=True):
        found["validation" if key in chosen else "train"].append(document)
    return found


def fingerprint(found):
    """A short hash of both splits: equal fingerprints, comparable losses.

    Args:
        found: Documents by split.

    Example:

    >>> fingerprint(documents("stdlib")) == stdlib_corpus.fingerprint()
    True
    """
    digest = hashlib.sha256()
    for split in SPLITS:
        for document in found[split]:
            digest.update(document)
        digest.update(split.encode())
    return digest.hexdigest()[:12]
