"""LLaMA Pro: identity blocks are inserted, and only they are trained."""

from __future__ import annotations

from kgrow.strategies.depth_maps import DepthMap
from kgrow.strategies.registry import register


@register("llama_pro")
class LlamaPro(DepthMap):
    """An identity block after each group of blocks; old blocks are frozen.

    To add `k` blocks, the stack is divided into `k` groups of neighbours. A
    copy of the last block of each group follows the group, with zeros in the
    last projections of its residual branches, which keeps the function (see
    `DepthMap`). By default only the new blocks are trained (see `trainable` in
    `GrowableModel.grow()`), so that the old weights keep what they have
    learned.

    Deviates: the code of the paper needs groups of equal size and drops a
    remainder. Here any number of blocks is added: the sizes of groups differ
    by one block if they have to, and a block is followed by several copies if
    more blocks are added than there were.

    Example:

    >>> LlamaPro().stacking_list(4, 6)
    [0, 1, 1, 2, 3, 3]
    >>> LlamaPro().expand_depth(None, 2, 3, None).exits.tolist()
    [1.0, 1.0, 0.0]

    Reference:

    - Wu et al., "LLaMA Pro: Progressive LLaMA with Block Expansion"
      (2401.02415), Sec. 3.2 and 3.3.
    """

    default_trainable = "new"

    def __init__(self) -> None:
        super().__init__(zero_exits=True)

    def stacking_list(self, source: int, target: int) -> list[int]:
        extra, blocks = target - source, []
        for block in range(source):
            before, after = (i * extra // source for i in (block, block + 1))
            blocks += [block] * (1 + after - before)
        return blocks
