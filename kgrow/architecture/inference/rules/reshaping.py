"""Operations that move entries, and look some up."""

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
from kgrow.architecture.inference.value_ops import common, part_of, pinned
from kgrow.architecture.inference.values import Value


@rule("broadcast_in_dim")
def _broadcast(tracer, values, shapes, params):
    value, shape = values[0], params["shape"]
    where = params["broadcast_dimensions"]
    axes = [new_axis(n, False) for n in shape]
    for axis, place in zip(value.axes, where, strict=True):
        if size_of(axis) == shape[place]:
            axes[place] = axis
    return value.with_axes(axes)


@rule("reshape")
def _reshape(tracer, values, shapes, params):
    value, (shape,) = values[0], shapes
    flat = [f for axis in value.axes for f in axis]
    axes = []
    for size in shape:
        taken = take(flat, size)
        if taken is None:
            return pinned(values, shapes, "a reshape cuts through it")
        axis, flat = taken
        axes.append(axis)
    return value.with_axes(axes)


@rule("squeeze")
def _squeeze(tracer, values, shapes, params):
    value, gone = values[0], set(params["dimensions"])
    axes = [a for i, a in enumerate(value.axes) if i not in gone]
    return value.with_axes(axes)


@rule("expand_dims")
def _expand_dims(tracer, values, shapes, params):
    value, new = values[0], set(params["dimensions"])
    old = iter(value.axes)
    count = len(value.axes) + len(new)
    axes = [[] if i in new else next(old) for i in range(count)]
    return value.with_axes(axes)


@rule("transpose")
def _transpose(tracer, values, shapes, params):
    value = values[0]
    return value.with_axes([value.axes[i] for i in params["permutation"]])


@rule("slice")
def _slice(tracer, values, shapes, params):
    value = values[0]
    starts, ends = params["start_indices"], params["limit_indices"]
    strides = params["strides"] or [1] * len(starts)
    axes = [
        _sliced(axis, start, end, stride)
        for axis, start, end, stride in zip(
            value.axes, starts, ends, strides, strict=True
        )
    ]
    return part_of(value, axes)


