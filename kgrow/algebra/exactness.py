"""When a plan keeps the function: read off its matrices, not believed.

Width keeps the function if `produce.T @ consume == I` and if `produce` commutes
with the nonlinearity that follows the dimension. Where a norm takes
statistics along it, those must stay, and the equation is asked of what leaves
the norm. Depth keeps the function if every new block is the identity. The
proofs are in `docs/design.md`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from kgrow.algebra.axes import CONSUME
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.plan_term import NewEntryInit

if TYPE_CHECKING:
    from kgrow.algebra.plan import Plan

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Claim:
    """Whether growing one dimension keeps the function, and why (not).

    Args:
        dim: string, name of a dimension or a stack.
        exact: bool.
        reason: string.
        within: float. Relative difference, beyond rounding, that the small
            constant inside repeated norms makes.
    """

    dim: str
    exact: bool
    reason: str
    within: float = 0.0


def claims(plan: Plan) -> list[Claim]:
    """The claims of a plan, one for each dimension and stack that it grows.

    The function of the whole network is kept if every claim is exact.

    Example:

    >>> from kgrow.algebra.expansion import Expansion
    >>> from kgrow.algebra.plan import Plan
    >>> from kgrow.algebra.plan_term import PlanTerm
    >>> from kgrow.algebra.axis_map import AxisMap
    >>> from kgrow.algebra.spec import Dim
    >>> axes = AxisMap({"in": "_ -> h", "scale": "-> h | scale",
    ...     "out": "h -> _"}, [Dim("h", kind="stream", norm="layer")])
    >>> def spec(n):
    ...     return axes.spec([("in", (3, n)), ("scale", (n,)),
    ...         ("out", (n, 1))], {})
    >>> uneven = Expansion.select(2, [0, 1, 0])
    >>> claims(Plan(spec(2), spec(3), (PlanTerm({"h": uneven}),)))[0].exact
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
        times = _times_more_chosen(plan, dim)
        if expansions is None and times == 1:
            continue
        if expansions is None:
            expansions = Expansion.identity(plan.target.sizes[name])
        if not isinstance(expansions, tuple):
            expansions = (expansions,)
        new_entries = plan.new_entries.get(name, NewEntryInit())
        places = _Places(plan.target, name)
        failed = [
            f
            for e in expansions
            if (f := _fault(e, dim, new_entries, places, times))
        ]
        failed += [
            "products of dimensions grow by maps of their own"
            for key in term.widths
            if name in _names(key) and not _is_product(term, key)
        ]
        result.append(Claim(name, not failed, failed[0] if failed else "exact"))
    for name, mixing in term.depths.items():
        result.append(_depth_claim(plan, name, mixing))
    return result


def _times_more_chosen(plan, dim):
    """How many times as many entries of a dimension take part at a time."""
    old, new = (s.config.get(dim.top_k) for s in (plan.source, plan.target))
    return 1 if old == new else new / old if old and new else math.nan


def _names(key):
    return [n.strip("~") for n in key] if isinstance(key, tuple) else ()


def _is_product(term, key):
    """Whether the maps of a product are those of its dimensions."""
    joint = term.widths[key]
    count = len(joint) if isinstance(joint, tuple) else 1
    for block in range(count):
        e, produce, consume = term.width(key, block), np.eye(1), np.eye(1)
        for name in key:
            part = term.width(name.strip("~"), block)
            if part is None:
                return False
            sides = part.produce.matrix(), part.consume.matrix()
            sides = sides[::-1] if name.startswith("~") else sides
            produce = np.kron(produce, sides[0])
            consume = np.kron(consume, sides[1])
        if not (
            _close(e.produce.matrix(), produce)
            and _close(e.consume.matrix(), consume)
        ):
            return False
    return True


class _Places:
    """How a dimension is used: `post` if what leaves a norm along it goes on
    along it, `tied` if tied weights read what leaves one, `factored` if it is
    multiplied entry by entry, `repeats` how often it is repeated within an
    axis that a norm takes statistics along."""

    def __init__(self, spec, dim):
        variables = [v for v in spec.variables.values() if dim in v.axes.dims]
        stacks = {v.stack for v in variables} - {None}
        self.post = any(spec.stacks[s].norm == "post" for s in stacks) or any(
            v.axes.attention_norm or v.axes.ffn_norm
            for v in variables
            if v.stack is None
        )
        self.factored = any(v.axes.elementwise for v in variables)
        self.repeats = {1} | {
            math.prod(f for f in axis.factors if isinstance(f, int))
            for v in variables
            for axis in v.axes
            if v.axes.scale and dim in axis.dims
        }
        self.tied = any(
            (v.axes.scale or v.axes.offset)
            and axis.role == CONSUME
            and dim in axis.dims
            for v in variables
            for axis in v.axes
        )


