"""Training on text of a lower resolution: neighbours pooled into one."""

from keras import ops


def pool_tokens(x, size, padding_mask=None):
    """Mean of every `size` neighbouring tokens, padding left out.

    The first token is not merged, for it represents the whole sequence.

    Args:
        x: tensor of shape `(batch, length, features)`.
        size: int.
        padding_mask: optional tensor of shape `(batch, length)`, true (or 1)
            for tokens.

    Returns:
        Tensor of shape `(batch, 1 + ceil((length - 1) / size), features)`,
        and its padding mask: a pool counts if one of its tokens does.

    Example:

    >>> x = ops.convert_to_tensor([[[9.0], [1.0], [3.0], [5.0]]])
    >>> pool_tokens(x, 2)[0][0, :, 0].tolist()
    [9.0, 2.0, 5.0]

    Reference:

    - Gu et al., "On the Transformer Growth for Progressive BERT Training"
      (2010.12562), Sec. 3.1. Their code averages over padding too.
    """
    if padding_mask is None:
        weights = ops.ones_like(x[:, :, :1])
    else:
        weights = ops.cast(ops.expand_dims(padding_mask, -1), x.dtype)
    total = _sum_neighbours((x * weights)[:, 1:], size)
    count = _sum_neighbours(weights[:, 1:], size)
    means = total / ops.maximum(count, 1.0)
    pooled = ops.concatenate([x[:, :1], means], axis=1)
    counted = ops.concatenate([weights[:, :1], count], axis=1)
    return pooled, counted[:, :, 0] > 0


def _sum_neighbours(x, size):
    length = x.shape[1]
    if length is None:
        raise ValueError(
            "Only sequences of a known length can be pooled. Received: inputs "
            f"of shape {tuple(x.shape)}"
        )
    pools = -(-length // size)
    x = ops.pad(x, [[0, 0], [0, pools * size - length], [0, 0]])
    x = ops.reshape(x, (-1, pools, size, x.shape[2]))
    return ops.sum(x, axis=2)
