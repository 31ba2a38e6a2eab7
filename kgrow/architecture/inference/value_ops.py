"""Values made of others: what they inherit, and what is forgotten."""

import zlib
from dataclasses import replace

import numpy as np

from kgrow.architecture.inference.dimensions import new_axis, pin, unify
from kgrow.architecture.inference.values import Value


def common(values):
    """A value with the flags that a result inherits from its operands."""
    result = Value([])
    for value in values:
        result = replace(
            result,
            leaves=result.leaves | value.leaves,
            moves=result.moves or value.moves,
            pending=result.pending | _open(value.pending),
        )
    return result


def _open(pending):
    """The factors whose kind is not known yet."""
    return frozenset(f for f in pending if not f.is_settled)


def pinned(values, shapes, reason):
    """Results of which nothing is known, and nothing may be moved."""
    for value in values:
        for axis in value.axes:
            pin(axis, reason)
    made = common(values)
    return [
        made.with_axes([new_axis(n, pinned=reason) for n in shape])
        for shape in shapes
    ]


def part_of(value, axes):
    return replace(
        value.with_axes(axes),
        origin=0,
        streams=0,
        total=0,
        index=None,
        counts=False,
    )


def squared(value):
    # Known to be nonlinear already.
    pending = {n for n in value.undecided() if not n.nonlinear}
    linear = value.varying() - pending
    return replace(nonlinear(value), squared=frozenset(linear))


def nonlinear(value):
    if value.is_constant:
        return replace(value, number=None, origin=0, counts=False)
    return replace(
        value,
        number=None,
        pending=_open(value.pending | value.factors()),
        squared=frozenset(),
        statistic=frozenset(),
        mean=frozenset(),
        norm=None,
        scale=False,
        gained=False,
        total=0,
        index=None,
        counts=False,
        tail=frozenset(),
        streams=0,
        origin=0,
    )


def align(values, soft=None):
    """The axes of a result whose entries each depend on one entry of each."""
    full = [v for v in values if v.axes]
    if not full:
        return []
    axes = list(full[0].axes)
    for value in full[1:]:
        axes = [
            unify(a, b, 1, soft) for a, b in zip(axes, value.axes, strict=True)
        ]
    return axes


def leaves_of(nodes):
    return {leaf for node in nodes for leaf in node.leaves()}


def constant(array):
    """A `Value` for a constant of the computation."""
    array = np.asarray(array)
    axes = []
    for place, size in enumerate(array.shape):
        first = np.take(array, [0], axis=place)
        varies = bool(np.any(array != first)) if array.size else False
        axes.append(
            new_axis(size, varies, "a constant varies" if varies else None)
        )
    number = None
    if array.size and array.dtype.kind in "fiub":
        first = array.flat[0]
        # NaN is not itself.
        if np.all((array == first) | (array != array)):
            number = float(first)
    digest = 0 if number is not None else zlib.crc32(array.tobytes())
    return Value(axes, number=number, digest=digest)
