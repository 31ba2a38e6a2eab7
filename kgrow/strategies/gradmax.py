"""GradMax: new units for which the gradient is largest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import NewEntryInit
from kgrow.algebra.scalar_checks import check_count, check_number
from kgrow.algebra.spec import ModelSpec, VariableSpec
from kgrow.algebra.types import Array
from kgrow.strategies.base import random_generator
from kgrow.strategies.hidden_units import HiddenUnits, hidden_units
from kgrow.strategies.registry import StrategyLike, register
from kgrow.strategies.task import Task
from kgrow.strategies.with_base import WithBase, nothing_to_do


@register("gradmax")
class GradMax(WithBase):
    """New hidden units whose incoming weights have the largest gradient.

    Hidden units are made by one kernel and read by one other, inside a block
    or outside of any. A new unit starts with zero incoming weights, so that
    its output is zero and the function is kept, and with outgoing weights `w`.
    The gradient of its incoming weights is then `f'(0) M w`, where `M[i, o]`
    is the sum over the data of input `i` times the gradient at output `o`.
    Among all `w` of one length its norm is largest along the first right
    singular vectors of `M`: `k` new units take the first `k`, each `scale`
    times as long as the outgoing weights of old units are on average.

    `M` is measured, whatever the layers compute: it is the gradient of the
    incoming weights of probing units, one for each output that the units are
    read by. Biases of the units are left out of it.

    Where more units are added than `M` has directions, the others are read
    by random combinations of the singular vectors, weighted by the singular
    values. Other dimensions, and depth, grow by the strategy `base`.

    Args:
        base: strategy for everything but hidden units; it should keep the
            function.
        scale: float, length of new outgoing weights over the mean of the old.
        batch_size: int, where the data are arrays.
        steps: int, on how many batches of the data `M` is measured; `None`
            for all of them, once, where the data are known to end.

    Raises:
        GrowthError: no data; no hidden units grow; the gradient is zero, for
            the activation has no slope at zero, as Keras' relu has none; or
            the plan of `base` is no single sum of plain matrices.

    Example:

    >>> GradMax(scale=1.0)
    GradMax(base=Net2Net(split='uneven'), scale=1.0, batch_size=32, steps=None)

    Reference:

    - Evci et al., "GradMax: Growing Neural Networks using Gradient
      Information" (2201.05125), Sec. 3. Deviates in `scale`, 0.5 there in the
      code, and in the directions beyond the rank of `M`.
    """

    needs_data = True

    def __init__(
        self,
        base: StrategyLike = "net2net",
        scale: float = 0.5,
        batch_size: int = 32,
        steps: int | None = None,
    ) -> None:
        super().__init__(base)
        self.scale = check_number("scale", scale, 0)
        if not self.scale:
            raise GrowthError(
                f"`scale` is a positive number. Received: scale={scale!r}"
            )
        self.batch_size = check_count("batch_size", batch_size)
        self.steps = None if steps is None else check_count("steps", steps)

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        plan = super().plan(source, target, seed)
        if plan.grown and not _grown_units(plan):
            raise nothing_to_do(
                self,
                "adds hidden units, which one kernel makes and one reads",
                source,
                target,
                self.base.name,
            )
        return self._with_silent_units(plan)

    def claims(self, plan: Plan) -> list[Claim]:
        units = _grown_units(plan)
        reason = "exact: new units are silent, read where the gradient is large"
        return [
            Claim(claim.dim, True, reason) if claim.dim in units else claim
            for claim in self.base.claims(plan)
        ]

    def fit(self, plan: Plan, task: Task) -> Plan:
        plan = self._with_silent_units(self.base.fit(plan, task))
        given = dict(plan.given)
        for units in _grown_units(plan).values():
            given.update(self._outgoing(plan, task, units))
        return dataclasses.replace(plan, given=given)

    def _with_silent_units(self, plan: Plan) -> Plan:
        """The base's plan, with old units in place and new ones silent."""
        units = _grown_units(plan)
        if not units:
            return plan
        if len(plan.terms) != 1 or plan.joint or plan.gate is not None:
            raise GrowthError(
                "'gradmax' adds units to a plan that is one matrix per "
                "dimension, without gates. Received: "
                f"base={self.base.name!r}, whose plan is none. Choose another, "
                "such as 'net2net' or 'lemon'."
            )
        (term,) = plan.terms
        widths = dict(term.widths)
        for dim in units:
            e = Expansion.pad(plan.source.sizes[dim], plan.target.sizes[dim])
            stack = plan.target.stack_of(dim)
            widths[dim] = (e,) * plan.target.depths[stack] if stack else e
        silent = dict.fromkeys(units, NewEntryInit("zeros", "initializer"))
        return dataclasses.replace(
            plan,
            terms=(dataclasses.replace(term, widths=widths),),
            new_entries={**plan.new_entries, **silent},
            noise={d: s for d, s in plan.noise.items() if d not in units},
        )

    def _outgoing(
        self, plan: Plan, task: Task, units: HiddenUnits
    ) -> dict[str, np.ndarray]:
        """`{path: array}`, the kernels that read the units, new rows set."""
        target, dim = plan.target, units.dim
        old = plan.source.sizes[dim]
        readers = [target.variables[path] for path in units.reads]
        outputs = units.rows(readers[0], np.empty(readers[0].shape)).shape[1]
        network, probing = _probing_plan(plan, task, dim, old + outputs)
        values = probing.apply(task.values)
        kernels = []
        for path in units.reads:
            variable = probing.target.variables[path]
            rows = units.rows(variable, _on_host(values[path])).copy()
            kernels.append(rows[:old].copy())
            rows[old:] = np.eye(len(rows) - old, outputs)
            values[path] = units.kernel(variable, rows)
        found = task.gradients(network, values, units.makes, self)
        lengths = _lengths(kernels)
        given = {}
        for block, (made, reader) in enumerate(
            zip(units.makes, readers, strict=True)
        ):
            variable = probing.target.variables[made]
            slopes = units.rows(variable, found[made])[old : old + outputs].T
            live = _old_outputs(plan, units, reader)
            rng = random_generator(plan.seed, dim, block)
            new = np.zeros((target.sizes[dim] - old, outputs))
            new[:, live] = _directions(slopes[:, live], len(new), rng)
            new *= self.scale * lengths[block]
            rows = np.concatenate([kernels[block], new])
            rows = rows.astype(kernels[block].dtype)
            given[reader.path] = units.kernel(reader, rows)
        return given


