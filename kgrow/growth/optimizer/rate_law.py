"""`learning_rate="transfer"`: one factor of the learning rate per variable.

After an exact growth by equal copies the grown network can train as the small
one would: step for step, the same function. That needs a learning rate per
variable. Write `A` for what the plan does to weights and `D` for what it does
to the optimizer's updates. Growing and then updating equals updating and then
growing,

    A(w) - f rate D(u) = A(w - rate u)    if and only if    f D(u) = A(u),

so `f` follows from the plan and from how the update scales with the gradient:
with its first power (SGD), where `D` is the dual, or not at all (Adam, Lion),
where `D` is the dual without its weights. Doubling a hidden dimension gives 1/2
to matrices that read it and 1 to those that write it under Adam, and 1/2 and 2
under SGD. Decay acts on weights, which `A` maps, and is left as it is.

Where copies are unequal no factor is exact. The least-squares factor is taken,
and the residual `|A(u) - f D(u)| / |A(u)|` is reported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import NewEntryInit
from kgrow.architecture.architecture import relative_path
from kgrow.growth.optimizer.slot_rules import rule_for
from kgrow.growth.optimizer.slot_scaling import (
    WEIGHT,
    built_copy,
    displacement,
)
from kgrow.growth.optimizer.slots import find_slots, nested

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_SCALE = 16.0
# Averages of the weights, which the optimizer's steps do not read.
_EMA = "_model_variables_moving_average"


def update_degree(optimizer: keras.optimizers.Optimizer) -> int:
    """The power of the gradient that an optimizer's updates scale with.

    It is measured: two copies of the optimizer take the same few steps, one
    with gradients 16 times as large, one with smaller weights.

    Args:
        optimizer: `keras.optimizers.Optimizer`, left as it is.

    Returns:
        0 (Adam, Lion, RMSprop) or 1 (SGD, with momentum or without).

    Raises:
        GrowthError: updates follow no such law, or depend on the weights.

    Example:

    >>> update_degree(keras.optimizers.Adam())
    0
    >>> update_degree(keras.optimizers.SGD(momentum=0.9))
    1
    """
    name = type(optimizer).__name__
    twin = built_copy(optimizer)
    rules = {s: rule_for(twin, s) for s in find_slots(twin)}
    weighted = [
        slot
        for slot, rule in rules.items()
        if slot != _EMA and (rule.degree == WEIGHT or rule.recompute)
    ]
    if weighted or isinstance(optimizer, keras.optimizers.Muon):
        raise _unknown(name, "its updates are not entrywise in the gradient")
    first = displacement(optimizer)
    if not np.allclose(displacement(optimizer, weights=0.25), first, 0.01):
        raise _unknown(name, "its updates scale with the weights")
    powers = np.log(np.abs(displacement(optimizer, _SCALE) / first))
    powers = powers / np.log(_SCALE)
    degree = int(np.rint(np.median(powers)))
    if degree not in (0, 1) or np.abs(powers - degree).max() > 0.05:
        raise _unknown(name, "its updates scale with no power of the gradient")
    return degree


def transfer_factors(
    plan: Plan, degree: int, seed: int = 0
) -> dict[str, tuple[float, float]]:
    """Factors of the learning rate after a growth.

    Args:
        plan: `Plan` of the growth.
        degree: int, see `update_degree()`.
        seed: int, of the random updates on which the maps are compared.

    Returns:
        `{path: (factor, residual)}`, floats, for every variable of the target;
        `(1.0, 0.0)` for one that is made of no old variable, or of zeros.

    Example:

    >>> from kgrow.algebra import AxisMap, Expansion, Plan, PlanTerm
    >>> axes = AxisMap({"in": "_ -> units", "out": "units -> _"})
    >>> source = axes.spec([("in", (3, 2)), ("out", (2, 1))], {})
    >>> target = axes.spec([("in", (3, 4)), ("out", (4, 1))], {})
    >>> term = PlanTerm({"units": Expansion.tile(2, 2)})
    >>> plan = Plan(source, target, (term,))
    >>> {k: f for k, (f, _) in transfer_factors(plan, degree=0).items()}
    {'in': 1.0, 'out': 0.5}
    >>> {k: f for k, (f, _) in transfer_factors(plan, degree=1).items()}
    {'in': 2.0, 'out': 0.5}
    """
    rng = np.random.default_rng(seed)
    updates = {
        path: rng.standard_normal(variable.shape)
        for path, variable in plan.source.variables.items()
    }
    zeros = {name: NewEntryInit("zeros", "zeros") for name in plan.target.dims}
    plain = dataclasses.replace(plan, noise={}, given={}, new_entries=zeros)
    dual = plain.dual(degree)
    return {
        path: _factor(plain, dual, path, updates)
        for path in plan.target.variables
    }


def rate_factors(
    model: GrowableModel, plan: Plan
) -> tuple[dict[str, float], dict[str, float]]:
    """The factors after a growth, including those of earlier growths.

    Args:
        model: `GrowableModel`, before the growth.
        plan: `Plan` of the growth.

    Returns:
        `(factors, summary)`: `{path: float}` without those that are 1, and a
        dict of the smallest and the largest factor of this growth and of the
        largest residual.

    Raises:
        GrowthError: the model is not compiled, or its optimizer's updates
            scale with no power of the gradient.
    """
    degrees = _degrees(model, plan)
    by_degree = {d: transfer_factors(plan, d) for d in set(degrees.values())}
    new = {
        path: by_degree[degrees[path]][path] for path in plan.target.variables
    }
    factors = carried(model.architecture.rate_factors, plan)
    factors = {path: factors.get(path, 1.0) * new[path][0] for path in new}
    values = [factor for factor, _ in new.values()]
    summary = {
        "smallest": min(values),
        "largest": max(values),
        "residual": max(residual for _, residual in new.values()),
    }
    return {k: f for k, f in factors.items() if f != 1.0}, summary


def _degrees(model, plan):
    """`{path in the target: degree}`, by the optimizer that trains it."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        raise GrowthError(
            "learning_rate='transfer' follows from the optimizer, so "
            "`compile()` the model first. Received: a model that is not "
            "compiled"
        )
    parts = [part for part in nested(optimizer) if len(nested(part)) == 1]
    measured = [update_degree(part) for part in parts]
    if len(set(measured)) == 1:
        return dict.fromkeys(plan.target.variables, measured[0])
    network = model.network
    paths = {id(w): relative_path(network, w) for w in network.weights}
    owner = {
        paths[id(v)]: degree
        for part, degree in zip(parts, measured, strict=True)
        for v in getattr(part, "_trainable_variables", ())
        if id(v) in paths
    }
    return {
        path: owner.get(next(iter(plan.reads(path)), ""), measured[0])
        for path in plan.target.variables
    }


