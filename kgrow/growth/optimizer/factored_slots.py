"""Slots that are averages over one axis of their variable, as Adafactor's are.

An average over an axis grows as the variable does along the others, and is
multiplied by the mean weight of the rows that a plan writes along that axis.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import factor_maps

if TYPE_CHECKING:
    from kgrow.growth.optimizer.slot_rules import SlotRule


def reduced_axis(
    rule: SlotRule, slot: keras.Variable, variable: keras.Variable
) -> int | None:
    """The axis of its variable that a slot is averaged over.

    Args:
        rule: `SlotRule`.
        slot: the slot's variable.
        variable: the variable it belongs to.

    Returns:
        int, counted from behind, or `None` for a slot of the variable's shape.

    Raises:
        GrowthError: the slot lacks more than one axis, or it is not clear
            which one.
    """
    shape, full = tuple(slot.shape), tuple(variable.shape)
    if shape == full:
        return None
    fits = [
        axis
        for axis in range(-len(full), 0)
        if shape == tuple(np.delete(full, axis))
    ]
    if rule.reduced_axis in fits:
        return rule.reduced_axis
    if len(fits) == 1:
        return fits[0]
    raise GrowthError(
        f"The optimizer's slot {slot.path!r} of shape {shape} belongs to a "
        f"variable of shape {full}. kgrow grows slots of the variable's shape, "
        "or of that less one axis. Say which one: `register_slot_rule("
        "'Class.attribute', SlotRule(degree, reduced_axis=axis))`."
    )


def plan_without_axis(plan: Plan, axis: int) -> Plan:
    """The plan for averages over one axis of every matrix.

    Args:
        plan: `Plan` without joint maps.
        axis: int.

    Returns:
        `Plan`.
    """
    return dataclasses.replace(
        plan,
        source=_spec_without_axis(plan.source, axis),
        target=_spec_without_axis(plan.target, axis),
    )


def mean_weight(plan: Plan, path: str, axis: int) -> float:
    """Mean weight of the rows that a plan writes along a variable's axis.

    Args:
        plan: `Plan`.
        path: path in the target.
        axis: int.

    Returns:
        float, by which an average over the axis is to be multiplied.
    """
    variable = plan.target.variables[path]
    maps = factor_maps(plan.terms[0], variable)
    sizes = [len(a.factors) or 1 for a in variable.axes]
    start = sum(sizes[:axis])
    mean = 1.0
    for m in maps[start : start + sizes[axis]]:
        if m is not None:
            rows = m.matrix().sum(axis=1)
            mean *= float(np.delete(rows, m.unwritten).mean())
    return mean


def mean_of_trained(
    value: np.ndarray, mask: np.ndarray, axis: int, fresh: str
) -> np.ndarray:
    """The average over an axis of the trained entries alone.

    Args:
        value: numpy array, the average over all entries.
        mask: Boolean array, the entries of the variable that were frozen, and
            had gradients of zero.
        axis: int.
        fresh: how entries start whose average has no trained entry, see
            `SlotRule`.
    """
    trained = 1.0 - mask.mean(axis=axis)
    value = value / np.where(trained > 0, trained, 1.0).astype(value.dtype)
    frozen = trained == 0
    start = 0.0
    if fresh == "mean" and not frozen.all():
        start = value[~frozen].mean(dtype=np.float64)
    value[frozen] = start
    return value


def _spec_without_axis(spec, axis):
    variables = {
        path: dataclasses.replace(
            v,
            shape=_without(v.shape, axis),
            axes=dataclasses.replace(v.axes, axes=_without(v.axes.axes, axis)),
        )
        if len(v.shape) > 1
        else v
        for path, v in spec.variables.items()
    }
    return dataclasses.replace(spec, variables=variables)


def _without(items, axis):
    axis %= len(items)
    return items[:axis] + items[axis + 1 :]
