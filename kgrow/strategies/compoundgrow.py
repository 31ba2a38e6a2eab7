"""CompoundGrow: what made the small model cheap is undone by growth."""

from __future__ import annotations

import numpy as np

from kgrow.algebra.axes import CONSUME, PRODUCE
from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan_term import PlanTerm
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec
from kgrow.strategies.base import SplitTerms, Strategy
from kgrow.strategies.depth_maps import Stack
from kgrow.strategies.fixed_dims import is_placed
from kgrow.strategies.registry import register


@register("compoundgrow")
class CompoundGrow(Strategy):
    """Tiles feedforward networks, adds rank to factorised kernels, stacks.

    It grows three things, alone or together:

    - Feedforward networks with shared parameters, the paper's choice for
      width. A small network with `1 / k` of the units represents `k` equal
      copies; growth makes them separate: the first kernel and its bias are
      tiled, the second kernel is tiled and divided by `k`. The function is
      kept. As in the paper, only dropout makes the copies differ.
    - Rank. If a kernel is a product of two, the dimension between the factors
      is linear, with one kernel on either side. New columns of the first are
      random and new rows of the second zero, which keeps the function. The
      paper then multiplies the factors into one kernel; that changes the
      variables of the network, and is not covered.
    - Depth, by stacking, which changes the function.

    Not covered: pooled sequences (the paper's length dimension) and shared
    attention scores are computed by the small network itself, and growing a
    table of positions does not remove them. Other widths are refused; use
    `Combine` to grow them by another strategy and depth by this one.

    Example:

    >>> from kgrow.algebra.spec import Dim
    >>> e = CompoundGrow().expand_width(Dim("ffn"), 2, 4, None)
    >>> e.produce.indices.tolist(), e.consume.weights.tolist()
    ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5])

    Reference:

    - Gu et al., "On the Transformer Growth for Progressive BERT Training"
      (2010.12562), Sec. 3.2 (width) and Sec. 4 (the method); its code,
      google-research/grow_bert, tiles and divides in the same way.
    """

    grows = frozenset({"width", "depth"})

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del rng
        if dim.norm is not None:
            raise self._refusal(dim, source, target)
        if dim.kind == "stream":
            return Expansion.pad(source, target)
        if target % source:
            raise GrowthError(
                f"'{self.name}' tiles the units of feedforward networks only, "
                f"and `{dim.field}` is to grow from {source} to {target}, "
                f"which is no multiple. Received: target={target}. Choose "
                f"{2 * source} for a feedforward network, or 'net2net', "
                "which copies any units to any number."
            )
        return Expansion.tile(source, target // source)

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
        for name, dim in target.dims.items():
            if name not in term.widths or is_placed(dim):
                continue
            if not _is_covered(dim, target):
                sizes = source.sizes[name], target.sizes[name]
                raise self._refusal(dim, *sizes)
        return super().split_terms(term, source, target)

    def _refusal(self, dim, source, target):
        return GrowthError(
            f"'{self.name}' widens only feedforward networks and the rank of "
            f"factorised kernels, and `{dim.field}` is to grow from {source} "
            f"to {target}. Received: target={target}. Combine it with a "
            "strategy for all widths: "
            f"Combine(width='net2net', depth='{self.name}')."
        )


def _is_covered(dim, spec):
    """Whether a dimension is the units of a feedforward network, or the rank
    between the two factors of a kernel."""
    writers, readers = {}, {}
    for variable in spec.variables.values():
        for axis in variable.axes:
            if dim.name not in axis.dims:
                continue
            ends = [a for a in variable.axes if a.role == axis.role]
            if sum(len(end.dims) for end in ends) > 1:
                # One of two indices of a value, as heads are.
                return False
            found = {CONSUME: readers, PRODUCE: writers}[axis.role]
            found.setdefault(variable.block, []).append(variable)
    if dim.kind == "nonlinear":
        return True
    alone = [len(v) for found in (writers, readers) for v in found.values()]
    return (
        bool(writers)
        and writers.keys() == readers.keys()
        and (set(alone) == {1})
    )
