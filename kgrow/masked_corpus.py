"""The corpus for masked language models: some bytes hidden, to be found."""

import numpy as np

from kgrow.corpus import VOCABULARY_SIZE, ByteDataset

MASK = VOCABULARY_SIZE


class MaskedByteDataset(ByteDataset):
    """Random windows of the corpus with some bytes to predict, for `fit`.

    Of every window the same share of bytes is predicted: of these 80 % are
    replaced by the mask, 10 % by another byte, and 10 % stay. The inputs are a
    dict with `"token_ids"` and `"masked_positions"`, as `BERT` takes them, the
    targets the bytes at those positions. A model needs a vocabulary of
    `MASK + 1` tokens.

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

    Reference:

    - [Devlin et al., 2019](https://arxiv.org/abs/1810.04805), Sec. 3.1.
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
            split, length, batch_size, steps, seed, first, **kwargs
        )
        self.predictions = max(1, round(rate * length))

    def __getitem__(self, index):
        tokens, _ = super().__getitem__(index)
        # A stream of its own, so that the windows are those of the other task.
        rng = np.random.default_rng((self.seed, self.first + index, 1))
        order = rng.random(tokens.shape).argsort(axis=1)
        places = np.sort(order[:, : self.predictions]).astype("int32")
        targets = np.take_along_axis(tokens, places, axis=1)
        kind = rng.random(places.shape)
        other = rng.integers(0, VOCABULARY_SIZE, places.shape)
        shown = np.where(kind < 0.8, MASK, np.where(kind < 0.9, other, targets))
        tokens = tokens.copy()
        np.put_along_axis(tokens, places, shown.astype(tokens.dtype), axis=1)
        return {"token_ids": tokens, "masked_positions": places}, targets
