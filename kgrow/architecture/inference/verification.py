"""Trying a spec out: what it says must hold, whatever the weights are."""

import dataclasses

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.config_fields import read
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import PlanTerm
from kgrow.algebra.spec import BlockStack
from kgrow.architecture.architecture import (
    grown_weights,
    read_spec,
    relative_path,
)
from kgrow.architecture.inference.fill_weights import fill
from kgrow.architecture.inference.perturbation import Change
from kgrow.architecture.inference.width_check import Trial, relative
from kgrow.architecture.output_check import (
    aligned,
    expected_rounding,
    make_probe,
    run,
)
from kgrow.backend.lazy_variables import without_values
from kgrow.backend.random import private_random
from kgrow.strategies.depth_maps import Identity

# Permuted sums are added up in another order, in every layer.
_SLACK = 16


def verify(recipe, axes, inputs=None):
    """Tries an `AxisMap` out on a shallow network with noise in every weight.

    All dimensions are permuted at once, those inside blocks differently in
    each: the output must be permuted and otherwise the same. Silent blocks are
    added to each stack: if the output changes, the stack is said to be one
    whose blocks cannot be the identity. Then the network is grown in width,
    see `Trial`.

    Args:
        recipe: `Recipe`.
        axes: `AxisMap`.
        inputs: optional structure of `keras.KerasTensor`s.

    Returns:
        `AxisMap`, with what was found out of stacks and dimensions.

    Raises:
        GrowthError: the output is not the same, or not finite.
    """
    config = dict(recipe.config)
    for stack in axes.stacks.values():
        depth = max(2, stack.period)
        if read(config, stack.field) > depth:
            shallow = Change(((stack.field, depth),)).applied(config)
            if _can_be_made(recipe, shallow):
                config = shallow
    network, spec = _random_network(recipe, axes, config)
    probe = _probe(network, spec, inputs)
    before = run(network, probe)
    if not _finite(before):
        # Masks that leave nothing, for one.
        probe = keras.tree.map_structure(_ones_for_integers, probe)
        before = run(network, probe)
    if not _finite(before):
        raise GrowthError(
            "The outputs of the network with random weights are not finite, "
            "so that nothing can be tried out. Pass `inputs=` that it can "
            "take, or `axes=kgrow.AxisMap(...)`."
        )
    plan = _permutation(spec)
    values = {
        relative_path(network, w): np.asarray(
            backend.to_numpy_if_cpu(backend.storage(w))
        )
        for w in grown_weights(network)
    }
    fill(network, plan.apply(values))
    after = run(network, probe)
    allowed = _SLACK * expected_rounding(network, spec)
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        old, new = aligned(old, new, plan, place)
        wrong = relative(old, new)
        if not wrong <= allowed:
            raise GrowthError(
                "The dimensions that were read off the network do not hold: "
                "with all of them permuted the output differs by "
                f"{wrong:.1e} of its size, more than rounding explains "
                f"({allowed:.1e}). Pass `axes=kgrow.AxisMap(...)`. In doubt: "
                f"{_in_doubt(network, spec, axes, values, probe, allowed)}"
            )
    fields = {s.field for s in axes.stacks.values() if s.norm == "pre"}
    silent = {
        field
        for field in fields
        if _is_silent(field, recipe, axes, config, values, probe, allowed)
    }
    made = axes.get_config()
    made["stacks"] = [
        vars(s if s.norm != "pre" or s.field in silent else _plain(s))
        for s in axes.stacks.values()
    ]
    fill(network, values)
    return Trial(
        AxisMap.from_config(made), network, values, probe, allowed
    ).run()


def _in_doubt(network, spec, axes, values, probe, allowed):
    """The variables of the dimensions that cannot be permuted one by one."""
    fill(network, values)
    before = run(network, probe)
    ((term,), wrong) = _permutation(spec).terms, set()
    for name, widths in term.widths.items():
        plan = Plan(
            spec, dataclasses.replace(spec), (PlanTerm({name: widths}),)
        )
        fill(network, plan.apply(values))
        for place, pair in enumerate(
            zip(before, run(network, probe), strict=True)
        ):
            if not relative(*aligned(*pair, plan, place)) <= allowed:
                wrong.add(name)
    rules = axes.rules.items()
    return {
        path: str(rule)
        for path, rule in rules
        if not wrong or wrong & set(rule.dims)
    }


def _finite(outputs):
    return all(np.isfinite(output).all() for output in outputs)


def _ones_for_integers(array):
    if array is None or np.issubdtype(array.dtype, np.floating):
        return array
    return np.ones_like(array)


def _plain(stack):
    """The stack as one that has no silent blocks."""
    return BlockStack(
        stack.name, stack.field, "post", "", stack.period, stack.first
    )


def _is_silent(field, recipe, axes, config, values, probe, allowed):
    """Whether blocks with zeros at their exits add nothing, in the stacks
    whose depth a field holds."""
    change = Change(((field, 2 * read(config, field)),))
    try:
        with without_values():
            source_network = recipe.make(config)
            network = recipe.make(change.applied(config))
        source = read_spec(axes, source_network)
        target = read_spec(axes, network)
    except Exception:
        # Fields that must agree with the depth: nothing can be said.
        return False
    mixings = {
        name: Identity().expand_depth(
            axes.stacks[name], source.depths[name], depth, None
        )
        for name, depth in target.depths.items()
        if axes.stacks[name].field == field
    }
    fill(source_network, values)
    before = run(source_network, probe)
    fill(network, Plan(source, target, (PlanTerm({}, mixings),)).apply(values))
    after = run(network, probe)
    return all(
        relative(old, new) <= allowed
        for old, new in zip(before, after, strict=True)
    )


def _can_be_made(recipe, config):
    """Whether there is a network like that: others may read blocks of one by
    their numbers."""
    try:
        with without_values(), private_random(0):
            recipe.make(config)
    except Exception:
        return False
    return True


def _random_network(recipe, axes, config):
    with without_values(), private_random(0):
        network = recipe.make(config)
    spec = read_spec(axes, network)
    rng = np.random.default_rng(0)
    values = {}
    for path, variable in spec.variables.items():
        shape = variable.shape
        positive = variable.axes.scale or variable.axes.elementwise
        std = 0.3 if len(shape) < 2 else max(np.prod(shape[:-1]), 1) ** -0.5
        noise = std * rng.standard_normal(shape)
        values[path] = 1.0 + np.abs(noise) if positive else noise
    fill(network, values)
    return network, spec


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
        if dim.kind not in ("stream", "nonlinear"):
            continue
        stack = spec.stack_of(name)
        if stack is None:
            widths[name] = shuffled(spec.sizes[name])
        else:
            widths[name] = tuple(
                shuffled(spec.sizes[name]) for _ in range(spec.depths[stack])
            )
    return Plan(spec, dataclasses.replace(spec), (PlanTerm(widths),))
