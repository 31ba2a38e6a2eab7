"""Staged training: copies of the network side by side."""

from __future__ import annotations

import dataclasses

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion, Pair
from kgrow.algebra.linear_maps import GatherMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import PlanTerm, divisible_dims, map_each
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec
from kgrow.strategies.base import SplitTerms, Strategy
from kgrow.strategies.depth_maps import Stack
from kgrow.strategies.hypercloning import check_snr, noise_ratio, whole_tiles
from kgrow.strategies.registry import register


@register("staged")
class Staged(Strategy):
    """Block-diagonal growth: several copies of the network side by side.

    A matrix `W` becomes `[[W, 0], [0, W]]`: each copy of the network reads
    itself only, and the logits are the mean over the copies. The plan is a sum
    of one term per copy, which writes and reads the entries of that copy; a
    variable that produces none of the grown dimensions, such as the head, gets
    an equal share of each term. The function is kept through any norm, as all
    units are copied equally often. Widths grow to whole multiples only. Depth
    grows by stacking, which changes the function.

    Moments of the optimizer are divided by the number of copies, and those of
    squares by its square, as in the paper, for each copy gets that share of
    the gradient. Deviates: the zeros off the diagonal have gradients as large
    as the entries on it, so they get the same moments; in the paper's code
    these are zero. The copies stay equal except through entries off the
    diagonal; noise on their outgoing weights, which cancels while they are
    equal, breaks the symmetry.

    Args:
        snr: float, signal-to-noise ratio of that noise in decibels, see
            `HyperCloning`; or `None`, as in the paper, for no noise.

    Example:

    >>> from kgrow.algebra.spec import Dim
    >>> Staged().expand_width(Dim("ffn"), 2, 4, None).consume.weights.tolist()
    [0.5, 0.5, 0.5, 0.5]

    Reference:

    - Shen et al., "Staged Training for Transformer Language Models"
      (2203.06211), Sec. 3.1, the width and the depth operator.
    """

    grows = frozenset({"width", "depth"})

    def __init__(self, snr: float | None = None) -> None:
        self.snr = check_snr(snr)

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del rng
        return whole_tiles(self.name, dim, source, target)

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        return Stack().expand_depth(stack, source, target, rng)

    def split_terms(
        self, term: PlanTerm, source: ModelSpec, target: ModelSpec
    ) -> SplitTerms:
        parts = frozenset(divisible_dims(target) & term.widths.keys())
        times = {target.sizes[d] // source.sizes[d] for d in parts}
        if not parts:
            return (term,), None
        if len(times) > 1:
            sizes = {d: (source.sizes[d], target.sizes[d]) for d in parts}
            raise GrowthError(
                "'staged' sets copies of the whole network side by side, so "
                "that all widths grow by one factor. Received: (before, "
                f"after) {sizes}. Give them one factor, or use "
                "'hypercloning'."
            )
        (times,) = times
        terms = []
        for copy in range(times):
            widths = dict(term.widths)
            for dim in parts:
                widths[dim] = map_each(
                    term.widths[dim], lambda e, copy=copy: _one(e, copy, times)
                )
            terms.append(
                dataclasses.replace(
                    term, widths=widths, parts=parts, share=1.0 / times
                )
            )
        return tuple(terms), (term,)

    def claims(self, plan: Plan) -> list[Claim]:
        terms = plan.effect or plan.terms
        return super().claims(dataclasses.replace(plan, terms=terms))

    def noise(self, dim: Dim) -> float:
        del dim
        return noise_ratio(self.snr)


def _one(e, copy, times):
    """The expansion of one copy, which writes and reads its own entries."""
    mask = (np.arange(e.target) // e.source == copy).astype(float)
    own = GatherMap(e.source, np.arange(e.target) % e.source, mask)
    reads = Pair(own, own)
    return Expansion(own, own, reads, reads, reads, reads)