def _fault(expansion, dim, new_entries, places, times):
    """Why an expansion of `dim` does not keep the function, or `None`."""
    if dim.norm == "softmax":
        return _fault_at_softmax(expansion, dim, times)
    if expansion.is_identity or dim.kind == "lookup":
        return None
    if places.factored and not _single(expansion):
        return "what multiplies entry by entry does not commute with mixing"
    if dim.norm is not None:
        return _fault_at_norm(expansion, dim, new_entries, places)
    if not expansion.preserves():
        return "what is read is not what was produced"
    produce, unwritten = expansion.produce, expansion.produce.unwritten
    if unwritten.size and not (
        new_entries.outgoing == "zeros"
        or (
            new_entries.incoming == "zeros" and dim.kind in ("stream", "rotary")
        )
    ):
        return "new entries are read with random weights"
    if dim.kind == "nonlinear" and not _copies(produce):
        return "only copies commute with the nonlinearity after it"
    return None


def _single(expansion):
    """Whether each new entry reads one old one, and its factor the same."""
    produce = expansion.produce.matrix()
    factor = expansion.scale.value.matrix()
    read = produce != 0
    return bool(np.all(read.sum(axis=1) <= 1) and np.all(factor[read] == 1))


def _copies(produce):
    if isinstance(produce, MatrixMap):
        matrix = produce.matrix()
        return bool(
            np.all(np.isin(matrix, (0, 1))) and np.all(matrix.sum(axis=1) == 1)
        )
    return produce.weights is None


def _fault_at_softmax(e, dim, times):
    """The same where a softmax normalizes the dimension, of all entries or of
    the largest `top_k`, of which there are `times` as many.

    With `z` the old probabilities, those of equally many copies are `n / m`
    times `produce @ z`. The largest `k` of the old entries are the largest
    `k m / n` of their copies.
    """
    produce = e.produce
    if produce.unwritten.size:
        return "the softmax takes new entries into account"
    if not _copies(produce):
        return "only copies pass a softmax"
    copies = e.target // e.source
    if np.any(produce.matrix().sum(axis=0) != e.target / e.source):
        return "entries copied in unequal numbers share a softmax unequally"
    if dim.top_k and times != copies:
        return (
            f"`{dim.top_k}` has to grow by the same factor as `{dim.field}`, "
            "for copies take the places of others among the largest"
        )
    out = produce.matrix() / copies
    if not _close(out.T @ e.reader.value.matrix(), np.eye(e.source)):
        return "what is read is not what was produced"
    return None


def _fault_at_norm(e, dim, new_entries, places):
    """The same where a norm takes statistics along the dimension.

    With `z` what the norm makes of old values, it makes `normal @ z` of the
    new ones, times `scale` and plus `offset`.
    """
    if e.produce.unwritten.size and new_entries.incoming != "zeros":
        return "new entries change the statistics of the norm"
    produce = e.produce.matrix()
    if not all(
        _keeps_statistics(np.kron(np.eye(times), produce), dim.norm)
        for times in places.repeats
    ):
        copies = np.count_nonzero(produce, axis=1).max() <= 1
        return (
            "entries copied in unequal numbers change the statistics of the "
            "norm"
            if copies
            else "the statistics of the norm change"
        )
    if dim.kind == "nonlinear" and not _copies(e.produce):
        return "only copies commute with the nonlinearity after it"
    normal = _normal(produce, dim.norm)
    if normal is None:
        return "the gain of the norm does not commute with mixed entries"
    eye = np.eye(e.source)
    silent = ~normal.any(axis=1)
    out = normal * _rows_of(e.scale.value, normal)
    offset = e.offset.value.matrix()
    if places.post and not (_close(out, produce) and _close(offset, produce)):
        return "what the norm puts out is not what the stream holds"
    consume, free = e.consume.matrix(), np.zeros(e.target, bool)
    free[e.consume.unwritten] = new_entries.outgoing != "zeros"
    if np.any(free & ~(silent & ~offset.any(axis=1))):
        return "new entries are read with random weights"
    read = [out.T @ consume, offset.T @ consume]
    if places.tied:
        # Tied weights read with what they produce.
        tied_out = normal * _rows_of(e.tied_scale.value, normal)
        read += [produce.T @ tied_out, produce.T @ e.tied_offset.value.matrix()]
    if not all(_close(product, eye) for product in read):
        return "what is read is not what was produced"
    return None


