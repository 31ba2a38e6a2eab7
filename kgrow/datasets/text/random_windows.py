"""Random windows of a long row of tokens, and the data sets made of them."""

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError


def windows(text, length, batch_size, seed, index):
    """Batch number `index` of random windows and their next tokens.

    A pure function of its arguments: the same numbers on every backend, in any
    order, and after any interruption.

    Args:
        text: Integer array of shape `(tokens,)`.
        length: Integer. Tokens in a window.
        batch_size: Integer. Windows in a batch.
        seed: Integer. Which stream of batches.
        index: Integer. Which batch of that stream.

    Returns:
        Two `np.int32` arrays of shape `(batch_size, length)`: the windows, and
        the same windows one token later.

    Raises:
        ValueError: if a window and its last target do not fit into `text`.

    Example:

    >>> x, y = windows(np.arange(100), 16, batch_size=2, seed=0, index=7)
    >>> x.shape, bool((y == x + 1).all())
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


class WindowDataset(keras.utils.PyDataset):
    """Random windows of a text with next-token targets, for `fit`.

    Batch `i` depends on `seed` and `i` alone. Without `steps` the dataset is
    endless: give `fit` a `steps_per_epoch`, and epoch after epoch reads on
    where the last one stopped, so cutting the same run into other epochs does
    not change its data. To resume, set `first` to the batches already seen.

    Args:
        text: Integer array of shape `(tokens,)`.
        length: Integer. Tokens in a window.
        batch_size: Integer. Windows in a batch.
        steps: Integer or `None`. Number of batches; `None` is endless.
        seed: Integer. Which stream of batches.
        first: Integer. Batches of the stream to skip.
        **kwargs: Passed to `keras.utils.PyDataset`.

    Example:

    >>> data = WindowDataset(np.arange(100), length=32, batch_size=4, steps=10)
    >>> len(data), data[0][0].shape
    (10, (4, 32))
    """

    def __init__(
        self,
        text,
        length,
        batch_size,
        steps=None,
        seed=0,
        first=0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.text = text
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
            raise TypeError(
                f"An endless `{type(self).__name__}` has no length."
            )
        return self.steps

    def __getitem__(self, index):
        return windows(
            self.text,
            self.length,
            self.batch_size,
            self.seed,
            self.first + index,
        )


class MaskedWindowDataset(WindowDataset):
    """Random windows of a text with some tokens to predict, for `fit`.

    Of every window the same share of tokens is predicted: of these 80 % are
    replaced by the mask, 10 % by another token, and 10 % stay. The inputs are
    a dict with `"token_ids"` and `"masked_positions"`, as `BERT` takes them,
    the targets the tokens at those positions. The mask is the token behind the
    vocabulary, so that a model needs one token more.

    Args:
        text: Integer array of shape `(tokens,)`.
        length: Integer. Tokens in a window.
        batch_size: Integer. Windows in a batch.
        steps: Integer or `None`. Number of batches; `None` is endless.
        seed: Integer. Which stream of batches.
        first: Integer. Batches of the stream to skip.
        vocabulary_size: Integer. Tokens of the text, the mask not counted.
        rate: Float. The share of tokens that is predicted.
        **kwargs: Passed to `keras.utils.PyDataset`.

    Raises:
        GrowthError: `rate` is not above 0 and at most 1.

    Example:

    >>> text = np.arange(100)
    >>> x, y = MaskedWindowDataset(text, 32, 2, vocabulary_size=100)[0]
    >>> x["token_ids"].shape, x["masked_positions"].shape, y.shape
    ((2, 32), (2, 5), (2, 5))

    Reference:

    - [Devlin et al., 2019](https://arxiv.org/abs/1810.04805), Sec. 3.1.
    """

    def __init__(
        self,
        text,
        length,
        batch_size,
        steps=None,
        seed=0,
        first=0,
        *,
        vocabulary_size,
        rate=0.15,
        **kwargs,
    ):
        super().__init__(text, length, batch_size, steps, seed, first, **kwargs)
        if not 0 < rate <= 1:
            raise GrowthError(
                "Argument `rate` must be above 0 and at most 1. "
                f"Received: rate={rate}"
            )
        self.vocabulary_size = vocabulary_size
        self.predictions = max(1, round(rate * length))

    @property
    def mask(self):
        """The token that hides others."""
        return self.vocabulary_size

    def __getitem__(self, index):
        tokens, _ = super().__getitem__(index)
        # A separate random stream, so that the windows equal those of the other
        # task.
        rng = np.random.default_rng((self.seed, self.first + index, 1))
        order = rng.random(tokens.shape).argsort(axis=1)
        places = np.sort(order[:, : self.predictions]).astype("int32")
        targets = np.take_along_axis(tokens, places, axis=1)
        kind = rng.random(places.shape)
        other = rng.integers(0, self.vocabulary_size, places.shape)
        shown = np.where(
            kind < 0.8, self.mask, np.where(kind < 0.9, other, targets)
        )
        tokens = tokens.copy()
        np.put_along_axis(tokens, places, shown.astype(tokens.dtype), axis=1)
        return {"token_ids": tokens, "masked_positions": places}, targets
