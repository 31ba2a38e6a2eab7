"""A text and its tokenizer: the data of a language model.

One object for the choices of `--text`, `--tokenizer` and
`--vocabulary`. What it is by default, the bytes of Python's standard library,
is the corpus of `kgrow.datasets.text.stdlib_corpus`, to the bit.
"""

import functools
import math
import os
import pathlib
import tempfile

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.datasets.text import sources
from kgrow.datasets.text.random_windows import (
    MaskedWindowDataset,
    WindowDataset,
)
from kgrow.datasets.text.subword_tokenizer import Subwords

TOKENIZERS = ("bytes", "subwords")


class Text:
    """Tokens of a text in two splits, and data sets of them.

    Nothing is read before it is asked for. Subwords are learned from the
    training split once, and kept in `folder` with the tokens, under a name
    that says of which text; where they are there already, they are read.

    Args:
        text: String or path. `"stdlib"`, `"english"`, a folder of text files,
            or `"tfds:NAME"`, see `kgrow.datasets.text.sources.documents`.
        tokenizer: `"bytes"`, or `"subwords"`, learned from the text.
        vocabulary: Integer, how many subwords; for these alone.
        folder: Optional path. Where subwords and tokens are kept; without,
            they are made each time.
        data_dir: Optional string, TFDS's folder where it is not the usual one.

    Raises:
        GrowthError: there is no such tokenizer, or `vocabulary` does not go
            with it.

    Example:

    >>> text = Text()
    >>> text.vocabulary_size, text.decode(text.encode(b"to be"))
    (256, b'to be')
    >>> x, y = text.dataset("train", length=32, batch_size=4)[0]
    >>> x.shape
    (4, 32)
    >>> text.dataset("train", 32, 4, masked=True).mask
    256
    """

    def __init__(
        self,
        text=sources.STDLIB,
        tokenizer="bytes",
        vocabulary=None,
        folder=None,
        data_dir=None,
    ):
        if tokenizer not in TOKENIZERS:
            raise GrowthError(
                f"A tokenizer is one of {', '.join(TOKENIZERS)}. "
                f"Received: tokenizer={tokenizer!r}"
            )
        if (tokenizer == "bytes") != (vocabulary is None):
            raise GrowthError(
                "Say how many subwords there are to be, 256 or more; bytes "
                f"are 256 always. Received: tokenizer={tokenizer!r}, "
                f"vocabulary={vocabulary!r}"
            )
        self.text = str(text)
        self.tokenizer = tokenizer
        self.vocabulary = vocabulary
        self.folder = None if folder is None else pathlib.Path(folder)
        self.data_dir = data_dir

    @functools.cached_property
    def documents(self):
        """Lists of bytes, by split."""
        return sources.documents(self.text, self.data_dir)

    @functools.cached_property
    def fingerprint(self):
        """A short hash of the text, as bytes: losses in bits a byte compare
        where it is equal."""
        return sources.fingerprint(self.documents)

    @property
    def vocabulary_size(self):
        """Integer, the number of tokens; a mask is not counted."""
        return self.vocabulary or 256

    @functools.cached_property
    def subwords(self):
        """`Subwords`, or `None` where the tokens are bytes."""
        if self.tokenizer == "bytes":
            return None

        def learn():
            return Subwords.learned(self.documents["train"], self.vocabulary)

        return self._kept(
            "subwords", "json", learn, Subwords.save, Subwords.load
        )

    def tokens(self, split):
        """One split as a read-only array.

        Args:
            split: `"train"` or `"validation"`.

        Returns:
            Integer array of shape `(tokens,)`.

        Raises:
            GrowthError: there is no such split.
        """
        if split not in sources.SPLITS:
            raise GrowthError(
                "Argument `split` must be 'train' or 'validation'. "
                f"Received: split={split!r}"
            )
        return self._tokens[split]

    @functools.cached_property
    def _tokens(self):
        return {split: self._made(split) for split in sources.SPLITS}

    def _made(self, split):
        if self.tokenizer == "bytes":
            found = self.encode(b"".join(self.documents[split]))
        else:
            found = self._kept(
                f"tokens-{split}",
                "npy",
                lambda: self.subwords.encode(self.documents[split]),
                _save_array,
                _load_array,
            )
        found.flags.writeable = False
        return found

    def _kept(self, name, suffix, make, save, load):
        """Returns a cached file from the folder, or creates it."""
        if self.folder is None:
            return make()
        path = self.folder / f"{name}-{self.vocabulary}-{self.fingerprint}"
        path = path.with_suffix(f".{suffix}")
        if not path.exists():
            found = make()
            self.folder.mkdir(parents=True, exist_ok=True)
            # Whole or not at all, should it be broken off.
            handle, beside = tempfile.mkstemp(f".{suffix}", dir=self.folder)
            os.close(handle)
            try:
                save(found, beside)
                os.replace(beside, path)
            finally:
                pathlib.Path(beside).unlink(missing_ok=True)
        return load(path)

    def encode(self, document):
        """Bytes to tokens."""
        if self.subwords is None:
            return np.frombuffer(document, np.uint8)
        return self.subwords.encode([document])

    def decode(self, ids):
        """Tokens to bytes."""
        if self.subwords is None:
            return bytes(map(int, ids))
        return self.subwords.decode(ids)

    def dataset(
        self,
        split,
        length,
        batch_size,
        steps=None,
        seed=0,
        first=0,
        masked=False,
    ):
        """Random windows of one split, for `fit`.

        Args:
            split: `"train"` or `"validation"`.
            length: Integer. Tokens in a window.
            batch_size: Integer. Windows in a batch.
            steps: Integer or `None`. Number of batches; `None` is endless.
            seed: Integer. Which stream of batches.
            first: Integer. Batches of the stream to skip.
            masked: Boolean. Whether hidden tokens are to be found, in place
                of the next ones.

        Returns:
            `kgrow.datasets.text.random_windows.WindowDataset` or
            `MaskedWindowDataset`.
        """
        kind = WindowDataset
        if masked:
            kind = functools.partial(
                MaskedWindowDataset, vocabulary_size=self.vocabulary_size
            )
        return kind(self.tokens(split), length, batch_size, steps, seed, first)

    def bits_per_byte(self, loss, data):
        """A loss in nats a token as one in bits a byte.

        Bytes are the same under every tokenizer, so that losses of different
        ones can be compared.

        Args:
            loss: Number, the mean over all tokens of `data`, in nats.
            data: `WindowDataset` of this text, with `steps`, on which the
                loss was measured.

        Returns:
            Float.

        Raises:
            GrowthError: `data` is endless, or of hidden tokens, whose loss is
                not that of the text.

        Example:

        >>> text = Text()
        >>> data = text.dataset("validation", 32, 4, steps=2)
        >>> round(text.bits_per_byte(8 * math.log(2), data), 6)
        8.0
        """
        if isinstance(data, MaskedWindowDataset) or data.steps is None:
            raise GrowthError(
                "Bits a byte are those of next tokens, in a data set with an "
                f"end. Received: data={type(data).__name__} with "
                f"steps={data.steps}"
            )
        if self.subwords is None:
            return loss / math.log(2)
        tokens = length = 0
        for index in range(data.steps):
            _, targets = data[index]
            tokens += targets.size
            length += int(self.subwords.lengths[targets].sum())
        return loss * tokens / length / math.log(2)

    def __str__(self):
        tokens = "bytes"
        if self.vocabulary:
            tokens = f"{self.vocabulary} subwords"
        return f"{self.text} as {tokens}"


def _save_array(found, path):
    np.save(path, found)


def _load_array(path):
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:
        raise GrowthError(
            "This file holds no tokens; remove it, and it is made again. "
            f"Received: {str(path)!r}, {error}"
        ) from error
