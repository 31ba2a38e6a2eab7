"""Which rows of an old vocabulary each token of a new one is made of."""

import pathlib
from dataclasses import dataclass

import numpy as np

from kgrow.algebra.errors import FileError, GrowthError

FILE = "tokenizer.json"


@dataclass(frozen=True)
class TokenRows:
    """The rows of a new vocabulary, as means of rows of an old one.

    Attributes:
        pieces: list of tuples of old numbers, one for each new token; empty
            for the mean of all rows.
        kinds: list of strings, `"shared"`, `"composed"`, `"nearest"`,
            `"mean"`, or `"unused"` for a number without a token.
    """

    pieces: list
    kinds: list

    @classmethod
    def of(cls, old, new, size, embeddings=None):
        """Finds the rows.

        Args:
            old: `tokenizers.Tokenizer` of the folder.
            new: the other one.
            size: int, rows of the old vocabulary.
            embeddings: optional array `(new tokens, width)`, in which the
                nearest shared token is looked for.
        """
        known = {
            text_of(token, old): number
            for token, number in old.get_vocab(True).items()
            if number < size
        }
        tokens = {n: t for t, n in new.get_vocab(True).items()}
        pieces, kinds = [], []
        for number in range(max(tokens) + 1):
            found, kind = _row(tokens.get(number), old, new, known, size)
            pieces.append(found)
            kinds.append(kind)
        rows = cls(pieces, kinds)
        return rows if embeddings is None else rows._nearest(embeddings)

    @property
    def count(self):
        return len(self.pieces)

    def counts(self):
        """dict from kinds to numbers of rows."""
        return {
            kind: self.kinds.count(kind) for kind in dict.fromkeys(self.kinds)
        }

    def apply(self, values):
        """The new rows of an array along the old vocabulary.

        Args:
            values: array `(old tokens, ...)`.

        Returns:
            float array `(new tokens, ...)`; rows of one piece are that row to
            the bit.
        """
        wide = np.float64 if values.dtype == np.float64 else np.float32
        values = values.astype(wide)
        mean = values.mean(axis=0, dtype=np.float64).astype(wide)
        made = np.empty((self.count, *values.shape[1:]), wide)
        for number, pieces in enumerate(self.pieces):
            if len(pieces) == 1:
                made[number] = values[pieces[0]]
            elif pieces:
                made[number] = values[list(pieces)].mean(axis=0)
            else:
                made[number] = mean
        return made

    def _nearest(self, embeddings):
        """The same with the nearest shared token in place of means."""
        shared = [
            n
            for n, kind in enumerate(self.kinds)
            if kind == "shared" and n < len(embeddings)
        ]
        if not shared:
            return self
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        unit = embeddings / np.maximum(lengths, np.finfo("float32").tiny)
        pieces, kinds = list(self.pieces), list(self.kinds)
        for number, kind in enumerate(self.kinds):
            if kind == "mean" and number < len(unit):
                best = shared[int(np.argmax(unit[shared] @ unit[number]))]
                pieces[number], kinds[number] = self.pieces[best], "nearest"
        return TokenRows(pieces, kinds)


def read_tokenizer(folder):
    """The `tokenizers.Tokenizer` of a folder.

    Raises:
        FileError: the folder has no `tokenizer.json`, or it is not whole.
        GrowthError: the package `tokenizers` is not installed.
    """
    path = pathlib.Path(folder) / FILE
    if not path.is_file():
        raise FileError(
            f"{str(folder)!r} has no {FILE!r}. `transformers` writes one: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)."
        )
    try:
        import tokenizers
    except ImportError as error:
        raise GrowthError(
            "Another vocabulary needs the package `tokenizers`. Install it "
            "with `pip install tokenizers`."
        ) from error
    try:
        return tokenizers.Tokenizer.from_file(str(path))
    except Exception as error:
        raise FileError(f"{str(path)!r} is no tokenizer: {error}") from error


def text_of(token, tokenizer):
    """The text that a token stands for, spaces before it included.

    Example:

    >>> text_of("▁the", None), text_of("[MASK]", None)
    (' the', '[MASK]')
    """
    if type(getattr(tokenizer, "decoder", None)).__name__ == "ByteLevel":
        try:
            return bytes(_BYTES[c] for c in token).decode("utf-8")
        except (KeyError, UnicodeDecodeError):
            return token
    return token.replace("▁", " ")


def _row(token, old, new, known, size):
    """`(pieces, kind)` of one token."""
    if token is None:
        return (), "unused"
    text = text_of(token, new)
    if text in known:
        return (known[text],), "shared"
    unknown = getattr(old.model, "unk_token", None)
    found = tuple(
        number
        for number in old.encode(text, add_special_tokens=False).ids
        if number < size and old.id_to_token(number) != unknown
    )
    return (found, "composed") if found else ((), "mean")


def _byte_table():
    """`{character: byte}` of byte-level BPE, as GPT-2 writes bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    table = {chr(byte): byte for byte in plain}
    return table | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTES = _byte_table()
