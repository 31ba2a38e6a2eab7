"""MSLT: blocks are added on top, and only they are trained."""

from __future__ import annotations

from kgrow.strategies.depth_maps import Top
from kgrow.strategies.registry import register


@register("mslt")
class MSLT(Top):
    """Copies of the top blocks on top; only the copies are trained.

    The old blocks are frozen: they have no gradient and no optimizer state.
    The last stage of the paper trains all weights; call `model.unfreeze()` for
    it.

    As the paper says, a stage trains the blocks that it adds: embeddings, the
    norm after the stack and the output layer are frozen too. The public
    re-implementation (tongxuluo/prts) also trains that norm and an untied
    output layer; in its later stages it does not pass the new blocks to the
    optimizer, so that they are not trained, which is not reproduced here.

    Args:
        zero_exits: bool, see `DepthMap`; the paper's copies are live.

    Example:

    >>> MSLT().stacking_list(3, 6), MSLT().default_trainable
    ([0, 1, 2, 0, 1, 2], 'new')

    Reference:

    - Yang et al., "Progressively Stacking 2.0: A Multi-stage Layerwise
      Training Method for BERT Training Speedup" (2011.13635).
    """

    default_trainable = "new"
