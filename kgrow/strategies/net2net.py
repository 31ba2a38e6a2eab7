"""Net2Net: copies of units that share their outgoing weights."""

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

    New unit `i` copies unit `g(i)`. The copies of a unit share its outgoing
    weights: each has a part of them, and the parts add up to the old weights.
    This keeps the function at any size along dimensions without a norm. Where
    a LayerNorm or RMSNorm takes statistics along the dimension, all units must
    be copied equally often, so the target must be a multiple of the source;
    that holds for every operator made of copies.

    With equal shares, copies would get equal gradients and stay equal for
    ever. By default the shares differ, which keeps the function as well and
    breaks the symmetry.

    New blocks are identities, see `Identity`.

    Deviates: the paper draws `g` with replacement. Here each unit is copied
    `floor` or `ceil` of `target / source` times, so that multiples are exact
    through norms. The paper breaks the symmetry by noise, which changes the
    function; uneven shares do not.

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
    """The unit that each of `target` units copies. The old units come first;
    each is copied `floor` or `ceil` of `target / source` times."""
    rounds = [rng.permutation(source) for _ in range(target // source)]
    return np.concatenate([np.arange(source), *rounds])[:target]


def uneven_shares(
    source: int, indices: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Shares that add up to one over the copies of a unit. Before that is made
    so, they are drawn between half and one and a half of equal shares."""
    draws = rng.uniform(0.5, 1.5, len(indices))
    return draws / np.bincount(indices, draws, minlength=source)[indices]
