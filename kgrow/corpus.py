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

import keras
import numpy as np

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


def windows(text, length, batch_size, seed, index):
    """Batch number `index` of random windows and their next bytes.

    A pure function of its arguments: the same numbers on every backend, in any
    order, and after any interruption.

    Args:
        text: `np.uint8` array of shape `(bytes,)`.
        length: Integer. Bytes in a window.
        batch_size: Integer. Windows in a batch.
        seed: Integer. Which stream of batches.
        index: Integer. Which batch of that stream.

    Returns:
        Two `np.int32` arrays of shape `(batch_size, length)`: the windows, and
        the same windows one byte later.

    Raises:
        ValueError: if a window and its last target do not fit into `text`.

    Example:

    >>> x, y = windows(load("train"), 16, batch_size=2, seed=0, index=7)
    >>> x.shape, bool((x[:, 1:] == y[:, :-1]).all())
    ((2, 16), True)
    """
    if length + 1 > len(text):
        raise ValueError(
            f"Argument `length` must be below {len(text)}, the length of the "
            f"text. Received: length={length}"
        )
    generator = np.random.default_rng((seed, index))
    starts = generator.integers(0, len(text) - length, size=batch_size)
    rows = text[starts[:, None] + np.arange(length + 1)].astype(np.int32)
    return rows[:, :-1], rows[:, 1:]


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


class ByteDataset(keras.utils.PyDataset):
    """Random windows of the corpus with next-byte targets, for `fit`.

    Batch `i` depends on `seed` and `i` alone. Without `steps` the dataset is
    endless: give `fit` a `steps_per_epoch`, and epoch after epoch reads on
    where the last one stopped, so cutting the same run into other epochs does
    not change its data. To resume, set `first` to the batches already seen.

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
        super().__init__(**kwargs)
        self.text = load(split)
        self.split = split
        self.length = length
        self.batch_size = batch_size
        self.steps = steps
        self.seed = seed
        self.first = first

    @property
    def num_batches(self):
        return self.steps

    def __len__(self):
        if self.steps is None:
            raise TypeError("An endless `ByteDataset` has no length.")
        return self.steps

    def __getitem__(self, index):
        return windows(
            self.text,
            self.length,
            self.batch_size,
            self.seed,
            self.first + index,
        )


def _root():
    return pathlib.Path(sysconfig.get_path("stdlib"))


def _is_member(path):
    relative = path.relative_to(_root())
    return _EXCLUDED_FOLDERS.isdisjoint(
        relative.parts
    ) and not relative.name.startswith("_sysconfigdata")
