"""Multi-stage layerwise training: the top grows, and the top trains."""

from __future__ import annotations

from kgrow.strategies.depth_maps import Top
from kgrow.strategies.registry import register


@register("mslt")
class MSLT(Top):
    """Copies of the top blocks on top, which alone are trained.

    Old blocks run forward only: no gradient, no state of the optimizer. The
    last stage of the paper trains everything; call `model.unfreeze()` for it.

    The paper's rule is followed, a stage trains the blocks that it adds, and
    followed to the letter: embeddings, the norm behind the stack and the
    output layer were there before, and rest. The public re-implementation
    (tongxuluo/prts) trains that norm and an untied output layer with the new
    blocks; and of its later stages' blocks the optimizer never hears, so that
    they do not train at all, which is not repeated here.

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
