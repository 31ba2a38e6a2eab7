"""When a plan keeps the function: read off its matrices, not believed.

Width keeps the function if `produce.T @ consume == I`, if `produce` commutes
with whatever nonlinearity lies behind the dimension, and if a norm along it
sees the same statistics. Depth keeps it if every new block is the identity.
See `docs/design.md` for the proofs; the conditions on norms follow from
`mean(x'^2) = mean(x^2)` and, for LayerNorm, from the mean of `x'` being that
of `x`.
"""

from dataclasses import dataclass

import numpy as np

from kgrow.errors import GrowthError
from kgrow.expansion import Dense
from kgrow.term import Fresh

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Claim:
    """Whether growing one dimension keeps the function, and why (not).

    Args:
        dim: string, name of a dimension or a stack.
        exact: bool.
        reason: string.
    """

    dim: str
    exact: bool
    reason: str


def claims(plan):
    """What a plan claims, one `Claim` per dimension and stack that it grows.

    The function of the whole network is kept if every claim is exact.

    Example:

    >>> from kgrow.expansion import Expansion
    >>> from kgrow.plan import Plan
    >>> from kgrow.term import Term
    >>> from kgrow.axis_map import AxisMap
    >>> from kgrow.spec import Dim
    >>> axes = AxisMap({"in": "_ -> h", "gain": "-> h | gain",
    ...     "out": "h -> _"}, [Dim("h", kind="stream", norm="layer")])
    >>> def spec(n):
    ...     return axes.spec([("in", (3, n)), ("gain", (n,)),
    ...         ("out", (n, 1))], {})
    >>> uneven = Expansion.select(2, [0, 1, 0])
    >>> claims(Plan(spec(2), spec(3), (Term({"h": uneven}),)))[0].exact
    False
    """
    if len(plan.terms) != 1:
        raise GrowthError(
            "The laws read off single terms; a sum of several states its own "
            f"claims. Received: {len(plan.terms)} terms"
        )
    (term,) = plan.terms
    result = []
    for name, dim in plan.target.dims.items():
        expansions = term.widths.get(name)
        if expansions is None:
            continue
        if not isinstance(expansions, tuple):
            expansions = (expansions,)
        fresh = plan.fresh.get(name, Fresh())
        failed = [f for e in expansions if (f := _fault(e, dim, fresh))]
        result.append(Claim(name, not failed, failed[0] if failed else "exact"))
    for name, mixing in term.depths.items():
        fault = _depth_fault(mixing, plan.target.stacks[name])
        result.append(Claim(name, fault is None, fault or "exact"))
    return result


def _fault(expansion, dim, fresh):
    """Why an expansion of `dim` does not keep the function, or `None`."""
    if expansion.is_identity or dim.kind == "lookup":
        return None
    if not expansion.preserves():
        return "what is read is not what was produced"
    produce, unwritten = expansion.produce, expansion.produce.unwritten
    if unwritten.size and not (
        fresh.outgoing == "zeros"
        or (fresh.incoming == "zeros" and dim.kind == "stream")
    ):
        return "new entries are read with random weights"
    if dim.kind == "copy" and not _copies(produce):
        return "only copies commute with the nonlinearity behind it"
    if dim.norm is None:
        return None
    if unwritten.size and fresh.incoming != "zeros":
        return "new entries change the statistics of the norm"
    matrix = produce.matrix()
    if np.count_nonzero(matrix, axis=1).max() > 1:
        return "the gain of the norm does not commute with mixed entries"
    if not _keeps_statistics(matrix, dim.norm):
        return (
            "entries copied in unequal numbers change the statistics of the "
            "norm"
        )
    return None


def _copies(produce):
    return not isinstance(produce, Dense) and produce.weights is None


def _keeps_statistics(a, norm):
    """Whether `x -> a x` keeps the mean square, and for LayerNorm the mean."""
    m, n = a.shape
    if norm == "rms":
        return np.abs(a.T @ a - m / n * np.eye(n)).max() <= _ROUNDING * m
    sums = a.sum(axis=1)
    if np.ptp(sums) > _ROUNDING * max(1.0, np.abs(sums).max()):
        return False
    gram = a.T @ a - np.outer(a.sum(axis=0), a.sum(axis=0)) / m
    centred = np.eye(n) - 1.0 / n
    return np.abs(gram - m / n * centred).max() <= _ROUNDING * m


def _depth_fault(mixing, stack):
    if mixing.is_identity:
        return None
    if not mixing.keeps_blocks():
        return "new blocks compute something of their own"
    if stack.norm != "pre":
        return "a norm after the addition makes no block the identity"
    return None