def _normal(produce, norm):
    """What a norm makes of new values, as rows that read one old one each:
    `(m, n)`, or `None` if it is no such thing."""
    m, n = produce.shape
    if norm == "layer":
        # What a norm has put out has no mean, so that constants are nothing.
        produce = produce - produce.mean(axis=0)
        produce = produce - produce.mean(axis=1, keepdims=True)
    normal = np.zeros((m, n))
    rows = np.arange(m)
    columns = np.argmax(np.abs(produce), axis=1)
    normal[rows, columns] = produce[rows, columns]
    if norm == "layer" and n > 1:
        normal *= n / (n - 1)
        normal[np.abs(normal) < _ROUNDING] = 0
        back = normal - normal.mean(axis=1, keepdims=True)
    else:
        back = normal
    return normal if _close(back, produce) else None


def _rows_of(scale, normal):
    """The factor of each row, where the gain is read from the same entry."""
    matrix = scale.matrix()
    columns = np.argmax(np.abs(normal), axis=1)
    alone = np.count_nonzero(matrix, axis=1) <= 1
    factor = np.where(alone, matrix[np.arange(len(matrix)), columns], np.nan)
    return np.where(normal.any(axis=1), factor, 0.0)[:, None]


def _close(one, other):
    with np.errstate(invalid="ignore"):
        worst = np.abs(one - other).max(initial=0.0)
    return bool(worst <= _ROUNDING * max(1.0, np.abs(other).max(initial=0.0)))


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


def _depth_claim(plan, name, mixing):
    stack = plan.target.stacks[name]
    repeated = _repeated_norms(mixing) if stack.norm == "post" else None
    if mixing.is_identity or (stack.norm == "pre" and _adds(plan, name)):
        return Claim(name, True, "exact")
    if not any(
        v.axes.residual_out
        for v in plan.target.variables.values()
        if v.stack == name
    ):
        reason = "no residual branch to silence: a new block computes as well"
        return Claim(name, False, reason)
    if not mixing.keeps_blocks():
        return Claim(name, False, "new blocks compute something of their own")
    if repeated is None:
        reason = "a norm after the addition makes no block the identity"
        return Claim(name, False, reason)
    epsilon = plan.target.config.get(stack.epsilon)
    if not isinstance(epsilon, float):
        reason = "norms are repeated, and their epsilon is not known"
        return Claim(name, False, reason)
    # Each repetition divides by sqrt(1 + epsilon) at most, in every block
    # above it as well.
    within = epsilon * repeated * mixing.target
    return Claim(name, True, "exact but for the epsilon of norms", within)


def _adds(plan, name):
    """Whether every new block of a pre-norm stack is an old one, in order and
    each once, or adds nothing."""
    (term,) = plan.terms
    mixing, found = term.depths[name], {}
    for variable in plan.target.variables.values():
        if variable.stack == name and variable.template not in found:
            read = mixing.rows_of(variable)
            # One column more: the layer's own initial values.
            rows = np.pad(read.matrix(), ((0, 0), (0, 1)))
            rows[read.unwritten, -1] = 1.0
            if variable.axes.residual_out:
                rows = rows * mixing.exits[:, None]
            found[variable.template] = variable.axes.residual_out, rows
    exits = [rows for leaves, rows in found.values() if leaves]
    if not exits:
        return False
    live = np.any([rows.any(axis=1) for rows in exits], axis=0)
    if live.sum() != mixing.source:
        return False
    old = np.eye(mixing.source, mixing.source + 1)
    return all(np.array_equal(rows[live], old) for _, rows in found.values())


def _repeated_norms(mixing):
    """How many norms of a post-norm stack are repeated, if they are placed so
    that the repetition changes nothing."""
    silent = mixing.exits == 0
    if set(mixing.parts) != {"attention_norm", "ffn_norm"} or silent[0]:
        return None
    wanted = mixing.repeating_norms().parts
    for name, rows in mixing.parts.items():
        if (
            isinstance(rows, MatrixMap)
            or rows.weights is not None
            or not np.array_equal(rows.indices, wanted[name].indices)
        ):
            return None
    return 2 * int(silent.sum())
