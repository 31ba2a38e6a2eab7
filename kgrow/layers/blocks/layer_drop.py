"""Skipping whole blocks at random while training."""

import keras
from keras import ops

from kgrow.backend.flops import scale_flops


def keep_probability(block, blocks, rate):
    """How likely a block is run: the deeper, the less.

    Args:
        block: int, number of the block.
        blocks: int, how many there are.
        rate: float, the rate at which the last one is skipped.

    Example:

    >>> [keep_probability(i, 4, 0.4) for i in range(4)]
    [0.9, 0.8, 0.7, 0.6]

    Reference:

    - Zhang and He, "Accelerating Training of Transformer-Based Language
      Models with Progressive Layer Dropping" (2010.13369), Eq. 5. Blocks that
      are run are not rescaled here, as in LayerDrop (Fan et al., 1909.11556).
    """
    return round(1.0 - (block + 1) / blocks * rate, 12)


def stochastic_depth(block, x, probability, seed, **arguments):
    """Runs a block with some probability; else `x` goes past it.

    A skipped block costs nothing: only one of the two ways is computed.

    Args:
        block: a layer whose outputs have the shape of its inputs.
        x: tensor.
        probability: float in `(0, 1]`, see `keep_probability()`.
        seed: `keras.random.SeedGenerator`.
        **arguments: passed to the block.

    Example:

    >>> seed = keras.random.SeedGenerator(0)
    >>> float(stochastic_depth(keras.layers.ReLU(), ops.ones(()), 1.0, seed))
    1.0
    """
    run = keras.random.uniform((), seed=seed) < probability
    # Random states that the block advances must be returned by the branch: a
    # branch has no side effects in a compiled step.
    states = block.non_trainable_variables
    trained = [v.value for v in block.trainable_variables]
    kept = [ops.convert_to_tensor(v.value) for v in states]

    def through():
        outputs, changed = block.stateless_call(trained, kept, x, **arguments)
        return outputs, changed

    with scale_flops(probability):
        outputs, changed = ops.cond(run, through, lambda: (x, kept))
    for state, value in zip(states, changed, strict=True):
        state.assign(value)
    return outputs
