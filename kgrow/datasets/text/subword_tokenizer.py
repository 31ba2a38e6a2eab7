"""A tokenizer that is learned from the text: pairs of bytes merged to subwords.

Byte-pair encoding by the library `tokenizers`, which KerasHub brings along.
Bytes are given to it as the 256 characters of Latin-1, so that every text is
told back to the byte, whatever its encoding, and a token's length in
characters is its length in bytes. Words are never merged across: letters,
which all bytes outside ASCII count as, digits and signs each with the space
before them, and white space.

Reference:

- [Sennrich et al., 2016](https://arxiv.org/abs/1508.07909).
"""

import numpy as np

from kgrow.algebra.errors import GrowthError

_BYTES = 256
_WORDS = (
    r" ?[A-Za-z\x80-\xff]+| ?[0-9]+| ?[^\sA-Za-z0-9\x80-\xff]+|\s+(?!\S)|\s+"
)
# More text than this changes little about which pairs are frequent.
_LEARNED_FROM = 2**26  # bytes
_AT_ONCE = 1024  # documents


class Subwords:
    """Tokens of one byte or more, and the bytes that they encode.

    Make one with `Subwords.learned()` or `Subwords.load()`.

    Args:
        tokenizer: `tokenizers.Tokenizer`.

    Example:

    >>> found = Subwords.learned([b"to be or not to be"] * 9, 260)
    >>> ids = found.encode([b"not to be"])
    >>> found.decode(ids), len(ids) < 9, int(found.lengths[ids].sum())
    (b'not to be', True, 9)
    """

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer
        by_id = {i: s for s, i in tokenizer.get_vocab().items()}
        self._bytes = [by_id[i].encode("latin-1") for i in range(len(by_id))]
        self.lengths = np.array([len(s) for s in self._bytes])

    @classmethod
    def learned(cls, documents, vocabulary_size):
        """Subwords of a text; the same ones for the same text.

        Args:
            documents: List of bytes.
            vocabulary_size: Integer, 256 or more: a token for every byte, and
                one for every merge.

        Raises:
            GrowthError: there are fewer tokens than bytes, or the text has
                not that many pairs to merge.
        """
        _check_size(vocabulary_size)
        library = _import_tokenizers()
        tokenizer = library.Tokenizer(library.models.BPE())
        tokenizer.pre_tokenizer = library.pre_tokenizers.Split(
            library.Regex(_WORDS), "isolated"
        )
        trainer = library.trainers.BpeTrainer(
            vocab_size=vocabulary_size,
            initial_alphabet=[chr(i) for i in range(_BYTES)],
            show_progress=False,
        )
        tokenizer.train_from_iterator(
            (text.decode("latin-1") for text in _beginning(documents)), trainer
        )
        found = tokenizer.get_vocab_size()
        if found < vocabulary_size:
            raise GrowthError(
                f"The text is too short for so many subwords, it has {found}. "
                f"Received: vocabulary={vocabulary_size}"
            )
        return cls(tokenizer)

    @classmethod
    def load(cls, path):
        """The subwords that `save()` wrote.

        Raises:
            GrowthError: the file is no tokenizer.
        """
        library = _import_tokenizers()
        try:
            return cls(library.Tokenizer.from_file(str(path)))
        except Exception as error:
            raise GrowthError(
                f"This file is no tokenizer; remove it, and it is made again. "
                f"Received: {str(path)!r}, {error}"
            ) from error

    def save(self, path):
        """Writes a JSON file."""
        self._tokenizer.save(str(path))

    @property
    def vocabulary_size(self):
        return len(self._bytes)

    def encode(self, documents):
        """Documents to tokens, one behind the other.

        Args:
            documents: List of bytes.

        Returns:
            Integer array of shape `(tokens,)`, of the smallest unsigned dtype
            that holds the vocabulary.
        """
        dtype = np.min_scalar_type(self.vocabulary_size - 1)
        parts = [np.zeros(0, dtype)]
        for start in range(0, len(documents), _AT_ONCE):
            texts = [
                text.decode("latin-1")
                for text in documents[start : start + _AT_ONCE]
            ]
            for found in self._tokenizer.encode_batch_fast(texts):
                parts.append(np.array(found.ids, dtype))
        return np.concatenate(parts)

    def decode(self, ids):
        """Tokens to bytes."""
        return b"".join(self._bytes[i] for i in ids)


def _beginning(documents):
    total = 0
    for text in documents:
        if total >= _LEARNED_FROM:
            return
        total += len(text)
        yield text


def _check_size(vocabulary_size):
    if vocabulary_size < _BYTES:
        raise GrowthError(
            f"Subwords are made of bytes, of which there are {_BYTES}, so that "
            f"there is no smaller vocabulary. Received: "
            f"vocabulary={vocabulary_size}"
        )


def _import_tokenizers():
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "Subwords are learned by the library `tokenizers`. Install it "
            "with: pip install tokenizers"
        ) from error
    return tokenizers
