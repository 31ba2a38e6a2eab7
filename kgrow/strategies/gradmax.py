"""GradMax: new units for which the gradient is largest."""

from __future__ import annotations

import dataclasses

import numpy as np

from kgrow.algebra.axes import PRODUCE
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import NewEntryInit
from kgrow.algebra.scalar_checks import check_number
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.base import Strategy, random_generator
from kgrow.strategies.registry import StrategyLike, get, register
from kgrow.strategies.task import Task


@register("gradmax")
class GradMax(Strategy):
    """New hidden units that the loss pulls at most.

    A new unit inside a block is made with zero weights, so that it puts out
    nothing and the function is kept, and is read with weights `w`. The first
    step then moves its incoming weights by `f'(0) M w`, where `M[i, o]` is the
    correlation of the block's inputs with the gradient at its outputs. The
    norm of that is largest, for `w` of given length, along the right singular
    vectors of `M`: the `k` first for `k` new units, each `scale` times as long
    as the old ones are on average.

    `M` needs no formula of the layer: it is the gradient at as many probing
    units as the block has outputs, each read by one of them.

    Where more units are added than `M` has directions, the others are read by
    random combinations of the singular vectors, weighted by their values.
    Other dimensions, and depth, grow by the strategy `base`.

    Args:
        base: strategy for everything but the hidden units of blocks; it
            should keep the function.
        scale: float, length of new outgoing weights over the mean of the old.

    Raises:
        GrowthError: no data, or the gradient is zero: the activation has no
            slope at zero, as Keras' relu has none.

    Example:

    >>> GradMax(scale=1.0)
    GradMax(base='net2net', scale=1.0)

    Reference:

    - Evci et al., "GradMax: Growing Neural Networks using Gradient
      Information" (2201.05125), Sec. 3. Deviates in `scale`, 0.5 there in the
      code, and in what lies beyond the rank of `M`.
    """

    grows = frozenset({"width", "depth"})

    needs_data = True
    standalone = True

    def __init__(
        self, base: StrategyLike = "net2net", scale: float = 0.5
    ) -> None:
        self.base = get(base)
        self.grows = self.base.grows
        self.scale = check_number("scale", scale, 0)
        if not self.scale:
            raise GrowthError(
                f"`scale` is a positive number. Received: scale={scale!r}"
            )

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        plan = self.base.plan(source, target, seed)
        units = [
            dim
            for dim in hidden_units(target)
            if source.sizes.get(dim) != target.sizes[dim]
        ]
        terms = []
        for term in plan.terms:
            widths = dict(term.widths)
            for dim in units:
                e = Expansion.pad(source.sizes[dim], target.sizes[dim])
                stack = target.stack_of(dim)
                widths[dim] = (e,) * target.depths[stack] if stack else e
            terms.append(dataclasses.replace(term, widths=widths))
        new_entries = {
            dim: NewEntryInit("zeros", "initializer") for dim in units
        }
        return dataclasses.replace(
            plan,
            terms=tuple(terms),
            new_entries={**plan.new_entries, **new_entries},
            noise={d: s for d, s in plan.noise.items() if d not in units},
        )

    def claims(self, plan: Plan) -> list[Claim]:
        # Units that put out zero may be read by any weights; that zero goes
        # to zero is checked on the outputs.
        units = hidden_units(plan.target)
        silent = {
            dim: NewEntryInit("zeros", "zeros") if dim in units else new_entries
            for dim, new_entries in plan.new_entries.items()
        }
        return self.base.claims(dataclasses.replace(plan, new_entries=silent))

    def fit(self, plan: Plan, task: Task) -> Plan:
        given = {}
        for dim, (makes, reads) in hidden_units(plan.target).items():
            if plan.source.sizes.get(dim) != plan.target.sizes[dim]:
                given.update(self._given(plan, task, dim, makes, reads))
        return dataclasses.replace(plan, given=given)

    def _given(self, plan, task, dim, makes, reads):
        """`{path: array}`, the outgoing weights of new units in each block."""
        source, target = plan.source, plan.target
        old, new = source.sizes[dim], target.sizes[dim]
        outputs = target.variables[_path(target, reads, 0)].shape[1]
        field = target.dims[dim].field
        network, spec = task.build({field: old + outputs})
        probing = self.plan(source, spec, plan.seed)
        blocks = range(target.depths[target.stack_of(dim)])
        values = probing.apply(task.values)
        for block in blocks:
            values[_path(spec, reads, block)][old:] = np.eye(outputs)
        found = task.gradients(
            network, values, [_path(spec, makes, b) for b in blocks], self
        )
        given = {}
        for block in blocks:
            slopes = found[_path(spec, makes, block)][:, old:]
            kernel = values[_path(spec, reads, block)][:old]
            rng = random_generator(plan.seed, dim, block)
            rows = self._directions(slopes, new - old, rng)
            length = np.linalg.norm(kernel, axis=1).mean() * self.scale
            path = _path(target, reads, block)
            shape = target.variables[path].shape
            given[path] = np.zeros(shape, kernel.dtype)
            given[path][old:] = rows * length
        return given

    def _directions(self, slopes, count, rng):
        _, values, rows = np.linalg.svd(slopes, full_matrices=False)
        if not values[0] > 0:
            raise GrowthError(
                "'gradmax' finds no gradient at new units that put out zero: "
                "the activation has no slope there. Use one that has, such as "
                "gelu, or the strategy 'direct', whose new units start at "
                "random."
            )
        first = rows[:count]
        if count <= len(rows):
            return first
        weights = rng.standard_normal((count - len(rows), len(rows))) * values
        more = weights @ rows
        more /= np.linalg.norm(more, axis=1, keepdims=True)
        return np.concatenate([first, more])

    def __repr__(self) -> str:
        return f"GradMax(base={self.base.name!r}, scale={self.scale!r})"


def hidden_units(spec):
    """`{dim: (template that makes it, template that reads it)}` for the hidden
    units of blocks: one kernel of two axes on either side, nothing else but
    a bias."""
    found = {}
    for name, dim in spec.dims.items():
        if dim.norm is not None or spec.stack_of(name) is None:
            continue
        makes, reads, others = [], [], []
        for v in spec.variables.values():
            if v.block != 0 or name not in v.axes.dims:
                continue
            roles = [a.role for a in v.axes if name in a.dims]
            if len(v.shape) == 2 and v.axes.axes[1].dims == (name,):
                makes.append(v.template)
            elif len(v.shape) == 2 and v.axes.axes[0].dims == (name,):
                reads.append(v.template)
            elif len(v.shape) > 1 or roles != [PRODUCE]:
                others.append(v.template)
        if len(makes) == len(reads) == 1 and not others:
            found[name] = makes[0], reads[0]
    return found


def _path(spec, template, block):
    stack = next(s for s in spec.stacks if f"{{{s}}}" in template)
    return template.replace(
        f"{{{stack}}}", str(block + spec.stacks[stack].first)
    )
