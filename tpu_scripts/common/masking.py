"""Some tokens of a window hidden, to be found: the objective of BERT.

The same protocol as `kgrow.datasets.text.masked_corpus`, inside `tf.data`, for
any
tokenizer: of every window the same number of places, so that shapes are
static; 80 % of them show the mask, 10 % another token and 10 % themselves.
"""


def predictions(length, rate):
    """How many places of a window are predicted.

    Example:

    >>> predictions(128, 0.15), predictions(4, 0.15)
    (19, 1)
    """
    return max(1, round(rate * length))


def masked(tf, windows, number, seed, *, rate, mask, vocabulary_size, fixed=0):
    """A batch of windows as BERT takes it.

    Args:
        tf: TensorFlow.
        windows: `int32` tensor of shape `(batch, length)`.
        number: int or scalar tensor, the number of the batch.
        seed: int.
        rate: float, the share of places.
        mask: int, the token that hides.
        vocabulary_size: int; other tokens are drawn from below.
        fixed: int, how many places at the start and at the end are never
            hidden, such as the one of `[CLS]`.

    Returns:
        `({"token_ids", "masked_positions"}, targets)`.
    """
    batch, length = windows.shape
    count = predictions(length, rate)
    seeds = [
        tf.stack([tf.cast(seed, tf.int64), 4 * tf.cast(number, tf.int64) + i])
        for i in range(3)
    ]
    inner = length - 2 * fixed
    order = tf.argsort(
        tf.random.stateless_uniform((batch, inner), seeds[0]), axis=1
    )
    places = tf.sort(order[:, :count], axis=1) + fixed
    targets = tf.gather(windows, places, batch_dims=1)
    kind = tf.random.stateless_uniform((batch, count), seeds[1])
    other = tf.random.stateless_uniform(
        (batch, count), seeds[2], 0, vocabulary_size, tf.int32
    )
    shown = tf.where(kind < 0.8, mask, tf.where(kind < 0.9, other, targets))
    rows = tf.repeat(tf.range(batch)[:, None], count, axis=1)
    tokens = tf.tensor_scatter_nd_update(
        windows, tf.stack([rows, places], axis=-1), shown
    )
    return {"token_ids": tokens, "masked_positions": places}, targets
