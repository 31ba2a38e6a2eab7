"""Block expansion: identity blocks between groups, and only they train."""

from __future__ import annotations

from kgrow.strategies.depth_maps import DepthMap
from kgrow.strategies.registry import register


@register("llama_pro")
class LlamaPro(DepthMap):
    """An identity block behind each group of blocks; the old ones are frozen.

    With `k` blocks to add, the stack falls into `k` groups of neighbours, and
    a copy of each group's last block, its exits zeroed, is set behind it. The
    function is kept (see `DepthMap`), and training (see `train` in
    `GrowableModel.grow()`) changes the new blocks alone, so that what the
    small model knew stays written where it was.

    Deviates: the code of the paper wants groups of equal size, and drops the
    remainder where there is one. Here any number is added: groups differ by
    one block where they must, and more than one copy stands behind a block
    where there are more to add than there were.

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
            before, behind = (i * extra // source for i in (block, block + 1))
            blocks += [block] * (1 + behind - before)
        return blocks