def _grown_units(plan: Plan) -> Mapping[str, HiddenUnits]:
    """The hidden units that a plan adds to."""
    return {
        dim: units
        for dim, units in hidden_units(plan.target).items()
        if plan.source.sizes.get(dim, 0) not in (0, plan.target.sizes[dim])
    }


def _probing_plan(plan, task, dim, size):
    """A network with more units along `dim`, and the plan that grows it as
    `plan` grows the target."""
    field = plan.target.dims[dim].field
    network, spec = task.build({field: size})
    others = {**spec.sizes, dim: plan.target.sizes[dim]}
    if others != plan.target.sizes or spec.sizes[dim] < size:
        raise GrowthError(
            f"'gradmax' measures on probing units, and `{field}` sets more "
            f"than the number of units alone. Received: {field}={size}, which "
            f"makes the sizes {spec.sizes}. Use 'net2net'."
        )
    (term,) = plan.terms
    e = Expansion.pad(plan.source.sizes[dim], spec.sizes[dim])
    blocks = term.widths[dim]
    e = (e,) * len(blocks) if isinstance(blocks, tuple) else e
    # Values that the base chose are of the target's shapes.
    given = {
        path: value
        for path, value in plan.given.items()
        if dim not in spec.variables[path].axes.dims
    }
    return network, dataclasses.replace(
        plan,
        target=spec,
        terms=(dataclasses.replace(term, widths={**term.widths, dim: e}),),
        given=given,
    )


def _old_outputs(
    plan: Plan, units: HiddenUnits, reader: VariableSpec
) -> np.ndarray:
    """Which outputs of a kernel are no new hidden units themselves: nothing
    reads those yet in a direction that has been chosen."""
    live = np.ones(reader.shape, bool)
    grown = _grown_units(plan).keys() - {units.dim}
    for axis, part in enumerate(reader.axes):
        for dim in grown.intersection(part.dims):
            size = plan.source.sizes[dim]
            np.moveaxis(live, axis, 0)[size:] = False
    return units.rows(reader, live)[0]


def _directions(slopes, count, rng):
    """`count` unit vectors, the first ones right singular vectors."""
    slopes = slopes.astype("float64")
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


def _lengths(kernels):
    """The mean length of the rows of each kernel. A block that was silenced
    has none; it takes that of the others."""
    lengths = np.array(
        [np.linalg.norm(k.astype("float64"), axis=1).mean() for k in kernels]
    )
    live = lengths[lengths > 0]
    usual = live.mean() if live.size else 1.0 / np.sqrt(len(kernels[0]))
    return np.where(lengths > 0, lengths, usual)


def _on_host(value: Array) -> np.ndarray:
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(ops.convert_to_numpy(value))
