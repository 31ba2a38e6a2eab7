"""Mango: one tensor-ring operator for all matrices of a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import PlanTerm
from kgrow.algebra.scalar_checks import check_count, check_number
from kgrow.algebra.spec import BlockStack, ModelSpec
from kgrow.strategies.base import random_generator
from kgrow.strategies.depth_maps import Stack
from kgrow.strategies.fixed_dims import is_placed
from kgrow.strategies.learned_operator import Learned, Operator
from kgrow.strategies.lemon import LEMON
from kgrow.strategies.mango_ring import (
    CORES,
    Ring,
    find_layout,
    inner_dims,
)
from kgrow.strategies.registry import register
from kgrow.strategies.with_base import nothing_to_do


@register("mango")
class Mango(Learned):
    """One learned multi-linear map for all matrices of a stack.

    **The tensor.** With a stream of `D` values, every kernel of a block is cut
    into slices of `D x D`: queries, keys, values and the output projection are
    one slice each; a feedforward network of `k D` units has `k` slices in its
    first layer and `k` in its second. The `B` slices of `L` blocks form
    `M1[b, i, o, l]`, with inputs `i` and outputs `o`.

    **The operator.** A full linear map from `M1` to the tensor `M2` of the
    large network would have as many entries as the product of their sizes. It
    is written as a ring of four cores, each with one index of `M1`, one of
    `M2`, and two small ranks:

        S_B[r1, b, b', r2]    modules        S_O[r2, o, o', r3]    out
        S_L[r3, l, l', r4]    layers         S_I[r4, i, i', r1]    in

    The map is `M2[b', i', o', l'] = sum S_B S_O S_L S_I M1[b, i, o, l]`, summed
    over `b, i, o, l` and the four ranks, the last of which is the first again.
    With all ranks one the cores are a width matrix for all outputs, one for all
    inputs, a matrix of depth weights, and a matrix that mixes modules. A ring
    of rank `R` is a sum of `R^4` such products that share their factors.
    Modules and layers are mixed first, while the tensors are small, then the
    outputs are widened, then the inputs.

    **Other variables.** Embeddings, biases and norms are outside the ring; the
    paper does not say how they grow. Here they grow by the first component of
    the cores: values by `S_O[0, :, :, 0]`, weights that read them by
    `S_I[0, :, :, 0]`, gains by averages with the weights of `S_O`, biases of a
    feedforward network slice by slice, and blocks by `S_L[0, :, :, 0]`. The
    optimizer's moments of all variables grow by the dual of these.

    **The initial operator.** The first component keeps the function at whole
    multiples: `S_O` copies circularly, `S_I` has uneven shares, `S_B` is the
    identity and `S_L` stacks. Heads are contiguous in `o`, so this copies whole
    heads of queries, keys and values too. Noise on all cores breaks the
    symmetry of copies, and gives a gradient to the other components, which
    are products of noise. The authors' initial operator is not published.

    Heads times their size must be the width of the stream, and the feedforward
    network the same multiple of it before and after. A growth in which no stack
    of blocks grows is refused.

    Args:
        rank: int, the four ranks of the ring; or a tuple of four, `(r1, r2,
            r3, r4)`.
        noise: float, standard deviation of the noise on the cores, relative
            to the root mean square of the entries of each.
        steps, optimizer, batch_size, tune_small: see `Learned`.
        patience, callbacks, verbose: see `Learned`.
        learning_rate: see `Learned`. The paper's for BERT and GPT is 1e-5,
            with which a hundred steps move an entry by 1e-3.

    Example:

    >>> Mango(rank=2, steps=50).rank
    (2, 2, 2, 2)

    Reference:

    - Pan et al., "Reusing Pretrained Models by Multi-linear Operators for
      Efficient Training" (2310.10699), Sec. 3 and App. A. No code was
      published.
    """

    default_rate = 1e-3

    def __init__(
        self, rank: int | Sequence[int] = 1, noise: float = 0.01, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        ranks = rank if isinstance(rank, (tuple, list)) else (rank,) * 4
        if len(ranks) != 4:
            raise GrowthError(
                "`rank` is an integer of at least 1, or four of them, one for "
                f"each joint of the ring. Received: rank={rank!r}"
            )
        self.rank = tuple(check_count("rank", rank) for rank in ranks)
        self.noise_ratio = check_number("noise", noise, 0)

    def operator(
        self,
        source: ModelSpec,
        target: ModelSpec,
        seed: int,
        dtype: str = "float64",
    ) -> Operator:
        base = _Base().plan(source, target, seed)
        layouts = {
            name: found
            for name in target.stacks
            if (found := find_layout(name, source, target)) is not None
        }
        if base.grown and not layouts:
            does = "grows the kernels of a stack of blocks by one ring"
            raise nothing_to_do(self, does, source, target, "lemon")
        parameters = {}
        for name, layout in layouts.items():
            rng = random_generator(seed, name)
            for core, values in layout.start(rng).items():
                ring = self._ring(values, core, rng)
                parameters[f"{name}/{core}"] = ring.astype(dtype)

        def make_plan(parameters):
            cores = {
                name: {c: parameters[f"{name}/{c}"] for c in CORES}
                for name in layouts
            }
            return _plan(base, layouts, cores)

        return parameters, make_plan

    def _ring(self, values, core, rng):
        """A core: `values` in its first component, and noise in all."""
        joint = CORES.index(core)
        before, after = self.rank[joint], self.rank[(joint + 1) % 4]
        ring = np.zeros((before, *values.shape, after))
        ring[0, :, :, 0] = values
        size = np.sqrt((values**2).mean())
        return ring + rng.standard_normal(ring.shape) * size * self.noise_ratio

    def claims(self, plan: Plan) -> list[Claim]:
        reason = "all matrices are mixed by a learned operator"
        placed: dict[str | tuple, Any] = {
            dim: e
            for dim, e in plan.terms[0].widths.items()
            if isinstance(dim, str) and is_placed(plan.target.dims[dim])
        }
        outside = dataclasses.replace(plan, terms=(PlanTerm(placed),))
        found = {claim.dim: claim for claim in super().claims(outside)}
        return [
            found.get(name, Claim(name, False, reason)) for name in plan.grown
        ]

    def __repr__(self) -> str:
        return f"Mango(rank={self.rank!r}, steps={self.steps})"

    def get_config(self) -> dict[str, Any]:
        return {
            "rank": list(self.rank),
            "noise": self.noise_ratio,
            **super().get_config(),
        }


class _Base(LEMON):
    """The plan of the variables outside the ring: tables are padded and blocks
    stacked."""

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        return Stack().expand_depth(stack, source, target, rng)


def _plan(base, layouts, cores):
    """The plan of given cores, arrays or tensors."""
    (term,) = base.terms
    widths, depths, rings = dict(term.widths), dict(term.depths), []
    for name, layout in layouts.items():
        rings.append(Ring(layout, cores[name]))
        produce = _transposed(cores[name]["out"])
        consume = _transposed(cores[name]["in"])
        e = Expansion(MatrixMap(produce), MatrixMap(consume))
        widths[layout.stream] = e
        blocks = layout.depths[1]
        for key, slices in inner_dims(layout).items():
            inner = e
            if slices > 1:
                inner = Expansion(
                    MatrixMap(_repeated(produce, slices)),
                    MatrixMap(_repeated(consume, slices)),
                )
            widths[key] = (inner,) * blocks
        rows = MatrixMap(_transposed(cores[name]["layers"]))
        depths[name] = DepthExpansion(rows)
    return dataclasses.replace(
        base, terms=(PlanTerm(widths, depths),), joint=tuple(rings)
    )


def _transposed(core):
    """The first component of a core as a matrix `(new, old)`."""
    first = core[0, :, :, 0]
    return first.T if isinstance(first, np.ndarray) else ops.transpose(first)


def _repeated(matrix, times):
    """A block-diagonal matrix of equal blocks."""
    m, n = matrix.shape
    shape = (times * m, times * n)
    if isinstance(matrix, np.ndarray):
        return np.kron(np.eye(times), matrix).reshape(shape)
    eye = ops.cast(ops.eye(times), matrix.dtype)
    return ops.reshape(ops.einsum("st,ij->sitj", eye, matrix), shape)
