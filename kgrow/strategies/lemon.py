"""Lossless to any size: copies, averages, and a stream that is scaled."""

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

    Units are copied circularly, heads whole, and what reads copies has uneven
    shares, so that they part. Along a stream that a norm takes statistics of,
    `n` units become `m = k n + r`: `k` copies of each and `r` entries that hold
    the mean of all (zero, for RMSNorm), the whole scaled by `s = sqrt(m / (k
    n))`. Such entries leave mean and variance as they are, and the norm takes
    them to zero: what reads them is free, and starts as the layers' own random
    weights, which parts the copies further. With `z` what the norm makes of
    the old stream it makes `s z` of each copy; gains are copied, shifts scaled
    by `s` and zero on the rest, and readers divide by `k s`. Weights that are
    tied to the producing ones read with `s`, so that the gain and the shift in
    front of them are divided by `k s^2` and by `k s`.

    New blocks follow the last ones, silent at first (see `DepthMap`): exact
    in pre-norm networks, and in post-norm ones but for the norms' epsilon.

    A post-norm stream takes the norm's output up again, which averages do not
    survive: there the growth is exact at whole multiples, and otherwise
    approximate, and the receipt says by how much. Where a nonlinearity lies
    behind the stream, as in a masked-LM head, units are copied, never averaged.

    Deviates: the paper scales gains and the norms' epsilon; scaling the stream
    needs no other epsilon, and any layer will do. New blocks copy the block
    below them instead of mixing in units of the one above, and any number of
    them can be added.

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
    """Silent blocks behind the last ones, evenly if there are more."""

    def __init__(self) -> None:
        super().__init__(zero_exits=True)

    def stacking_list(self, source: int, target: int) -> list[int]:
        each, more = divmod(target - source, source)
        times = [1 + each + (i >= source - more) for i in range(source)]
        return np.repeat(np.arange(source), times).tolist()


def _scaled(norm, source, indices, whole, rng):
    """`whole` entries are copies, the others averages or zeros."""
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
