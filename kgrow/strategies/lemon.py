"""LEMON: lossless growth to any size, by copies, averages and a scale."""

from __future__ import annotations

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.expansion import Expansion, Pair
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap, MatrixMap
from kgrow.algebra.plan_term import NewEntryInit
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.strategies.base import Strategy
from kgrow.strategies.depth_maps import DepthMap
from kgrow.strategies.net2net import uneven_shares
from kgrow.strategies.registry import register


@register("lemon")
class LEMON(Strategy):
    """Keeps the function at any width, through LayerNorm and RMSNorm.

    Units are copied circularly, heads as a whole, and copies get uneven shares
    of the outgoing weights, which breaks their symmetry. Along a stream with a
    norm, `n` units become `m = k n + r`: `k` copies of each unit, and `r`
    entries that hold the mean of all units (zero, for RMSNorm). All of them are
    scaled by `s = sqrt(m / (k n))`. The `r` entries leave mean and variance as
    they are, and the norm maps them to zero. Their outgoing weights are
    therefore free, and start as the layers' own random weights, which breaks
    the symmetry further.

    If `z` is the output of the norm before, its output after is `s z` on every
    copy. Gains are copied; shifts are scaled by `s`, and zero on the `r`
    entries; outgoing weights are divided by `k s`. Weights that are tied to
    the ones that produce the stream read it with the factor `s` instead, so
    the gain in front of them is divided by `k s^2` and the shift by `k s`.

    New blocks follow the last ones and add nothing at first (see `DepthMap`):
    exact in pre-norm networks, and up to the epsilon of the norms in post-norm
    ones.

    In a post-norm network the output of the norm is added to again, and the
    gain does not commute with averages: the growth is exact at whole
    multiples, and otherwise approximate, by as much as the receipt says. Where
    a nonlinearity follows the stream, as in a masked-LM head, units are copied
    and never averaged.

    Deviates: the paper scales gains and the epsilon of norms. Scaling the
    stream leaves the epsilon as it is, and works with any norm layer. New
    blocks copy the block below instead of mixing in units of the one above,
    and any number of them can be added.

    Example:

    >>> from kgrow.algebra.spec import Dim
    >>> stream = Dim("hidden", kind="stream", norm="layer")
    >>> e = LEMON().expand_width(stream, 4, 6, np.random.default_rng(0))
    >>> e.produce.matrix()[4].round(3).tolist()
    [0.306, 0.306, 0.306, 0.306]

    Reference:

    - Wang et al., "LEMON: Lossless Model Expansion" (2310.07999), Sec. 4. The
      constructions for RMSNorm and for tied weights are derived here.
    """

    grows = frozenset({"width", "depth"})

    new_entries = NewEntryInit(incoming="initializer", outgoing="initializer")

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        indices = np.arange(target) % source
        whole = target // source * source
        if dim.norm is None or dim.kind == "nonlinear" or whole == target:
            shares = uneven_shares(source, indices, rng)
            return Expansion.select(source, indices, shares)
        return _scaled(dim.norm, source, indices, whole, rng)

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        return _Follow().expand_depth(stack, source, target, rng)


class _Follow(DepthMap):
    """Silent copies after the last blocks; after all, if they are too many."""

    def __init__(self) -> None:
        super().__init__(zero_exits=True)

    def stacking_list(self, source: int, target: int) -> list[int]:
        each, more = divmod(target - source, source)
        times = [1 + each + (i >= source - more) for i in range(source)]
        return np.repeat(np.arange(source), times).tolist()


def _scaled(norm, source, indices, whole, rng):
    """The first `whole` entries are copies, the others averages or zeros."""
    target = len(indices)
    scale = np.sqrt(target / whole)
    copied = np.arange(target) < whole
    shares = np.zeros(target)
    shares[:whole] = uneven_shares(source, indices[:whole], rng)

    def written(weights):
        return GatherMap(source, indices, np.where(copied, weights, 0.0))

    def free(weights):
        return GatherMap(
            source,
            np.where(copied, indices, UNWRITTEN),
            np.where(copied, weights, 0.0),
        )

    produce = written(scale)
    if norm == "layer":
        matrix = produce.matrix()
        matrix[whole:] = scale / source
        produce = MatrixMap(matrix)
    consume = free(shares / scale)
    return Expansion(
        produce,
        consume,
        scale=Pair(free(1.0), free(shares)),
        offset=Pair(written(scale), consume),
        tied_scale=Pair(free(shares / scale**2), free(scale**2)),
        tied_offset=Pair(written(shares / scale), produce),
    )
