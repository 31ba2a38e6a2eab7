"""bert2BERT: new units are copies, from the same layer or the next."""

from __future__ import annotations

import dataclasses

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion, Pair
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import PlanTerm, divisible_dims, map_each
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec
from kgrow.strategies.base import SplitTerms, Strategy
from kgrow.strategies.depth_maps import Top
from kgrow.strategies.net2net import balanced_copies
from kgrow.strategies.registry import register


@register("fpi")
class FPI(Strategy):
    """Function-preserving initialisation: copies with equal shares.

    New unit `i` copies unit `g(i)`. If there are `c` copies of a unit, the
    outgoing weights of each are `1 / c` of the old ones. Attention heads are
    copied whole. Depth grows by repeating the top blocks, which the paper does
    after widening.

    The function is kept along dimensions without a norm. Along those with one
    it is kept only if all units have equally many copies, as they do with
    `draw="balanced"` and a target that is a multiple.

    Args:
        draw: `"random"`: units to copy are drawn with replacement, as in the
            paper; or `"balanced"`: each unit is copied `floor` or `ceil` of
            `target / source` times.

    Example:

    >>> from kgrow.algebra.spec import Dim
    >>> e = FPI().expand_width(Dim("ffn"), 4, 7, np.random.default_rng(0))
    >>> e.preserves(), e.produce.indices[:4].tolist()
    (True, [0, 1, 2, 3])

    Reference:

    - Chen et al., "bert2BERT" (2110.07143), Sec. 3.2, Eq. 4-9, and Sec. 3.4
      for the depth. No code was published.
    """

    grows = frozenset({"width", "depth"})

    def __init__(self, draw: str = "random") -> None:
        if draw not in ("random", "balanced"):
            raise GrowthError(
                "`draw` must be 'random' or 'balanced'. Received: "
                f"draw={draw!r}"
            )
        self.draw = draw

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del dim
        if self.draw == "balanced":
            indices = balanced_copies(source, target, rng)
        else:
            copies = rng.integers(0, source, target - source)
            indices = np.concatenate([np.arange(source), copies])
        return Expansion.select(source, indices)

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        return Top().expand_depth(stack, source, target, rng)


@register("aki")
class AKI(FPI):
    """Advanced knowledge initialisation: new units come from the next layer.

    Old units stay as they were. A new unit of block `l` gets the incoming
    weights of a unit of block `l + 1`; outgoing weights are shared among copies
    as in `FPI`. The plan is a sum of two terms: one writes the old units, from
    block `l`, the other writes the new ones, from block `l + 1`. The last
    block, and variables outside of blocks, grow as in `FPI`.

    The function changes. The paper argues that neighbouring layers compute
    similar things, and that a copy from another layer differs from the old
    units, so that there is no symmetry to break.

    Deviates: the paper grows whole heads. The size of a head grows as in
    `FPI`, for queries and keys must copy the same entries.

    Args:
        draw: see `FPI`.

    Raises:
        GrowthError: the network has one layer only.

    Example:

    >>> AKI()
    AKI(draw='random')

    Reference:

    - Chen et al., "bert2BERT" (2110.07143), Sec. 3.3, Eq. 10-15.
    """

    def split_terms(
        self, term: PlanTerm, source: ModelSpec, target: ModelSpec
    ) -> SplitTerms:
        parts = frozenset(divisible_dims(target) & term.widths.keys())
        if not parts:
            return (term,), None
        shallow = [s for s, depth in source.depths.items() if depth < 2]
        if shallow or not source.depths:
            raise GrowthError(
                "'aki' takes new units from the next layer, and the network "
                f"has {min(source.depths.values(), default=0)}. Use 'fpi', "
                "which takes them from the layer itself."
            )
        old, new = dict(term.widths), dict(term.widths)
        for dim in parts:
            old[dim] = map_each(term.widths[dim], _part_before)
            new[dim] = map_each(term.widths[dim], _part_behind)
        above = {
            stack: _above(
                term.depths.get(stack, DepthExpansion.identity(depth)), depth
            )
            for stack, depth in source.depths.items()
        }
        terms = (
            dataclasses.replace(term, widths=old, parts=parts),
            dataclasses.replace(
                term, widths=new, depths=above, parts=parts, share=0.0
            ),
        )
        return terms, (term,)

    def claims(self, plan: Plan) -> list[Claim]:
        terms = plan.effect or plan.terms
        claims = super().claims(dataclasses.replace(plan, terms=terms))
        parts = plan.terms[0].parts
        return [
            dataclasses.replace(
                c, exact=False, reason="new units come from the next layer"
            )
            if c.dim in parts
            else c
            for c in claims
        ]


def _part_before(e):
    return _part(e, np.arange(e.target) < e.source)


def _part_behind(e):
    return _part(e, np.arange(e.target) >= e.source)


def _part(e, mask):
    """An expansion that produces the masked entries and zero elsewhere, where
    another term writes."""

    def cut(m):
        weights = np.ones(m.target) if m.weights is None else m.weights
        return GatherMap(m.source, m.indices, weights * mask)

    return Expansion(
        cut(e.produce),
        e.consume,
        scale=Pair(cut(e.scale.value), e.scale.gradient),
        offset=Pair(cut(e.offset.value), e.offset.gradient),
        tied_scale=e.tied_scale,
        tied_offset=e.tied_offset,
    )


def _above(mixing, depth):
    """The depth expansion that reads one block higher than `mixing`."""
    read = mixing.rows.indices
    above = np.where(read == UNWRITTEN, UNWRITTEN, read + 1)
    rows = GatherMap(depth, np.minimum(above, depth - 1))
    return DepthExpansion(rows, mixing.exits)
