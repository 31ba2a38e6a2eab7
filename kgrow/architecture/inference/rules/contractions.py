"""Contractions: where what is produced is consumed."""

from dataclasses import replace

from kgrow.architecture.inference.dimensions import (
    new_axis,
    pin,
    resolved,
    size_of,
    take,
    unify,
)
from kgrow.architecture.inference.rules.registry import rule
from kgrow.architecture.inference.value_ops import common, pinned


@rule("dot_general")
def _dot(tracer, values, shapes, params):
    tracer.flush(values)
    left, right = values
    contracted, batch = params["dimension_numbers"]
    axes = [
        unify(left.axes[i], right.axes[j]) for i, j in zip(*batch, strict=True)
    ]
    if left.moves and right.moves:
        for axis in axes:
            for factor in resolved(axis):
                factor.node.nonlinear = True
                factor.token.want(1)
    for i, j in zip(*contracted, strict=True):
        unify(left.axes[i], right.axes[j], -1)
    for value, used in (
        (left, (contracted[0], batch[0])),
        (right, (contracted[1], batch[1])),
    ):
        used = {*used[0], *used[1]}
        rest = [a for i, a in enumerate(value.axes) if i not in used]
        if value.is_weight:
            tracer.expect_values(rest)
        axes += rest
    return _contracted(left, right, axes)


def _contracted(left, right, axes):
    made = replace(common([left, right]), pending=frozenset())
    if left.is_weight and not right.is_weight:
        tail = left.leaves
    elif right.is_weight and not left.is_weight:
        tail = right.leaves
    else:
        tail = left.tail or right.tail
    return replace(made, axes=axes, tail=tail)


@rule("conv_general_dilated")
def _convolve(tracer, values, shapes, params):
    tracer.flush(values)
    left, right = values
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    if params.get("batch_group_count", 1) != 1:
        return pinned(values, shapes, "it is convolved in groups of the batch")
    lhs, rhs, out = numbers.lhs_spec, numbers.rhs_spec, numbers.out_spec
    features, made = left.axes[lhs[1]], right.axes[rhs[0]]
    if groups > 1:
        taken = take(features, groups), take(made, groups)
        if None in taken:
            return pinned(values, shapes, "it is convolved in groups")
        (lead, features), (head, rest) = taken
        made = [*unify(lead, head), *rest]
        if size_of(features) == 1:
            tracer.facts.factors |= right.leaves
        else:
            pin(head, "it counts groups")
    unify(features, right.axes[rhs[1]], -1)
    if right.is_weight and groups == 1:
        tracer.expect_values([made])
    axes = [None] * len(shapes[0])
    axes[out[0]], axes[out[1]] = left.axes[lhs[0]], made
    for i, j, k in zip(lhs[2:], rhs[2:], out[2:], strict=True):
        pin(left.axes[i], "a window moves over it")
        pin(right.axes[j], "it is a window")
        axes[k] = new_axis(shapes[0][k], pinned="windows")
    return _contracted(left, right, axes)
