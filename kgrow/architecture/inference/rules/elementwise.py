"""Operations on each entry: nonlinear, or none at all."""

from dataclasses import replace

import numpy as np

from kgrow.architecture.inference.dimensions import new_axis
from kgrow.architecture.inference.rules.registry import rule
from kgrow.architecture.inference.value_ops import (
    align,
    common,
    nonlinear,
    squared,
)
from kgrow.architecture.inference.values import Norm


@rule(
    "convert_element_type",
    "copy",
    "copy_p",
    "real",
    "reduce_precision",
    "stop_gradient",
    "optimization_barrier",
    "sharding_constraint",
    "name",
    "pvary",
)
def _pass(tracer, values, shapes, params):
    return list(values[: len(shapes)])


@rule("neg")
def _negate(tracer, values, shapes, params):
    (value,) = values
    number = None if value.number is None else -value.number
    return replace(
        value, number=number, origin=0, total=0, index=None, counts=False
    )


@rule("square")
def _square(tracer, values, shapes, params):
    return squared(values[0])


@rule("integer_pow")
def _integer_power(tracer, values, shapes, params):
    (value,), power = values, params["y"]
    if power == -1 and value.statistic:
        return _inverse_root(tracer, values, shapes, params)
    return squared(value) if power == 2 else nonlinear(value)


@rule("pow")
def _power(tracer, values, shapes, params):
    value, power = values
    if power.number == 2:
        return squared(value)
    if power.number == -0.5:
        return _inverse_root(tracer, [value], shapes, params)
    if power.number == 0.5:
        return _root(tracer, [value], shapes, params)
    return _mixed(tracer, values, shapes, params)


@rule("rsqrt")
def _inverse_root(tracer, values, shapes, params):
    (value,) = values
    if value.statistic:
        return replace(
            value,
            statistic=frozenset(),
            norm=Norm(value.statistic),
            scale=True,
            origin=0,
        )
    return nonlinear(value)


@rule("sqrt", "abs")
def _root(tracer, values, shapes, params):
    (value,) = values
    if value.statistic:
        return replace(value, origin=0)
    return nonlinear(value)


@rule(
    "exp", "exp2", "log", "log1p", "expm1", "tanh", "logistic", "erf", "erfc",
    "erf_inv", "cbrt", "sign", "floor", "ceil", "round", "sin", "cos", "tan",
    "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
    "is_finite", "not", "population_count", "clz", "lgamma", "digamma",
)  # fmt: skip
def _unary(tracer, values, shapes, params):
    return nonlinear(values[0])


@rule(
    "max", "min", "atan2", "rem", "and", "or", "xor", "ne", "lt",
    "le", "gt", "ge", "nextafter", "shift_left", "shift_right_logical",
    "shift_right_arithmetic", "clamp",
)  # fmt: skip
def _mixed(tracer, values, shapes, params):
    axes = align(values)
    clipped = [v for v in values if v.statistic]
    result = nonlinear(common(values).with_axes(axes))
    if clipped:
        # A variance that is kept from being negative.
        result = replace(
            result,
            statistic=clipped[0].statistic,
            pending=common(values).pending,
        )
    return result


@rule("eq")
def _equal(tracer, values, shapes, params):
    for index, numbers in (values, values[::-1]):
        if index.index is not None and numbers.counts:
            return _told_apart(index, numbers)
    return _mixed(tracer, values, shapes, params)


def _told_apart(index, numbers):
    """One where an entry is the one that an index names, zero elsewhere."""
    (along,) = index.index.leaves()
    along.node.told = True
    along.node.nonlinear = True
    along.token.want(1)
    axes = [[along] if axis else [] for axis in numbers.axes]
    axes = align([index.with_axes(index.axes), numbers.with_axes(axes)])
    return replace(nonlinear(common([index, numbers])), axes=axes)


@rule("select_n")
def _select(tracer, values, shapes, params):
    which, *cases = values
    # Values masked with zeros stay linear; NaN marks values that are never
    # linear.
    cases = [c for c in cases if not _is_filler(c)] or cases
    if not which.axes:
        which = which.with_axes([[] for _ in shapes[0]])
        which = which.with_axes([new_axis(n, False) for n in shapes[0]])
    everything = [which, *cases]
    axes = align([v for v in everything if len(v.axes) == len(shapes[0])])
    result = replace(common(everything).with_axes(axes), origin=0)
    linear = len(cases) == 1 and not (which.varying() & cases[0].varying())
    if linear:
        (case,) = cases
        return replace(
            result,
            tail=case.tail,
            norm=case.norm,
            streams=case.streams,
            statistic=case.statistic,
            mean=case.mean,
        )
    moved = frozenset(
        f for v in (which, *cases) if not v.is_constant for f in v.factors()
    )
    if all(c.is_constant for c in cases) and which.is_constant:
        return result
    return replace(result, pending=result.pending | moved)


def _is_filler(value):
    number = value.number
    return number is not None and (number == 0.0 or np.isnan(number))
