"""Copies of units, and the weights that read them shared among the copies."""

from __future__ import annotations

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.strategies.base import Strategy
from kgrow.strategies.depth_maps import Identity
from kgrow.strategies.registry import register

SPLITS = ("uneven", "even")


@register("net2net")
class Net2Net(Strategy):
    """Wider by copies of random units, deeper by identity blocks.

    New unit `i` copies unit `g(i)`; whoever reads unit `j` reads each of its
    `c` copies with a share of the old weight, the shares adding up to one. The
    function is kept for any target size, with one exception that no operator
    made of copies escapes: along a dimension that a LayerNorm or RMSNorm
    takes statistics of, every unit must be copied equally often, so that the
    target must be a multiple of the source.

    Equal shares would keep twins equal for ever, as they see the same
    gradients. The default therefore splits unevenly, which keeps the function
    as well and parts them at once.

    Deviates: the paper draws `g` with replacement; here it is balanced, each
    unit copied `floor` or `ceil` of `target / source` times, which is what
    makes multiples exact through norms. The paper breaks symmetry by noise
    that changes the function; uneven shares do not.

    Args:
        split: `"uneven"` (shares drawn around equal ones) or `"even"`.

    Example:

    >>> from kgrow.algebra.spec import Dim
    >>> rng = np.random.default_rng(0)
    >>> e = Net2Net().expand_width(Dim("ffn"), 4, 6, rng)
    >>> e.produce.counts.max(), e.preserves()
    (np.int64(2), True)

    Reference:

    - Chen, Goodfellow, Shlens, "Net2Net" (1511.05641), Net2WiderNet (Sec.
      2.2) and Net2DeeperNet (Sec. 2.3).
    - Chen et al., "bert2BERT" (2110.07143), Sec. 3.2, the same for the heads,
      hidden states and embeddings of a transformer (FPI).
    """

    grows = frozenset({"width", "depth"})

    def __init__(self, split: str = "uneven") -> None:
        if split not in SPLITS:
            raise GrowthError(
                f"`split` must be one of {SPLITS}. Received: split={split!r}"
            )
        self.split = split

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del dim
        indices = balanced_copies(source, target, rng)
        if self.split == "even":
            return Expansion.select(source, indices)
        return Expansion.select(
            source, indices, uneven_shares(source, indices, rng)
        )

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        return Identity().expand_depth(stack, source, target, rng)


def balanced_copies(
    source: int, target: int, rng: np.random.Generator
) -> np.ndarray:
    """Which unit each of `target` copies, the old ones first, every one
    `floor` or `ceil` of `target / source` times."""
    rounds = [rng.permutation(source) for _ in range(target // source)]
    return np.concatenate([np.arange(source), *rounds])[:target]


def uneven_shares(
    source: int, indices: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Shares between half and one and a half of equal ones, before they are
    made to add up to one over the copies of a unit."""
    draws = rng.uniform(0.5, 1.5, len(indices))
    return draws / np.bincount(indices, draws, minlength=source)[indices]
