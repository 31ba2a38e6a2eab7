"""Real text without a download: the standard library's own source, as bytes.

Every Python installation carries about 11 MB of English and code in its
standard library. Read as bytes it is a language-model corpus with a
vocabulary of 256 that needs no network, no tokenizer and no licence question.

Files, not positions, are dealt to the two splits, so that no validation window
overlaps a training file. The text differs a little between Python versions and
distributions: compare losses within one installation, and quote `fingerprint()`
beside any loss.
"""

import functools
import hashlib
import pathlib
import sysconfig

import numpy as np

from kgrow.datasets.text.random_windows import WindowDataset, windows

__all__ = [
    "VALIDATION_SHARE",
    "VOCABULARY_SIZE",
    "ByteDataset",
    "batches",
    "fingerprint",
    "load",
    "split_of",
    "stdlib_files",
    "windows",
]

VOCABULARY_SIZE = 256
VALIDATION_SHARE = 0.05

_EXCLUDED_FOLDERS = frozenset(
    "test tests idle_test idlelib lib2to3 site-packages dist-packages "
    "__pycache__".split()
)


def stdlib_files():
    """The corpus' files, sorted by their path inside the standard library.

    Left out: tests, `idlelib`, `lib2to3`, installed packages, and
    `_sysconfigdata*`, which describes one machine's build.

    Returns:
        A list of `pathlib.Path`.

    Example:

    >>> names = [path.name for path in stdlib_files()]
    >>> "typing.py" in names, "test_typing.py" in names
    (True, False)
    """
    root = _root()
    return sorted(
        (path for path in root.rglob("*.py") if _is_member(path)),
        key=lambda path: path.relative_to(root).as_posix(),
    )


def split_of(name):
    """Which split a file belongs to, from a hash of its relative name alone.

    So a file stays on its side whatever other files an installation has.

    Args:
        name: String. POSIX path relative to the standard library.

    Returns:
        `"train"` or `"validation"`.

    Example:

    >>> split_of("typing.py"), split_of("json/decoder.py")
    ('validation', 'train')
    """
    digest = hashlib.sha256(f"kgrow/{name}".encode()).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    return "validation" if share < VALIDATION_SHARE else "train"


@functools.cache
def load(split="train"):
    """One split of the corpus as a read-only array of bytes.

    Args:
        split: `"train"` (about 95 % of the bytes) or `"validation"`.

    Returns:
        `np.uint8` array of shape `(bytes,)`, the files one after the other.

    Raises:
        ValueError: if there is no such split.

    Example:

    >>> text = load("validation")
    >>> text.dtype, text.ndim, b"def " in text.tobytes()
    (dtype('uint8'), 1, True)
    """
    if split not in ("train", "validation"):
        raise ValueError(
            "Argument `split` must be 'train' or 'validation'. "
            f"Received: split={split!r}"
        )
    root = _root()
    parts = [
        path.read_bytes()
        for path in stdlib_files()
        if split_of(path.relative_to(root).as_posix()) == split
    ]
    text = np.frombuffer(b"".join(parts), dtype=np.uint8)
    text.flags.writeable = False
    return text


@functools.cache
def fingerprint():
    """A short hash of both splits: equal fingerprints, comparable losses.

    Example:

    >>> len(fingerprint())
    12
    """
    digest = hashlib.sha256()
    for split in ("train", "validation"):
        digest.update(load(split).tobytes())
        digest.update(split.encode())
    return digest.hexdigest()[:12]


def batches(split, length, batch_size, steps, seed=0):
    """The first `steps` batches of a split, stacked into two arrays.

    Handy for `model.evaluate(x, y, batch_size=batch_size)` and for tests;
    train on a `ByteDataset`, which holds one batch at a time.

    Args:
        split: `"train"` or `"validation"`.
        length: Integer. Bytes in a window.
        batch_size: Integer. Windows in a batch.
        steps: Integer. Number of batches.
        seed: Integer. Which stream of batches.

    Returns:
        Two `np.int32` arrays of shape `(steps * batch_size, length)`.

    Example:

    >>> x, y = batches("validation", 128, batch_size=4, steps=3)
    >>> x.shape == y.shape == (12, 128)
    True
    """
    dataset = ByteDataset(split, length, batch_size, steps, seed)
    x, y = zip(*(dataset[index] for index in range(steps)), strict=True)
    return np.concatenate(x), np.concatenate(y)


class ByteDataset(WindowDataset):
    """Random windows of the corpus with next-byte targets, for `fit`.

    A `WindowDataset` of one split of the standard library.

    Args:
        split: `"train"` or `"validation"`.
        length: Integer. Bytes in a window.
        batch_size: Integer. Windows in a batch.
        steps: Integer or `None`. Number of batches; `None` is endless.
        seed: Integer. Which stream of batches.
        first: Integer. Batches of the stream to skip.
        **kwargs: Passed to `keras.utils.PyDataset`.

    Example:

    >>> train = ByteDataset("train", length=32, batch_size=4)
    >>> validation = ByteDataset("validation", 32, 4, steps=10)
    >>> len(validation), train[0][0].shape
    (10, (4, 32))

    `model.fit(train, steps_per_epoch=100, shuffle=False,
    validation_data=validation)` trains on it; left at its default, `shuffle`
    draws a warning from Keras, as the windows are random already.
    """

    def __init__(
        self,
        split,
        length,
        batch_size,
        steps=None,
        seed=0,
        first=0,
        **kwargs,
    ):
        super().__init__(
            load(split), length, batch_size, steps, seed, first, **kwargs
        )
        self.split = split


@functools.cache
def _root():
    return pathlib.Path(sysconfig.get_path("stdlib"))


def _is_member(path):
    relative = path.relative_to(_root())
    return _EXCLUDED_FOLDERS.isdisjoint(
        relative.parts
    ) and not relative.name.startswith("_sysconfigdata")
