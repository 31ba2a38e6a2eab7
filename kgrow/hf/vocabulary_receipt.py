"""What changing a vocabulary did, as numbers."""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class VocabularyReceipt:
    """The record of a change of the vocabulary; prints as a short list.

    Attributes:
        source: string, the folder.
        tokenizer: string, the folder of the other tokenizer.
        architecture: string, the `model_type`.
        tokens_before: int, rows before.
        tokens_after: int.
        shared: int, rows of tokens that both have, kept to the bit.
        composed: int, means of the rows of a token's pieces.
        nearest: int, rows of the nearest shared token.
        mean: int, rows that are the mean of all.
        unused: int, numbers without a token; the mean of all too.
        tensors: list of the names of the tensors that changed.
        lost: list of fields of the config whose token the new tokenizer lacks.
        seconds: float.
        exact: bool, always `False`: the function is not kept.
    """

    source: str
    tokenizer: str
    architecture: str
    tokens_before: int
    tokens_after: int
    shared: int
    composed: int
    nearest: int
    mean: int
    unused: int
    tensors: list
    lost: list
    seconds: float = 0.0
    exact: bool = False

    @classmethod
    def of(cls, rows, checkpoint, source, tokenizer, tensors, lost):
        """The receipt of `TokenRows`, before anything is written."""
        counts = rows.counts()
        kinds = ("shared", "composed", "nearest", "mean", "unused")
        return cls(
            source=source,
            tokenizer=tokenizer,
            architecture=checkpoint.config["model_type"],
            tokens_before=checkpoint.tensors[tensors[0]].shape[0],
            tokens_after=rows.count,
            tensors=list(tensors),
            lost=list(lost),
            **{kind: counts.get(kind, 0) for kind in kinds},
        )

    def after(self, seconds):
        return dataclasses.replace(self, seconds=seconds)

    def as_dict(self):
        return dataclasses.asdict(self)

    def lines(self):
        """The record as sentences."""
        lines = [
            f"tokens: {self.tokens_before:,} before, {self.tokens_after:,} "
            "after",
            f"rows kept: {self.shared:,}",
            f"rows from pieces: {self.composed:,}",
            f"rows of the nearest token: {self.nearest:,}",
            f"rows that are the mean of all: {self.mean + self.unused:,}",
            "the function is not kept",
        ]
        if self.lost:
            lines.append(f"without a token now: {', '.join(self.lost)}")
        return lines

    def __str__(self):
        title = f"the vocabulary of {self.tokenizer}, {self.seconds:.1f} s"
        return "\n".join([title, *(f"  {line}" for line in self.lines())])
