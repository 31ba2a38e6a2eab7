"""Trying a spec out: what it says must hold, whatever the weights are."""

import dataclasses

import keras
import numpy as np

from kgrow import backend
from kgrow.architecture import grown_weights, read_spec, relative_path
from kgrow.axis_map import AxisMap
from kgrow.deferred import give_value, without_values
from kgrow.derivation.perturbation import Change
from kgrow.errors import GrowthError
from kgrow.expansion import Expansion
from kgrow.plan import Plan
from kgrow.private_random import private_random
from kgrow.probe import aligned, expected_rounding, make_probe, run
from kgrow.sizes import read
from kgrow.spec import Stack
from kgrow.strategies.depth import Identity
from kgrow.term import Term

# Permuted sums are added up in another order, in every layer.
_SLACK = 16


def verify(recipe, axes, inputs=None):
    """Tries an `AxisMap` out on a shallow network with noise in every weight.

    All dimensions are permuted at once, those inside blocks differently in
    each: the output must be permuted and otherwise the same. Then silent
    blocks are added to each stack: if the output changes, the stack is said to
    be one whose blocks cannot be the identity.

    Args:
        recipe: `Recipe`.
        axes: `AxisMap`.
        inputs: optional structure of `keras.KerasTensor`s.

    Returns:
        `AxisMap`, with what was found out of stacks.

    Raises:
        GrowthError: the output is not the same.
    """
    config = dict(recipe.config)
    for stack in axes.stacks.values():
        depth = max(2, stack.period)
        if read(config, stack.field) > depth:
            config = Change(((stack.field, depth),)).applied(config)
    network, spec = _random_network(recipe, axes, config)
    probe = _probe(network, spec, inputs)
    before = run(network, probe)
    plan = _permutation(spec)
    values = {
        relative_path(network, w): np.asarray(backend.host(backend.raw(w)))
        for w in grown_weights(network)
    }
    _fill(network, plan.apply(values))
    after = run(network, probe)
    allowed = _SLACK * expected_rounding(network, spec)
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        old, new = aligned(old, new, plan, place)
        wrong = _relative(old, new)
        if not wrong <= allowed:
            raise GrowthError(
                "The dimensions that were read off the network do not hold: "
                "with all of them permuted the output differs by "
                f"{wrong:.1e} of its size, more than rounding explains "
                f"({allowed:.1e}). Pass `axes=kgrow.AxisMap(...)`. In doubt: "
                f"{ {path: str(a) for path, a in axes.rules.items()} }"
            )
    stacks = [
        _checked(stack, recipe, axes, config, values, probe, before, allowed)
        for stack in axes.stacks.values()
    ]
    made = axes.get_config()
    made["stacks"] = [vars(stack) for stack in stacks]
    return AxisMap.from_config(made)


def _checked(stack, recipe, axes, config, values, probe, before, allowed):
    """The stack, as one that has no silent blocks if that is what it is."""
    if stack.norm != "pre":
        return stack
    depth = read(config, stack.field)
    change = Change(((stack.field, 2 * depth),))
    plain = Stack(
        stack.name, stack.field, "post", "", stack.period, stack.first
    )
    try:
        with without_values():
            network = recipe.make(change.applied(config))
        target = read_spec(axes, network)
        with without_values():
            source = read_spec(axes, recipe.make(config))
    except Exception:
        # Fields that must agree with the depth: nothing can be said.
        return plain
    mixing = Identity().mix(stack, depth, 2 * depth, None)
    term = Term({}, {stack.name: mixing})
    grown = Plan(source, target, (term,)).apply(values)
    _fill(network, grown)
    after = run(network, probe)
    pairs = zip(before, after, strict=True)
    same = all(_relative(old, new) <= allowed for old, new in pairs)
    return stack if same else plain


def _random_network(recipe, axes, config):
    with without_values(), private_random(0):
        network = recipe.make(config)
    spec = read_spec(axes, network)
    rng = np.random.default_rng(0)
    values = {}
    for path, variable in spec.variables.items():
        shape = variable.shape
        positive = variable.axes.gain or variable.axes.factor
        std = 0.3 if len(shape) < 2 else max(np.prod(shape[:-1]), 1) ** -0.5
        noise = std * rng.standard_normal(shape)
        values[path] = 1.0 + np.abs(noise) if positive else noise
    _fill(network, values)
    return network, spec


def _fill(network, values):
    for weight in grown_weights(network):
        value = values[relative_path(network, weight)]
        if backend.raw(weight) is None:
            give_value(weight, value)
        else:
            weight.assign(value)
    for variable in network.variables:
        if backend.raw(variable) is None:
            give_value(variable, np.zeros(variable.shape, variable.dtype))
    backend.adopt(network)


def _probe(network, spec, inputs):
    if inputs is None:
        return make_probe(network, spec)
    rng = np.random.default_rng(0)

    def draw(tensor):
        if keras.backend.is_float_dtype(tensor.dtype):
            return rng.standard_normal(tensor.shape).astype(tensor.dtype)
        return rng.integers(0, 2, tensor.shape).astype(tensor.dtype)

    return keras.tree.map_structure(draw, inputs)


def _permutation(spec):
    """A plan to the same sizes, all that may move in another order."""
    rng = np.random.default_rng(1)

    def shuffled(size):
        return Expansion.select(size, rng.permutation(size))

    widths = {}
    for name, dim in spec.dims.items():
        if dim.kind not in ("stream", "copy"):
            continue
        stack = spec.stack_of(name)
        if stack is None:
            widths[name] = shuffled(spec.sizes[name])
        else:
            widths[name] = tuple(
                shuffled(spec.sizes[name]) for _ in range(spec.depths[stack])
            )
    return Plan(spec, dataclasses.replace(spec), (Term(widths),))


def _relative(old, new):
    largest = np.abs(old).max(initial=0.0)
    worst = np.abs(np.asarray(new, "float64") - old).max(initial=0.0)
    return worst / max(largest, np.finfo("float32").tiny)
