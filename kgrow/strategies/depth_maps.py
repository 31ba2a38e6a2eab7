"""Depth maps: which old block each new block copies."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import register


class DepthMap(Strategy):
    """Base class of strategies that grow depth by copying blocks.

    A depth map is a list with one entry per new block: the number of the old
    block that it copies. With `zero_exits=True`, only the first copy of each
    old block is live; the last projections of the residual branches of all
    other blocks are zero, so that they add nothing. This keeps the function
    to the last bit in a pre-norm network. In a post-norm network a block also
    normalises the stream; the norms are placed so that the stream is
    normalised twice and scaled once (`DepthExpansion.repeating_norms()`), which
    keeps the function up to the epsilon inside the norms. Blocks without a
    residual branch become identity matrices where that is possible
    (`identity_blocks`).

    Args:
        zero_exits: bool, whether only the first copy of a block is live.
    """

    grows = frozenset({"depth"})

    copies = True  # whether it needs an old block to copy

    def __init__(self, zero_exits: bool = False) -> None:
        self.zero_exits = bool(zero_exits)

    def stacking_list(self, source: int, target: int) -> Sequence[int | None]:
        """Numbers of the old blocks that each of `target` new blocks copies."""
        raise NotImplementedError

    def expand_depth(
        self,
        stack: BlockStack | None,
        source: int,
        target: int,
        rng: np.random.Generator | None,
    ) -> DepthExpansion:
        del rng
        field = "depth" if stack is None else stack.field
        if self.copies and not source:
            raise GrowthError(
                f"'{self.name}' copies blocks, and `{field}` is to grow from "
                f"0 to {target}. Use 'direct' or 'random', whose new "
                "blocks start from the layers' own initial weights."
            )
        blocks = self._blocks(stack, source, target)
        exits, seen = [], set()
        for block in blocks:
            again = block is None or block in seen
            exits.append(0.0 if self.zero_exits and again else 1.0)
            seen.add(block)
        mixing = DepthExpansion.select(source, blocks, exits)
        silent = 0.0 in exits and stack is not None and stack.norm == "post"
        return mixing.repeating_norms() if silent else mixing

    def _blocks(self, stack, source, target):
        """The stacking list. Where blocks alternate with a period, whole groups
        of that many blocks are copied."""
        if stack is None or stack.period == 1:
            return self.stacking_list(source, target)
        period = stack.period
        if source % period or target % period:
            raise GrowthError(
                f"What a block does depends on its number modulo {period} (as "
                f"windows shift in every other one), so `{stack.field}` grows "
                f"from and to multiples of {period}. Received: {source} -> "
                f"{target}."
            )
        groups = self.stacking_list(source // period, target // period)
        return [
            None if group is None else group * period + place
            for group in groups
            for place in range(period)
        ]


@register("stack", aliases=("stackbert",))
class Stack(DepthMap):
    """The whole stack is repeated on top: new block `i` copies `i % source`.

    Example:

    >>> Stack().stacking_list(4, 6)
    [0, 1, 2, 3, 0, 1]

    Reference:

    - Gong et al., "Efficient Training of BERT by Progressively Stacking"
      (ICML 2019); Du et al. (2405.15319), G_stack. If the target is no
      multiple, the last repetition has the bottom blocks only, as in
      CompoundGrow.
    """

    def stacking_list(self, source: int, target: int) -> list[int]:
        return [i % source for i in range(target)]


@register("interpolate")
class Interpolate(DepthMap):
    """Each block is followed by its copies: `i` copies `i * source // target`.

    Example:

    >>> Interpolate().stacking_list(4, 6)
    [0, 0, 1, 2, 2, 3]

    Reference:

    - Chang et al., "Multi-level Residual Networks from Dynamical Systems
      View" (1710.10348); Dong et al., "Towards Adaptive Residual Network
      Training" (2020). InterBERT in the LiGO paper, Sec. 4.
    """

    def stacking_list(self, source: int, target: int) -> list[int]:
        return [i * source // target for i in range(target)]


@register("middle", aliases=("midas",))
class Middle(DepthMap):
    """The middle blocks are repeated, each group after its original.

    The first and the last blocks stay as they were; the middle grows, where
    neighbouring blocks are most alike.

    Example:

    >>> Middle().stacking_list(4, 6)
    [0, 1, 2, 1, 2, 3]

    Reference:

    - Saunshi et al., "On the Inductive Bias of Stacking Towards Improving
      Reasoning" (2409.19044), MIDAS. The paper copies a group of fixed size
      per stage; here the group has as many blocks as are to be added, and
      more than the whole stack is added in several rounds.
    """

    def stacking_list(self, source: int, target: int) -> list[int]:
        blocks = list(range(source))
        while len(blocks) < target:
            size = min(target - len(blocks), source)
            start = (len(blocks) - size) // 2
            end = start + size
            blocks = blocks[:end] + blocks[start:end] + blocks[end:]
        return blocks


@register("top")
class Top(DepthMap):
    """The top blocks are repeated on top.

    If more blocks are added than there were, whole copies of the stack come
    first, and copies of the top blocks after them.

    Example:

    >>> Top().stacking_list(4, 6)
    [0, 1, 2, 3, 2, 3]

    Reference:

    - Yang et al., "Progressively Stacking 2.0" (2011.13635), MSLT; the same
      remainder as bert2BERT (2110.07143), Sec. 3.2.
    """

    def stacking_list(self, source: int, target: int) -> list[int]:
        whole, rest = divmod(target, source)
        blocks = list(range(source)) * whole
        return blocks + list(range(source - rest, source))


@register("identity")
class Identity(DepthMap):
    """New blocks between the old ones, each the identity at first.

    A new block copies the one below it, and the last projections of its
    residual branches are zero, which keeps the function (see `DepthMap`).

    Example:

    >>> mixing = Identity().expand_depth(None, 2, 4, None)
    >>> mixing.rows.indices.tolist(), mixing.exits.tolist()
    ([0, 0, 1, 1], [1.0, 0.0, 1.0, 0.0])

    Reference:

    - Chen et al., "Net2Net" (1511.05641), Sec. 2.3; Wu et al., "LLaMA Pro"
      (2401.02415), Sec. 3.2, for the zeroed exits of a transformer block;
      Wang et al., "LEMON" (2310.07999), Sec. 4.3, for repeated norms.
    """

    def __init__(self) -> None:
        super().__init__(zero_exits=True)

    def stacking_list(self, source: int, target: int) -> list[int]:
        return Interpolate().stacking_list(source, target)


@register()
class StackingList(DepthMap):
    """A depth map given as a list.

    Args:
        blocks: list. For each new block the number of the old block to copy,
            or `None` for a block with the layers' own initial weights. Where
            blocks alternate (shifted windows), a block must copy one of its
            own kind.
        zero_exits: bool, see `DepthMap`.

    Example:

    >>> StackingList([0, 1, None, 1]).stacking_list(2, 4)
    [0, 1, None, 1]
    """

    def __init__(
        self, blocks: Sequence[int | None], zero_exits: bool = False
    ) -> None:
        super().__init__(zero_exits)
        if not isinstance(blocks, (list, tuple)) or not all(
            b is None or (isinstance(b, numbers.Integral) and b >= 0)
            for b in blocks
        ):
            raise GrowthError(
                "A stacking list holds the number of an old block, or None, "
                f"for each new one. Received: {blocks!r}"
            )
        self.blocks = [None if b is None else int(b) for b in blocks]
        self.copies = any(b is not None for b in blocks)

    def _blocks(self, stack, source, target):
        blocks = self.stacking_list(source, target)
        period = 1 if stack is None else stack.period
        moved = [
            (place, block)
            for place, block in enumerate(blocks)
            if block is not None and (place - block) % period
        ]
        if moved:
            raise GrowthError(
                f"What a block does depends on its number modulo {period}. "
                f"Received: {blocks}, where (place, copied block) {moved} have "
                "another remainder."
            )
        return blocks

    def stacking_list(self, source: int, target: int) -> list[int | None]:
        if len(self.blocks) != target:
            raise GrowthError(
                f"The target has {target} blocks, so the stacking list needs "
                f"{target} entries. Received: {len(self.blocks)}, {self.blocks}"
            )
        wrong = [b for b in self.blocks if b is not None and b >= source]
        if wrong:
            raise GrowthError(
                f"The source has the blocks 0 to {source - 1}. Received: "
                f"{self.blocks}, which copies {wrong}"
            )
        return self.blocks
