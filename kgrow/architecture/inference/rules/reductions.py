"""Operations along an axis: sums, largest entries, orders, windows."""

from dataclasses import replace

from kgrow.architecture.inference.dimensions import (
    doubt,
    new_axis,
    pin,
    resolved,
    size_of,
)
from kgrow.architecture.inference.rules.registry import rule
from kgrow.architecture.inference.value_ops import (
    leaves_of,
    nonlinear,
    part_of,
)


@rule("reduce_sum")
def _reduce_sum(tracer, values, shapes, params):
    value, gone = values[0], set(params["axes"])
    nodes = {f.node for i in gone for f in resolved(value.axes[i]) if f.varies}
    kept = [a for i, a in enumerate(value.axes) if i not in gone]
    result = replace(
        part_of(value, kept),
        norm=None,
        squared=frozenset(),
        total=value.origin,
    )
    open_ones = value.undecided() & nodes
    pending = frozenset(
        leaf
        for factor in value.pending
        for leaf in factor.leaves()
        if leaf.node not in nodes
    )
    squared = leaves_of(value.squared)
    for node in nodes:
        if node in open_ones and node not in squared:
            # The mean of a norm after a nonlinearity, unless something is
            # divided by it.
            node.nonlinear = True
            node.sums.add("linear")
        else:
            node.sums.add("square" if node in open_ones else "linear")
    for i in gone:
        for factor in resolved(value.axes[i]):
            if factor.varies:
                factor.token.want(1)
    if nodes and all(node.is_routed for node in nodes):
        # What experts put out, each times its probability, and no mean.
        tracer.facts.summed |= value.tail
        return replace(result, mean=frozenset(), pending=pending)
    if nodes <= squared:
        return replace(
            result,
            pending=pending,
            statistic=frozenset(nodes),
            tail=frozenset(),
        )
    return replace(
        result,
        mean=frozenset(nodes),
        pending=pending,
    )


@rule(
    "reduce_and", "reduce_or", "reduce_prod", "argmax", "argmin",
    "reduce_xor",
)  # fmt: skip
def _reduce(tracer, values, shapes, params):
    value, gone = values[0], set(params["axes"])
    for i in gone:
        pin(value.axes[i], "its largest entry is looked for")
    kept = [a for i, a in enumerate(value.axes) if i not in gone]
    return nonlinear(part_of(value, kept))


@rule("reduce_max", "reduce_min")
def _largest(tracer, values, shapes, params):
    value, gone = values[0], set(params["axes"])
    for i in gone:
        doubt(value.axes[i], "its largest entry is looked for")
    kept = [a for i, a in enumerate(value.axes) if i not in gone]
    return nonlinear(part_of(value, kept))


@rule(
    "cumsum", "cumlogsumexp", "cummax", "cummin", "cumprod",
)  # fmt: skip
def _cumulate(tracer, values, shapes, params):
    pin(values[0].axes[params["axis"]], "it is summed up in order")
    return part_of(values[0], values[0].axes)


@rule("sort")
def _sort(tracer, values, shapes, params):
    for value in values:
        pin(value.axes[params["dimension"]], "it is sorted")
    return [nonlinear(part_of(v, v.axes)) for v in values]


@rule("top_k")
def _top_k(tracer, values, shapes, params):
    value = values[0]
    along = resolved(value.axes[-1])
    doubt(along, "its largest entries are looked for")
    axes = [*value.axes[:-1], new_axis(shapes[0][-1], pinned="the largest")]
    found = [nonlinear(part_of(value, axes)) for _ in shapes]
    if len(along) == 1 and axes[-1]:
        (factor,), (pick,) = along, axes[-1]
        factor.node.picks.append(pick.node)
        tracer.facts.picks.append((factor.node, pick.node.size))
        found[1] = replace(found[1], index=factor)
    return found


@rule(
    "reduce_window_max", "reduce_window_sum", "reduce_window_min",
    "reduce_window",
)  # fmt: skip
def _window(tracer, values, shapes, params):
    value, (shape, *_) = values[0], shapes
    axes = []
    for axis, size, width in zip(
        value.axes, shape, params["window_dimensions"], strict=True
    ):
        if width == 1 and size == size_of(axis):
            axes.append(axis)
        else:
            pin(axis, "a window moves over it")
            axes.append(new_axis(size, pinned="windows"))
    return nonlinear(part_of(value, axes))
