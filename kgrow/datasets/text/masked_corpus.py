"""The corpus for masked language models: some bytes hidden, to be found."""

from kgrow.datasets.text.random_windows import MaskedWindowDataset
from kgrow.datasets.text.stdlib_corpus import VOCABULARY_SIZE, load

MASK = VOCABULARY_SIZE


class MaskedByteDataset(MaskedWindowDataset):
    """Random windows of the corpus with some bytes to predict, for `fit`.

    A `MaskedWindowDataset` of one split of the standard library. A model needs
    a vocabulary of `MASK + 1` tokens.

    Args:
        split: `"train"` or `"validation"`.
        length: Integer. Bytes in a window.
        batch_size: Integer. Windows in a batch.
        steps: Integer or `None`. Number of batches; `None` is endless.
        seed: Integer. Which stream of batches.
        first: Integer. Batches of the stream to skip.
        rate: Float. The share of bytes that is predicted.
        **kwargs: Passed to `keras.utils.PyDataset`.

    Example:

    >>> x, y = MaskedByteDataset("train", 32, batch_size=2)[0]
    >>> x["token_ids"].shape, x["masked_positions"].shape, y.shape
    ((2, 32), (2, 5), (2, 5))
    """

    def __init__(
        self,
        split,
        length,
        batch_size,
        steps=None,
        seed=0,
        first=0,
        rate=0.15,
        **kwargs,
    ):
        super().__init__(
            load(split),
            length,
            batch_size,
            steps,
            seed,
            first,
            vocabulary_size=VOCABULARY_SIZE,
            rate=rate,
            **kwargs,
        )
        self.split = split
