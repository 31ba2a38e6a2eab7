"""SOLAR: two copies of a stack, without the blocks at the seam."""

from __future__ import annotations

from kgrow.algebra.errors import GrowthError
from kgrow.strategies.depth_maps import DepthMap
from kgrow.strategies.registry import register


@register("solar")
class SOLAR(DepthMap):
    """Two copies of the stack, each cut at the seam.

    The first copy loses its last `m` blocks and the second its first `m`, so
    that `n` blocks become `2 (n - m)`. In two whole copies the first block
    would follow the last, which are the least alike; cutting removes the
    blocks at that seam. The paper goes from 32 blocks to 48, with `m = 8`.

    The target decides `m`, so that any number of blocks up to `2 n` can be
    reached; if it is odd, the first copy keeps one block more. The paper leaves
    this open.

    Args:
        zero_exits: bool, see `DepthMap`.

    Example:

    >>> SOLAR().stacking_list(4, 6)
    [0, 1, 2, 1, 2, 3]
    >>> SOLAR().stacking_list(4, 7)
    [0, 1, 2, 3, 1, 2, 3]

    Reference:

    - Kim et al., "SOLAR 10.7B: Scaling Large Language Models with Simple yet
      Effective Depth Up-Scaling" (2312.15166), Sec. 2.
    """

    def stacking_list(self, source: int, target: int) -> list[int]:
        if target > 2 * source:
            raise GrowthError(
                f"'{self.name}' joins two copies of a stack only, which is to "
                f"grow from {source} to {target} blocks. Go to {2 * source} "
                "first and on from there, or use 'stack', which takes as many "
                f"copies as it needs. Received: target={target}"
            )
        second = target // 2
        return [*range(target - second), *range(source - second, source)]
