"""LiGO: learned matrices of width and learned weights of depth."""

from __future__ import annotations

from typing import Any

import numpy as np

from kgrow.algebra.axes import CONSUME
from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion, Pair
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.linear_maps import MatrixMap
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import PlanTerm, factors, stands
from kgrow.algebra.spec import Dim, ModelSpec
from kgrow.strategies.base import Strategy, random_generator
from kgrow.strategies.combine import Combine
from kgrow.strategies.depth_maps import Identity, Stack
from kgrow.strategies.direct import Direct
from kgrow.strategies.fixed_dims import is_placed
from kgrow.strategies.learned_operator import Learned, Operator
from kgrow.strategies.lemon import LEMON
from kgrow.strategies.net2net import Net2Net
from kgrow.strategies.registry import StrategyLike, get, register, serialize
from kgrow.strategies.with_base import nothing_to_do

TYINGS = ("normalised", "plain")
_TINY = 1e-30
_ZERO = Direct("zeros", "zeros")
_INITS = {
    "net2net": lambda: Combine(Net2Net(), Stack()),
    "stack": lambda: Combine(_ZERO, Stack()),
    "lemon": lambda: Combine(LEMON(), Stack()),
    "zero": lambda: Combine(_ZERO, Identity()),
    "noisy": lambda: Combine(_Averages(), Stack()),
}


