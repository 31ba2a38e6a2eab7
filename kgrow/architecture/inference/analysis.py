"""Reading the dimensions of any network off its own computation."""

import dataclasses
import warnings

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import relative_path
from kgrow.architecture.inference.blocks import find_stacks, period_of
from kgrow.architecture.inference.perturbation import (
    Change,
    doublings,
    integer_fields,
)
from kgrow.architecture.inference.read_axes import Reading
from kgrow.architecture.inference.tracing import trace
from kgrow.backend.lazy_variables import without_values

# Enough blocks to see after how many the same is computed again.
_DEEPEST = 12
_SHALLOW = 2
_BATCH, _LENGTH = 2, 7


def analyse(recipe, inputs=None):
    """The `AxisMap` of a network, from traces of its forward pass.

    Args:
        recipe: `Recipe`.
        inputs: optional structure of `keras.KerasTensor`s; by default what
            the network says of itself.

    Returns:
        `AxisMap`

    Raises:
        GrowthError: the network cannot be made again, or cannot be traced.
    """
    try:
        return _Analysis(recipe, inputs).run()
    except GrowthError:
        raise
    except Exception as error:
        # Any exception that the network's own code may raise.
        raise GrowthError(
            f"The network cannot be made again or traced: {error}\nIf it "
            "takes inputs of a certain length, pass `inputs=`, a structure of "
            "`keras.KerasTensor`s."
        ) from error


class _Analysis:
    def __init__(self, recipe, inputs):
        self.recipe = recipe
        self.inputs = inputs
        self.config = recipe.config

    def run(self):
        stacks = self._find_stacks()
        deep = self._with_depth(stacks, _DEEPEST)
        periods = self._periods(stacks, deep)
        # Blocks that are all different need no more than two of them.
        several = [2 * p for p in periods if 1 < p <= _DEEPEST // 2]
        shallow = self._with_depth(stacks, max([_SHALLOW, *several]))
        network, facts = self._trace(shallow)
        shapes = self._shapes(network)
        stacks = self._restacked(stacks, shapes)
        depths = {stack.field for stack in stacks}
        taken, sizes = _input_shapes(network), facts.sizes()

        def works(change):
            if set(change.fields) & depths:
                # Of two fields, both are to be sizes.
                return (None, None) if len(change.fields) == 1 else None
            # Not every size can be built, and not all that is built runs.
            try:
                other = self._build(change.applied(shallow))
                changed = self._shapes(other)
                if _input_shapes(other) != taken:
                    # Larger images are another task, not a larger network.
                    return None, None
                if list(changed) != list(shapes):
                    return None, None
                traced = self._trace(change.applied(shallow), other)
                # Heads need not show in shapes, only in how axes are split.
                same = (
                    changed == shapes
                    and traced[1].sizes() == sizes
                    and traced[1].picked() == facts.picked()
                )
                return (None, None) if same else traced
            except Exception:
                return None

        found = doublings(shallow, works)
        changes = [(c, f) for c, (_, f) in found if f is not None]
        paths = [relative_path(network, w) for w in network.weights]
        reading = Reading(facts, changes, stacks, periods, shallow, paths)
        return reading.axis_map()

    def _find_stacks(self):
        before = self._shapes(self._build(self.config))
        stacks = []
        for field, value in integer_fields(self.config).items():
            change = Change(((field, value + 1),))
            try:
                after = self._shapes(self._build(change.applied(self.config)))
            except Exception:
                continue
            stacks += find_stacks(field, before, after)
        return stacks

    def _with_depth(self, stacks, depth):
        config = self.config
        for stack in stacks:
            # Deeper than it is, if need be: two blocks do not show whether a
            # third would be like the first.
            config = Change(((stack.field, depth),)).applied(config)
        try:
            self._build(config)
        except Exception:
            # Lists of sizes that go with the depth, for one.
            return self.config
        return config

    def _periods(self, stacks, config):
        if not stacks:
            return []
        network, facts = self._trace(config)
        shapes = self._shapes(network)
        periods = []
        for stack in self._restacked(stacks, shapes):
            members = [set() for _ in range(stack.depth)]
            for path in shapes:
                place = stack.split(path)
                if place is not None:
                    members[place[0]].add(path)
            periods.append(period_of(facts.computed_by(members)))
        return periods

    def _restacked(self, stacks, shapes):
        """The stacks as deep as they are in another network."""
        result = []
        for stack in stacks:
            depth = 0
            while any(
                f"{stack.prefix}{stack.first + depth}{suffix}" in shapes
                for suffix in stack.suffixes
            ):
                depth += 1
            result.append(dataclasses.replace(stack, depth=depth))
        return result

    def _build(self, config):
        with without_values(), warnings.catch_warnings():
            # Trial sizes may not fit together.
            warnings.simplefilter("ignore")
            return self.recipe.make(config)

    def _shapes(self, network):
        return {
            relative_path(network, w): tuple(w.shape) for w in network.weights
        }

    def _trace(self, config, network=None):
        network = network or self._build(config)
        paths = [relative_path(network, v) for v in network.variables]
        inputs = self.inputs
        if inputs is None:
            inputs = symbolic_inputs(network)
        return network, trace(network, paths, inputs)


def _input_shapes(network):
    inputs = getattr(network, "_inputs_struct", None)
    if inputs is None:
        return None
    return [tuple(t.shape) for t in keras.tree.flatten(inputs)]


def symbolic_inputs(network):
    """What a network takes, with whole shapes.

    Raises:
        GrowthError: it does not say.
    """
    example = getattr(network, "example_inputs", None)
    if example is not None:
        return keras.tree.map_structure(
            lambda a: (
                a if a is None else keras.KerasTensor(a.shape, str(a.dtype))
            ),
            example(_BATCH),
        )
    inputs = getattr(network, "_inputs_struct", None)
    if isinstance(network, keras.Sequential) and network.inputs:
        inputs = network.inputs[0]
    if inputs is None:
        raise GrowthError(
            f"The network {network.name!r} does not say what inputs it takes. "
            "Pass `inputs=`, a structure of `keras.KerasTensor`s, or give it "
            "a method `example_inputs(batch_size, seed)`."
        )

    def whole(tensor):
        first, *rest = tensor.shape
        shape = [_BATCH, *(_LENGTH if n is None else n for n in rest)]
        return keras.KerasTensor(tuple(shape), tensor.dtype)

    return keras.tree.map_structure(whole, inputs)
