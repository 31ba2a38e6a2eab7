"""bert2BERT: copies of units, of the layer itself or of the one above it."""

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
    """Function-preserving initialisation: copies read in equal shares.

    New unit `i` copies unit `g(i)`; what reads a unit that stands `c` times
    reads each copy with `1 / c` of the weight. Attention heads are copied
    whole. Deeper by the top blocks once more, as the paper does after
    widening.

    The paper calls this function-preserving. It is where no norm takes
    statistics along the dimension; along one that has a norm, only if every
    unit stands equally often, which `draw="balanced"` gives at multiples.

    Args:
        draw: `"random"`, each copy of a unit drawn with replacement, as in
            the paper; or `"balanced"`, each unit copied `floor` or `ceil` of
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

    Old units stay what they were. A new unit of block `l` copies one of block
    `l + 1`, with the weights that make it; what reads it is shared among the
    copies as under `FPI`. As a sum of two terms: the first writes the old
    entries of what a variable produces, mixed from block `l`; the second the
    new ones, from block `l + 1`. The last block, which has none above it, and
    what belongs to no block grow as under `FPI`.

    The function changes. The paper's argument is that neighbouring layers do
    similar things, and that units of another layer are no twins of the old
    ones, so that training need not part them.

    Deviates: the paper grows whole heads. A head's own size grows as under
    `FPI`, whose copies queries and keys have to agree on.

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
    """A part of what an expansion produces; the rest is written as zero, for
    another term to write."""

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
    """The mixing that reads the block above each that `mixing` reads."""
    read = mixing.rows.indices
    above = np.where(read == UNWRITTEN, UNWRITTEN, read + 1)
    rows = GatherMap(depth, np.minimum(above, depth - 1))
    return DepthExpansion(rows, mixing.exits)
