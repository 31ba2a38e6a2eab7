"""Sums and products of values, entry by entry.

Residual additions, norms, gains and the constants that depend on a size all
come to light here.
"""

from dataclasses import replace

from kgrow.architecture.inference.dimensions import Factor, resolved
from kgrow.architecture.inference.rules.registry import rule
from kgrow.architecture.inference.trace_result import Residual
from kgrow.architecture.inference.value_ops import (
    align,
    common,
    leaves_of,
    squared,
)
from kgrow.architecture.inference.values import Norm


@rule("add", "add_any", "sub")
def _add(tracer, values, shapes, params):
    one, other = values
    result = replace(
        common(values).with_axes(align(values)),
        statistic=one.statistic | other.statistic,
    )
    for weight, moved in ((one, other), (other, one)):
        if weight.is_weight and moved.norm is not None:
            if weight.extent() == moved.norm.size:
                tracer.facts.shifts |= weight.leaves - tracer.facts.gains
                moved.norm.variables |= weight.leaves
    gained = one.gained or other.gained
    if one.norm is not None and other.norm is not None:
        if one.norm is other.norm:
            result = replace(result, norm=one.norm, gained=gained)
    elif not (one.moves and other.moves):
        result = replace(result, norm=one.norm or other.norm, gained=gained)
    result = _add_constants(result, one, other)
    return _add_tails(tracer, result, one, other)


def _add_constants(result, one, other):
    """A number added to each entry is no linear map, unless a norm takes it
    off again."""
    for value, moved in ((one, other), (other, one)):
        repeated = moved.varying() - value.varying()
        zero = value.number == 0.0
        if zero or not moved.moves or value.mean or value.norm is not None:
            continue
        pending = result.pending | moved.factors(repeated)
        result = replace(result, pending=pending)
    return result


def _add_tails(tracer, result, one, other):
    for stream, branch in ((one, other), (other, one)):
        passed = stream.streams | (1 << stream.origin)
        if stream.moves and branch.moves and branch.before & passed & ~1:
            if branch.mean or branch.tail & stream.tail:
                continue
            if stream.norm is not None and stream.norm is branch.norm:
                continue
            norm = stream.norm.variables if stream.norm else ()
            if branch.tail:
                tracer.facts.residuals.append(
                    Residual(branch.tail, frozenset(norm))
                )
            return replace(result, streams=passed)
    if one.tail and other.tail:
        return replace(result, tail=one.tail | other.tail)
    for weight, moved in ((one, other), (other, one)):
        if weight.is_weight and moved.tail:
            return replace(result, tail=moved.tail | weight.leaves)
    return result


@rule("mul")
def _multiply(tracer, values, shapes, params):
    one, other = values
    if one is other or (one.origin and one.origin == other.origin):
        return squared(one)
    return _product(tracer, one, other)


@rule("div")
def _divide(tracer, values, shapes, params):
    one, other = values
    if one.moves and other.moves and other.mean:
        for node in leaves_of(other.mean):
            node.normalized |= bool(one.origin) and other.total == one.origin
            if node.normalized:
                node.doubt("what it is summed up to divides")
            else:
                node.pin("what it is summed up to divides")
    if other.statistic:
        other = replace(
            other,
            statistic=frozenset(),
            norm=Norm(other.statistic),
            scale=True,
        )
    return _product(tracer, one, other, inverse=True)


def _product(tracer, one, other, inverse=False):
    facts = tracer.facts
    gain = None
    for weight, moved in ((one, other), (other, one)):
        if not (weight.is_weight and moved.moves):
            continue
        if moved.norm is not None and weight.extent() == moved.norm.size:
            facts.gains |= weight.leaves
            facts.factors -= weight.leaves
            moved.norm.variables |= weight.leaves
            gain = weight
        else:
            facts.factors |= weight.leaves - facts.gains
    if gain is None and one.gained != other.gained:
        gain = one if one.gained else other
    # Behind a gain the values may live in the dual space.
    axes = align([one, other], None if gain is None else facts.soft)
    if gain is not None and gain.axes:
        axes = [
            _preferring(axis, own)
            for axis, own in zip(axes, gain.axes, strict=True)
        ]
    result = replace(
        common([one, other]).with_axes(axes),
        norm=_norm_of(one, other),
        scale=_is_scale(one, other),
        gained=gain is not None,
    )
    if one.moves and other.moves and not (one.scale or other.scale):
        shared = one.varying() & other.varying()
        if shared:
            result = replace(
                result, pending=result.pending | one.factors(shared), norm=None
            )
    number = other if other.number is not None else one
    moved = one if number is other else other
    if number.number is not None:
        if number.is_constant and moved.moves and abs(number.number) != 1:
            if not (moved.mean or moved.statistic or moved.scale):
                value = number.number
                paths = moved.tail
                if moved.norm is not None:
                    # The output of a norm is proportional to its scale and
                    # offset.
                    own = moved.norm.variables if moved.gained else ()
                    paths = frozenset(own)
                facts.constants.append(
                    (1 / value if inverse and value else value, paths)
                )
        result = replace(
            result,
            statistic=moved.statistic,
            mean=moved.mean,
            norm=moved.norm,
            scale=moved.scale,
            gained=moved.gained,
            squared=moved.squared,
        )
    elif inverse and other.is_constant:
        result = replace(result, statistic=one.statistic, mean=one.mean)
    elif one.mean or other.mean:
        result = replace(result, mean=one.mean | other.mean)
    if inverse:
        return replace(result, tail=one.tail)
    return replace(result, tail=one.tail or other.tail)


def _norm_of(one, other):
    """The norm whose result a product is."""
    for value in (one, other):
        if value.scale:
            return value.norm
    if one.moves and other.moves and one.norm is not other.norm:
        return None
    return one.norm or other.norm


def _is_scale(one, other):
    """Whether a product is still a scale and no result."""
    return (one.scale and not other.moves) or (other.scale and not one.moves)


def _preferring(axis, own):
    """The axis with the tokens of one side, where that varies."""
    own = resolved(own)
    axis = resolved(axis)
    if len(own) != len(axis):
        return axis
    return [
        Factor(f.node, o.token if o.varies else f.token, f.varies)
        for f, o in zip(axis, own, strict=True)
    ]