def carried(factors: Mapping[str, float], plan: Plan) -> dict[str, float]:
    """The factors of earlier growths, for the grown network.

    Args:
        factors: `{path: float}`; a variable that is not listed has 1.
        plan: `Plan` of the growth.
    """
    found = {}
    for path in plan.target.variables:
        reads = plan.reads(path)
        if reads and reads[0] in factors:
            found[path] = factors[reads[0]]
    return found


def _factor(plan, dual, path, updates):
    if not plan.reads(path):
        return 1.0, 0.0
    wanted = np.asarray(plan.grow(path, updates, fill=0.0))
    found = np.asarray(dual.grow(path, updates, fill=0.0))
    size, energy = np.linalg.norm(wanted), np.vdot(found, found)
    if not size or not energy:
        return 1.0, 0.0
    factor = float(np.vdot(found, wanted) / energy)
    residual = float(np.linalg.norm(wanted - factor * found) / size)
    # Exact factors are ratios of sizes; drop the rounding of the sums.
    nearby = round(factor, 12)
    return nearby, residual if residual > 1e-12 else 0.0


def _unknown(name, reason):
    return GrowthError(
        f"learning_rate='transfer' is not known for {name!r}: {reason}. Use "
        "Adam, AdamW, Lion, RMSprop, SGD or another optimizer whose updates "
        "scale with a power of the gradient, or another policy. Received: "
        f"optimizer={name!r}"
    )