@register("ligo")
class LiGO(Learned):
    """Learned linear growth: `W' = sum_j w_ij B W_j A^T`.

    Values along a dimension become `B x`; each new block is a weighted sum of
    the old ones. The matrices and the weights are trained for some steps to
    minimize the loss of the network that they make, and are then applied once.
    They are tied as in the paper:

    - one `B` for the residual stream: embeddings, norms, the inputs and outputs
      of every branch, and the head;
    - in every block one matrix for the feedforward units, by which the second
      kernel reads; one for values, by which the output projection reads; one
      for queries and one for keys. The matrices of attention mix (head,
      position in the head) pairs, as in the paper;
    - biases and norms grow by the matrix of the values they are added to or
      multiplied with;
    - depth weights for every variable of a block and every new block.

    `tying` says by which matrix values are read that `B` makes. With
    `"plain"` it is `B` itself, as written in the paper, for norms as well.
    This family contains zero padding. It does not contain Net2Net, although the
    paper's Proposition 1 says so: its proof divides by counts. With
    `"normalised"` it is `diag(s) B`, with each column divided by
    `sum_i s_i B_ij^2`, so that the parts of an old value add up to one; `s`,
    one number per unit, is learned and starts from the shares of `init`. This
    family contains Net2Net, LEMON and zero padding exactly. Gains are averaged
    with the weights `|B|`.

    Deviates: blocks are mixed first, while they are small, and widened by
    matrices of the new block, as in the public code. The paper (B.1) widens
    first, by matrices of the old block; if the two layers of a feedforward
    network then have different depth weights, their units no longer match.
    The public code keeps an identity matrix at the top of every `B` fixed;
    here all of it is learned, as in the paper.

    Args:
        init: the initial operator. `"net2net"`: copies with uneven shares,
            blocks stacked; `"lemon"`: that strategy's widths, blocks stacked;
            `"stack"`: new units zero, blocks stacked; `"zero"`: new units zero,
            new blocks silent; `"noisy"`: new units are random averages of all
            old ones and depth weights have noise, as in the public code. Or a
            strategy that makes every new block of old ones. New units whose
            incoming and outgoing weights are zero have no gradient, unless a
            norm takes statistics of them.
        tying: `"normalised"` or `"plain"`.
        steps, optimizer, batch_size, tune_small: see `Learned`.
        patience, callbacks, verbose: see `Learned`.
        learning_rate: see `Learned`. The default is ten times the paper's rate
            for BERT: with the published warm-up, a hundred times as long as the
            training, an operator moves by no more than 1e-4.

    Example:

    >>> LiGO(init="lemon", steps=20).learning_rate
    0.002

    Reference:

    - Wang et al., "Learning to Grow Pretrained Models for Efficient
      Transformer Training" (2303.00980), Sec. 3.2-3.3 and App. B.1.
    """

    default_rate = 2e-3

    def __init__(
        self,
        init: StrategyLike = "net2net",
        tying: str = "normalised",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if tying not in TYINGS:
            raise GrowthError(
                f"`tying` must be one of {TYINGS}. Received: tying={tying!r}"
            )
        if not isinstance(init, str) or init not in _INITS:
            init = get(init)
        self.init = init
        self.tying = tying

    def initial_plan(
        self, source: ModelSpec, target: ModelSpec, seed: int = 0
    ) -> Plan:
        """The plan that the operator starts from."""
        init = self.init
        strategy = init if isinstance(init, Strategy) else _INITS[init]()
        plan = strategy.plan(source, target, seed)
        if len(plan.terms) != 1:
            raise GrowthError(
                f"LiGO starts from one matrix per dimension, and {strategy!r} "
                f"has {len(plan.terms)}. Choose another `init`."
            )
        (term,) = plan.terms
        placed = {dim for dim, part in target.dims.items() if is_placed(part)}
        if plan.grown and not term.depths and term.widths.keys() <= placed:
            does = "learns matrices of width and weights of depth"
            raise nothing_to_do(self, does, source, target, "net2net")
        for stack, mixing in term.depths.items():
            rows = (mixing.rows, *mixing.parts.values())
            if any(r.unwritten.size for r in rows):
                raise GrowthError(
                    f"LiGO makes new blocks of old ones, and {strategy!r} "
                    f"leaves some of {stack!r} to other values. Choose an "
                    "`init` whose depth copies blocks, such as 'stack'."
                )
        return plan

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        if self.tying == "normalised" and self.init != "noisy":
            # The initial operator, without making matrices of its gathers.
            return self.initial_plan(source, target, seed)
        return super().plan(source, target, seed)

    def operator(
        self,
        source: ModelSpec,
        target: ModelSpec,
        seed: int,
        dtype: str = "float64",
    ) -> Operator:
        """The initial parameters, and a function from parameters to a plan.

        The parameters are `"<dim>/produce"`, `(m, n)`, and `"<dim>/share"`,
        `(m,)`, with the number of the block in between if the dimension lies
        inside blocks, and `"<template>/depth"`, `(new blocks, old blocks)`.
        """
        initial = self.initial_plan(source, target, seed)
        (term,) = initial.terms
        parameters, learned, ones = {}, [], {}
        for key, block, e in _learned(term, target):
            name = _name(key, block)
            learned.append((key, block, name))
            produce, share = (a.astype(dtype) for a in _start(e))
            ones[name] = np.ones(e.target, dtype)
            parameters[f"{name}/produce"] = produce
            if self.tying == "normalised" and _is_read(key, target):
                parameters[f"{name}/share"] = share
        depths = {}
        for template, (stack, rows) in _depth_rows(term, target).items():
            depths.setdefault(stack, []).append(template)
            if self.init == "noisy":
                rng = random_generator(seed, template)
                rows = rows + rng.uniform(0, 0.03, rows.shape)
                rows = rows / rows.sum(axis=1, keepdims=True)
            parameters[f"{template}/depth"] = rows.astype(dtype)

        def make_plan(parameters):
            widths, mixings = dict(term.widths), {}
            local: dict[Any, list[Expansion]] = {}
            for key, block, name in learned:
                produce = parameters[f"{name}/produce"]
                if self.tying == "plain":
                    e = _plain(produce)
                else:
                    share = parameters.get(f"{name}/share", ones[name])
                    e = _tied(produce, share)
                if block is None:
                    widths[key] = e
                else:
                    local.setdefault(key, []).append(e)
            widths.update({key: tuple(each) for key, each in local.items()})
            for stack, templates in depths.items():
                rows = {
                    t: MatrixMap(parameters[f"{t}/depth"]) for t in templates
                }
                mixings[stack] = DepthExpansion(
                    term.depths[stack].rows, None, rows
                )
            terms = (PlanTerm(widths, mixings),)
            return Plan(source, target, terms, initial.new_entries, seed=seed)

        return parameters, make_plan

    def __repr__(self) -> str:
        return (
            f"LiGO(init={self.init!r}, tying={self.tying!r}, "
            f"steps={self.steps})"
        )

    def get_config(self) -> dict[str, Any]:
        init = self.init
        if isinstance(init, Strategy):
            init = serialize(init)
        return {"init": init, "tying": self.tying, **super().get_config()}


class _Averages(Strategy):
    """New units are random averages of all old ones, as the public code of
    LiGO draws them."""

    grows = frozenset({"width"})

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del dim
        new = rng.uniform(0, 1, (target - source, source))
        new /= new.sum(axis=1, keepdims=True)
        produce = np.concatenate([np.eye(source), new])
        consume = produce / (produce**2).sum(axis=0)
        return Expansion(MatrixMap(produce), MatrixMap(consume))


def _plain(produce):
    """An expansion in which one matrix maps everything."""
    b = MatrixMap(produce)
    pair = Pair(b, b)
    return Expansion(b, b, pair, pair, pair, pair)


def _tied(produce, share):
    """An expansion whose `consume` follows from `produce` and the shares."""
    b = MatrixMap(produce)
    host = isinstance(produce, np.ndarray)
    if not host:
        share = ops.convert_to_tensor(share)
    total = np.sum if host else ops.sum
    size = np.abs if host else ops.abs
    reads = share[:, None] * produce
    reads = reads / total(reads * produce, axis=0, keepdims=True)
    c = MatrixMap(reads)
    # A norm in front of tied weights undoes the scale of the stream.
    scale = total(size(produce), axis=1, keepdims=True)
    tied = MatrixMap(reads / (scale + _TINY))
    return Expansion(b, c, tied_scale=Pair(tied, b))


def _start(e):
    """`produce` as a matrix, and the share of each new unit, with which
    `_tied()` gives the `consume` of the expansion."""
    produce, consume = e.produce.matrix(), e.consume.matrix()
    rows = np.arange(e.target)
    column = np.argmax(np.abs(produce), axis=1)
    largest = produce[rows, column]
    share = np.ones(e.target)
    written = largest != 0
    share[written] = consume[rows, column][written] / largest[written]
    return produce, share


def _learned(term, target):
    """Yields `(key, block or None, expansion)` for every matrix to be learned:
    one per width that grows, one per product of the widths of attention."""
    products = _products(target)
    inside = {n.strip("~") for key in products for n in key}
    for dim, expansion in term.widths.items():
        fixed = is_placed(target.dims[dim])
        # Mixtures do not pass a softmax.
        if fixed or target.dims[dim].norm == "softmax" or dim in inside:
            continue
        if isinstance(expansion, tuple):
            for block, e in enumerate(expansion):
                yield dim, block, e
        else:
            yield dim, None, expansion
    for key, stack in products.items():
        if any(name.strip("~") in term.widths for name in key):
            for block in range(target.depths[stack]):
                yield key, block, _product(term, target, key, block)


def _products(spec):
    """`{product of dims: stack}`, for dimensions inside blocks that are
    neighbours in the axes of some variable."""
    local = {
        dim: spec.stack_of(dim)
        for dim in spec.dims
        if not is_placed(spec.dims[dim]) and spec.dims[dim].norm is None
    }
    found = {}
    for variable in spec.variables.values():
        run = []
        for factor, role in [*factors(variable.axes), (None, None)]:
            if isinstance(factor, str) and local.get(factor):
                run.append((factor, role))
                continue
            if len(run) > 1:
                first = run[0][1]
                key = tuple(d if r == first else f"~{d}" for d, r in run)
                found.setdefault(key, variable.stack)
            run = []
    return found


def _is_read(key, spec):
    """Whether any variable consumes along a dimension, or a product of some."""
    key = key if isinstance(key, tuple) else (key,)
    for variable in spec.variables.values():
        found = factors(variable.axes)
        for start in range(len(found)):
            if found[start][1] == CONSUME and stands(key, found[start:]):
                return True
    return False


def _product(term, spec, key, block):
    produce, consume = np.eye(1), np.eye(1)
    for name in key:
        dim = name.strip("~")
        e = term.width(dim, block) or Expansion.identity(spec.sizes[dim])
        sides = e.produce.matrix(), e.consume.matrix()
        sides = sides[::-1] if name.startswith("~") else sides
        produce = np.kron(produce, sides[0])
        consume = np.kron(consume, sides[1])
    return Expansion(MatrixMap(produce), MatrixMap(consume))


def _depth_rows(term, target):
    """`{template: (stack, initial depth weights)}` of variables in blocks."""
    rows = {}
    for variable in target.variables.values():
        mixing = term.depths.get(variable.stack)
        if mixing is None or variable.template in rows:
            continue
        matrix = mixing.rows_of(variable).matrix()
        if variable.axes.residual_out:
            matrix = matrix * mixing.exits[:, None]
        rows[variable.template] = variable.stack, matrix
    return rows


def _name(key, block):
    name = "*".join(key) if isinstance(key, tuple) else key
    return name if block is None else f"{name}/{block}"
