"""Leaving some tokens out of the middle blocks while training."""

import math

import keras
from keras import ops


def choose_tokens(x, rate, seed, padding_mask=None):
    """Which tokens go through the middle blocks.

    As many of each sequence, at random, in their order; padding last.

    Args:
        x: tensor of shape `(batch, length, features)`.
        rate: float, the part of the tokens that is left out.
        seed: `keras.random.SeedGenerator`.
        padding_mask: optional tensor of shape `(batch, length)`.

    Returns:
        Integer tensor of shape `(batch, kept)`, increasing positions.

    Example:

    >>> seed = keras.random.SeedGenerator(0)
    >>> choose_tokens(ops.ones((1, 4, 2)), 0.5, seed).shape == (1, 2)
    True

    Reference:

    - Yao et al., "Random-LTD" (2211.11586), for the choice at random; Hou et
      al., "Token Dropping for Efficient BERT Pretraining" (2203.13240), who
      choose by the running loss of each word instead.
    """
    length = x.shape[1]
    if length is None:
        raise ValueError(
            "Tokens can only be dropped from sequences of a known length. "
            f"Received: inputs of shape {tuple(x.shape)}"
        )
    kept = max(1, math.ceil(length * (1.0 - rate)))
    scores = keras.random.uniform(ops.shape(x)[:2], seed=seed)
    if padding_mask is not None:
        scores = scores + ops.cast(padding_mask, scores.dtype)
    _, chosen = ops.top_k(scores, kept, sorted=False)
    return ops.sort(chosen, axis=-1)


def gather_tokens(x, chosen):
    """The chosen entries along the second axis.

    Example:

    >>> x = ops.convert_to_tensor([[5.0, 6.0, 7.0]])
    >>> gather_tokens(x, ops.convert_to_tensor([[0, 2]])).tolist()
    [[5.0, 7.0]]
    """
    if len(x.shape) > len(chosen.shape):
        chosen = ops.expand_dims(chosen, -1)
    return ops.take_along_axis(x, chosen, axis=1)


def scatter_tokens(x, outputs, chosen):
    """`x` with the outputs where they come from.

    Example:

    >>> x = ops.zeros((1, 3, 1))
    >>> y = ops.convert_to_tensor([[[1.0], [2.0]]])
    >>> scatter_tokens(x, y, ops.convert_to_tensor([[0, 2]]))[0, :, 0].tolist()
    [1.0, 0.0, 2.0]
    """
    hits = ops.one_hot(chosen, x.shape[1], dtype="int32")
    there = ops.sum(hits, axis=1)
    rank = ops.maximum(ops.cumsum(there, axis=1) - 1, 0)
    placed = gather_tokens(outputs, rank)
    return ops.where(ops.expand_dims(there, -1) > 0, placed, x)
