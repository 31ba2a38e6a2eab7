"""The tokens of a text, made once and then read from a folder by every run."""

import json
import math
import os
import pathlib
from dataclasses import dataclass

import numpy as np

from kgrow.datasets.text.random_windows import WindowDataset
from kgrow.datasets.text.text import Text

_FACTS = "facts.json"


@dataclass(frozen=True)
class Corpus:
    """A text as tokens.

    Args:
        train: Integer array of shape `(tokens,)`.
        validation: The same, of the held-out documents.
        lengths: Integer array of shape `(vocabulary,)`, bytes of each subword.
        fingerprint: String; equal texts have equal ones.
    """

    train: np.ndarray
    validation: np.ndarray
    lengths: np.ndarray
    fingerprint: str

    def batches(self, length, batch, seed):
        """Random windows of the training split, without an end."""
        return WindowDataset(self.train, length, batch, seed=seed)

    def held_out(self, length, count):
        """Windows at equal distances over the whole validation split, the
        same ones for every run.

        Returns:
            Two integer arrays of shape `(count, length)`: tokens, and the
            tokens that follow them.
        """
        last = len(self.validation) - length - 1
        starts = np.linspace(0, last, count).astype(int)
        rows = self.validation[starts[:, None] + np.arange(length + 1)]
        rows = rows.astype("int32")
        return rows[:, :-1], rows[:, 1:]

    def bits_per_byte(self, loss, targets):
        """A mean loss over `targets`, in nats a token, as bits a byte."""
        size = int(self.lengths[targets].sum())
        return loss * targets.size / size / math.log(2)


def prepare(text, vocabulary, folder):
    """Learns the subwords of a text and writes its tokens, where that is not
    done yet.

    Args:
        text: String, as `kgrow.datasets.text.text.Text` takes it.
        vocabulary: Integer, subwords.
        folder: Path, of all corpora.

    Returns:
        Path of the text's folder, for `load()`.
    """
    name = "".join(c if c.isalnum() else "-" for c in str(text))
    folder = pathlib.Path(folder) / f"{name}-{vocabulary}"
    if (folder / _FACTS).exists():
        return folder
    made = Text(text, "subwords", vocabulary, folder)
    for split in ("train", "validation"):
        np.save(folder / f"{split}.npy", made.tokens(split))
    np.save(folder / "lengths.npy", made.subwords.lengths)
    # Last, and at once: where it is, all else is whole.
    beside = folder / f"{_FACTS}.{os.getpid()}"
    beside.write_text(json.dumps({"fingerprint": made.fingerprint}))
    os.replace(beside, folder / _FACTS)
    return folder


def load(folder):
    """The `Corpus` that `prepare()` left; tokens stay on the disk."""
    folder = pathlib.Path(folder)
    facts = json.loads((folder / _FACTS).read_text())
    arrays = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r")
        for name in ("train", "validation", "lengths")
    }
    return Corpus(**arrays, **facts)
