"""Identity matrices as new blocks, where there is no residual branch."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from kgrow.algebra.axes import CONSUME, PRODUCE
from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.exactness import Claim
from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap, MatrixMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec, VariableSpec

_REASON = (
    "new blocks are identity matrices, which keep the function if the "
    "activation returns its own outputs unchanged, as relu does"
)


def insert_identities(plan: Plan) -> Plan:
    """A plan whose silent blocks are identity matrices where silence is none.

    A block is silent if the last projections of its residual branches are
    zero. Where a block has no residual branch, zeros silence nothing: if it is
    a square kernel and at most biases, a new block becomes an identity matrix
    with zero biases. Other blocks stay what the plan makes them.

    Args:
        plan: `Plan`.

    Reference:

    - Chen, Goodfellow, Shlens, "Net2Net" (1511.05641), Sec. 2.3,
      Net2DeeperNet. A kernel with positions, of a convolution, has the
      identity matrix at its middle.
    """
    if len(plan.terms) != 1:
        return plan
    (term,) = plan.terms
    depths, given = dict(term.depths), dict(plan.given)
    for name, depth in term.depths.items():
        silent = np.flatnonzero(depth.exits == 0)
        if not silent.size or not _can_be_identities(plan.target, name):
            continue
        if isinstance(depth.rows, MatrixMap):
            continue
        indices = depth.rows.indices.copy()
        indices[silent] = UNWRITTEN
        rows = GatherMap(depth.source, indices, depth.rows.weights)
        depths[name] = DepthExpansion(rows)
        for variable in _variables(plan.target, name):
            if variable.block in silent:
                given[variable.path] = _identity(variable)
    if depths == term.depths:
        return plan
    term = dataclasses.replace(term, depths=depths)
    return dataclasses.replace(plan, terms=(term,), given=given)


def with_identity_reasons(plan: Plan, claims: Sequence[Claim]) -> list[Claim]:
    """Claims that say of stacks with inserted identities what they rest on."""
    inserted = {
        variable.stack
        for path, variable in plan.target.variables.items()
        if path in plan.given and not plan.reads(path)
    }
    return [
        Claim(claim.dim, False, _REASON)
        if claim.dim in inserted and _can_be_identities(plan.target, claim.dim)
        else claim
        for claim in claims
    ]


def _variables(spec: ModelSpec, stack: str) -> list[VariableSpec]:
    return [v for v in spec.variables.values() if v.stack == stack]


def _can_be_identities(spec, stack):
    """Whether a block of a stack is a square kernel, and at most biases."""
    block = [v for v in _variables(spec, stack) if v.block == 0]
    kernels = [v for v in block if len(v.shape) > 1]
    biases = [v for v in block if len(v.shape) == 1]
    return (
        len(kernels) == 1
        and _is_square(kernels[0])
        and all(_is_bias(v, kernels[0].axes.axes[-1].factors) for v in biases)
    )


def _is_square(kernel):
    *positions, reads, writes = kernel.axes
    # An axis without a name has no role of its own.
    roles = (reads.role, writes.role) if reads.factors else (CONSUME, PRODUCE)
    return (
        roles == (CONSUME, PRODUCE)
        and reads.factors == writes.factors
        and kernel.shape[-1] == kernel.shape[-2]
        and not kernel.axes.residual_out
        and not kernel.axes.powers
        and not any(axis.factors for axis in positions)
        and all(size % 2 for size in kernel.shape[:-2])
    )


def _is_bias(variable, factors):
    axes = variable.axes
    (axis,) = axes
    flagged = axes.scale or axes.offset or axes.elementwise
    produces = axis.role == PRODUCE or not axis.factors
    return axis.factors == factors and produces and not flagged


def _identity(variable):
    value = np.zeros(variable.shape)
    if value.ndim > 1:
        middle = tuple(size // 2 for size in value.shape[:-2])
        value[middle] = np.eye(value.shape[-1])
    return value
