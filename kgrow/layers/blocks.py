"""Running a stack of blocks, or the lower part of it."""

from keras import ops


def run_blocks(blocks, x, sub_model=None, training=None, **arguments):
    """Passes `x` through blocks.

    Args:
        blocks: list of layers.
        x: tensor.
        sub_model: optional pair of ints `(depth, trained)`. In training only
            the lowest `depth` blocks are run, and only the `trained` highest
            of these, with what stands behind them, get gradients.
        training: bool or `None`.
        **arguments: passed to every block.

    Example:

    >>> import keras
    >>> blocks = [keras.layers.ReLU() for _ in range(3)]
    >>> float(run_blocks(blocks, keras.ops.ones(()), (2, 1), training=True))
    1.0
    """
    if sub_model is None or not training:
        depth, start = len(blocks), None
    else:
        depth, trained = sub_model
        start = depth - trained
    for i, block in enumerate(blocks[:depth]):
        if i == start and start > 0:
            x = ops.stop_gradient(x)
        x = block(x, training=training, **arguments)
    return x
