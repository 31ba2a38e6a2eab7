"""Running a stack of blocks, or parts of it."""

import dataclasses

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks
from kgrow.layers.blocks.layer_drop import keep_probability, stochastic_depth
from kgrow.layers.blocks.token_drop import (
    choose_tokens,
    gather_tokens,
    scatter_tokens,
)
from kgrow.layers.masked.residual import MaskedResidual


@dataclasses.dataclass
class DropSettings:
    """The rates at which a stack drops blocks and tokens in training.

    Args:
        layer_drop: float in `[0, 1)`, the rate at which the last block is
            skipped, the ones below in proportion.
        token_drop: float in `[0, 1)`, the part of the tokens that goes past
            all blocks but the first and the last.
        seed: `keras.random.SeedGenerator`, if one of the two is not zero.

    Example:

    >>> DropSettings().seed is None, DropSettings(layer_drop=0.5).seed is None
    (True, False)
    """

    layer_drop: float = 0.0
    token_drop: float = 0.0
    seed: keras.random.SeedGenerator | None = None

    def __post_init__(self):
        self.layer_drop = argument_checks.rate("layer_drop", self.layer_drop)
        self.token_drop = argument_checks.rate("token_drop", self.token_drop)
        if self.seed is None and (self.layer_drop or self.token_drop):
            self.seed = keras.random.SeedGenerator(name="savings")


def run_blocks(
    blocks,
    x,
    sub_model=None,
    training=None,
    gate=None,
    drop_settings=None,
    padding_mask=None,
    context=None,
    context_mask=None,
    **options,
):
    """Passes `x` through blocks.

    Args:
        blocks: list of layers.
        x: tensor.
        sub_model: optional pair of ints `(depth, trained)`. In training only
            the lowest `depth` blocks are run, and only the `trained` highest
            of these, with everything after them, get gradients.
        training: bool or `None`.
        gate: optional tensor of shape `(blocks,)`, how far each block takes
            part, see `MaskedResidual`.
        drop_settings: optional `DropSettings`, what is left out in training.
        padding_mask: optional tensor of shape `(batch, length)`, passed to
            every block if it is given.
        context: optional tensor of shape `(batch, context length, features)`,
            what the first block attends to in place of `x`.
        context_mask: its padding mask, or `None`.
        **options: passed to every block.

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
    if not training or drop_settings is None:
        drop_settings = DropSettings()
    fewer = _fewer_tokens(depth, x, drop_settings, padding_mask)
    whole, mask = x, padding_mask
    for i, block in enumerate(blocks[:depth]):
        if i == start and start > 0:
            x = ops.stop_gradient(x)
        if fewer is not None and i == 1:
            whole, (x, mask) = x, fewer.take(x)
        if fewer is not None and i == depth - 1:
            x = fewer.scatter_tokens(whole, x)
        inside = fewer is not None and 0 < i < depth - 1
        given = dict(options, training=training)
        seen = mask if inside else padding_mask
        if i == 0 and context is not None:
            given["context"], seen = context, context_mask
        if seen is not None:
            given["padding_mask"] = seen
        outputs = _run(block, x, i, depth, drop_settings, given)
        x = (
            outputs
            if gate is None
            else MaskedResidual.merge(x, outputs, gate[i])
        )
    return x


def check_drop_settings(drop_settings, depth):
    """Raises if a stack is too shallow for its drop settings.

    Example:

    >>> check_drop_settings(DropSettings(token_drop=0.5), 3)
    """
    if drop_settings.token_drop and depth < 3:
        raise GrowthError(
            "Tokens go past the blocks between the first and the last, and "
            "there is none. Use token_drop=0.0 until the network has three. "
            f"Received: token_drop={drop_settings.token_drop}, {depth} blocks"
        )


def _run(block, x, number, depth, drop_settings, given):
    # Positions that pooling drops are read in the first block or not at all.
    if not drop_settings.layer_drop or "context" in given:
        return block(x, **given)
    probability = keep_probability(number, depth, drop_settings.layer_drop)
    return stochastic_depth(block, x, probability, drop_settings.seed, **given)


class _FewerTokens:
    """The tokens that go through the middle of the stack."""

    def __init__(self, x, drop_settings, padding_mask):
        self.mask = padding_mask
        self.chosen = choose_tokens(
            x, drop_settings.token_drop, drop_settings.seed, padding_mask
        )

    def take(self, x):
        mask = self.mask
        if mask is not None:
            mask = gather_tokens(ops.convert_to_tensor(mask), self.chosen)
        return gather_tokens(x, self.chosen), mask

    def scatter_tokens(self, whole, x):
        return scatter_tokens(whole, x, self.chosen)


def _fewer_tokens(depth, x, drop_settings, padding_mask):
    if not drop_settings.token_drop:
        return None
    check_drop_settings(drop_settings, depth)
    return _FewerTokens(x, drop_settings, padding_mask)