def _sliced(axis, start, end, stride):
    """An axis of which entries from `start` to `end` are taken."""
    size = size_of(axis)
    count = -(-(end - start) // stride)
    if count == size:
        return axis
    if count == 0:
        return new_axis(0, pinned="nothing is taken")
    if stride > 1 and size % stride == 0 and count == size // stride:
        taken = take(axis, count)
        if taken is not None:
            pin(taken[1], "every other entry is taken")
            return taken[0]
    if stride == 1 and size % count == 0 and start % count == 0:
        taken = take(axis, size // count)
        if taken is not None:
            pin(taken[0], "a part of it is taken")
            return taken[1]
    pin(axis, "a part of it is taken")
    return new_axis(count, pinned="a part of something")


@rule("split")
def _split(tracer, values, shapes, params):
    value, at = values[0], params["axis"]
    results, start = [], 0
    for size in params["sizes"]:
        axes = list(value.axes)
        axes[at] = _sliced(value.axes[at], start, start + size, 1)
        results.append(part_of(value, axes))
        start += size
    return results


@rule("concatenate")
def _concatenate(tracer, values, shapes, params):
    at = params["dimension"]
    full = len(shapes[0])
    values = [v for v in values if size_of(v.axes[at])] or values[:1]
    sizes = {size_of(v.axes[at]) for v in values}
    axes = [_all(values, i) if i != at else None for i in range(full)]
    if len(sizes) == 1 and len(values) > 1:
        joined = _all(values, at)
        count = new_axis(len(values), pinned="a number of parts")
        axes[at] = [*count, *joined]
    elif len(values) == 1:
        axes[at] = values[0].axes[at]
    else:
        for value in values:
            pin(value.axes[at], "it is joined with others")
        axes[at] = new_axis(shapes[0][at], pinned="several parts")
    result = common(values).with_axes(axes)
    tails = [v.tail for v in values]
    if all(tails):
        result = replace(result, tail=frozenset().union(*tails))
    return result


def _all(values, place):
    axis = values[0].axes[place]
    for value in values[1:]:
        axis = unify(axis, value.axes[place])
    return axis


@rule("stack")
def _stack(tracer, values, shapes, params):
    axes = [_all(values, i) for i in range(len(values[0].axes))]
    count = new_axis(len(values), pinned="a number of parts")
    axes.insert(params["axis"], count)
    tails = [v.tail for v in values]
    tail = frozenset().union(*tails) if all(tails) else frozenset()
    return replace(common(values).with_axes(axes), tail=tail)


@rule("tile")
def _tile(tracer, values, shapes, params):
    value = values[0]
    axes = [
        [*new_axis(times, False), *axis]
        for axis, times in zip(value.axes, params["reps"], strict=True)
    ]
    return part_of(value, axes)


@rule("pad")
def _pad(tracer, values, shapes, params):
    value = values[0]
    axes = []
    for axis, (low, high, inner) in zip(
        value.axes, params["padding_config"], strict=True
    ):
        if low or high or inner:
            pin(axis, "it is padded")
            axis = new_axis(
                size_of(axis) + low + high + inner * (size_of(axis) - 1),
                pinned="a padded axis",
            )
        axes.append(axis)
    return part_of(value, axes)


@rule("rev")
def _reverse(tracer, values, shapes, params):
    for place in params["dimensions"]:
        pin(values[0].axes[place], "it is reversed")
    return part_of(values[0], values[0].axes)


@rule("iota")
def _iota(tracer, values, shapes, params):
    shape, along = params["shape"], params["dimension"]
    return Value(
        [
            new_axis(n, i == along, "an index" if i == along else None)
            for i, n in enumerate(shape)
        ],
        counts=True,
    )


@rule("dynamic_slice")
def _dynamic_slice(tracer, values, shapes, params):
    value = values[0]
    axes = [
        axis if size_of(axis) == n else _sliced_somewhere(axis, n)
        for axis, n in zip(value.axes, params["slice_sizes"], strict=True)
    ]
    return replace(part_of(value, axes), moves=any(v.moves for v in values))


def _sliced_somewhere(axis, size):
    pin(axis, "a part of it is taken")
    return new_axis(size, pinned="a part of something")


@rule("dynamic_update_slice")
def _dynamic_update(tracer, values, shapes, params):
    value, update = values[:2]
    axes = []
    for one, two in zip(value.axes, update.axes, strict=True):
        if size_of(one) == size_of(two):
            axes.append(unify(one, two))
        else:
            pin(one, "a part of it is replaced")
            pin(two, "it replaces a part")
            axes.append(one)
    return replace(common(values).with_axes(axes), origin=0)


@rule("gather")
def _gather(tracer, values, shapes, params):
    value, index = values
    numbers, sizes = params["dimension_numbers"], params["slice_sizes"]
    # Axes that the value and the index share, entry by entry.
    shared = {
        j: unify(value.axes[i], index.axes[j])
        for i, j in zip(
            numbers.operand_batching_dims,
            numbers.start_indices_batching_dims,
            strict=True,
        )
    }
    looked_up = set(numbers.start_index_map)
    inner = []
    for place, (axis, size) in enumerate(zip(value.axes, sizes, strict=True)):
        if place in numbers.operand_batching_dims:
            continue
        whole = size == size_of(axis)
        if place in looked_up and not (whole and size > 1):
            for factor in resolved(axis):
                factor.node.indexed = True
            pin(axis, "it is indexed")
        elif not whole:
            pin(axis, "a part of it is taken")
        if place in numbers.collapsed_slice_dims:
            continue
        if whole:
            inner.append(axis)
        else:
            inner.append(new_axis(size, pinned="a part of something"))
    offsets = iter(inner)
    batch = (shared.get(j, axis) for j, axis in enumerate(index.axes[:-1]))
    axes = [
        next(offsets) if i in numbers.offset_dims else next(batch)
        for i in range(len(shapes[0]))
    ]
    result = replace(common(values).with_axes(axes), origin=0)
    if value.is_weight and not index.is_weight:
        tail = value.leaves if index.moves else frozenset()
        return replace(result, tail=tail, pending=frozenset())
    return replace(result, tail=value.tail)


@rule("scatter", "scatter-add", "scatter_add", "scatter_mul")
def _scatter(tracer, values, shapes, params):
    return pinned(values, shapes, "it is scattered")
