"""Freezing or slowing some entries of a variable, in the optimizer.

Keras freezes whole variables. For frozen entries of a variable, the optimizer
takes its step with a gradient of zero there; then the entries, and slots that
hold weights, are restored to the bit, whatever decay, momentum or averaging did
to them.

Entries with an `UpdateScale` move only that fraction of their step: none of it
where the factor is 0, all of it where it is 1. Averages of the weights are
taken after that.

Both happen in methods of the model's own optimizer. So a custom training loop
is covered if it calls `apply()` or `stateless_apply()` of `model.optimizer`.
Not covered is another optimizer, nor one that was just given to `compile()`,
until the next `grow()` or `fit()`.
"""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

import keras
import numpy as np
from keras import ops

from kgrow.architecture.architecture import relative_path
from kgrow.backend.keras_internals import (
    replace_methods,
    replaced_methods,
    restore_methods,
)
from kgrow.growth.freezing_masks import box
from kgrow.growth.optimizer.slot_rules import rule_for
from kgrow.growth.optimizer.slot_scaling import WEIGHT
from kgrow.growth.optimizer.slots import find_slots, nested
from kgrow.growth.optimizer.step_scaling import scale_steps
from kgrow.growth.update_scale import counter

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_STEPS = ("apply", "finalize_variable_values")
_AVERAGE = "_update_model_variables_moving_average"
_AVERAGES = "_model_variables_moving_average"


def guard(model: GrowableModel) -> None:
    """Makes the model's optimizer keep frozen entries and scale updates.

    Replaces what an earlier call set up. To be called whenever the frozen
    entries, update scales or rate factors change, or the optimizer does.
    """
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return
    for part in nested(optimizer):
        restore_methods(part, *_STEPS, "build")
        scale_steps(part, {})
    held, slowed = _partly_frozen(model.architecture), _slowed(model)
    factors = _factors(model.architecture)
    if not held and not slowed and not factors:
        return
    if not optimizer.built:
        # Only a built optimizer has slots, and inner optimizers.
        build = optimizer.build

        def guarded_build(variables):
            build(variables)
            guard(model)

        def built_first(grads, trainable_variables=None):
            # TensorFlow builds it inside its first `apply()`, too late for the
            # guard of that step.
            if trainable_variables is not None and not optimizer.built:
                trainable_variables = list(trainable_variables)
                with keras.name_scope(optimizer.name, caller=optimizer):
                    optimizer.build(trainable_variables)
            # `build()` has installed the guard, on this optimizer or on those
            # that it wraps; remove this one.
            if vars(optimizer).get("apply") is built_first:
                restore_methods(optimizer, "apply")
            return optimizer.apply(grads, trainable_variables)

        replace_methods(optimizer, build=guarded_build, apply=built_first)
        return
    for part in nested(optimizer):
        # An optimizer that wraps others leaves the steps to them.
        if len(nested(part)) == 1:
            scale_steps(part, factors)
            if held or slowed:
                _guard(part, held, slowed, counter(optimizer))


def _guard(optimizer, held, slowed, steps):
    names = [
        name
        for name in find_slots(optimizer)
        if rule_for(optimizer, name).degree == WEIGHT
    ]
    keep = _Keeper(optimizer, held, names)
    slow = _Slower(optimizer, slowed, names, steps)
    apply, finalize = (getattr(optimizer, name) for name in _STEPS)

    def guarded_apply(grads, trainable_variables=None):
        if trainable_variables is None:
            variables = optimizer._trainable_variables
        else:
            variables = trainable_variables = list(trainable_variables)
        with keep(variables), slow(variables):
            grads = keep.silence(grads, variables)
            return apply(grads, trainable_variables)

    def guarded_finalize(var_list):
        with keep(var_list):
            return finalize(var_list)

    replace_methods(
        optimizer,
        apply=guarded_apply,
        finalize_variable_values=guarded_finalize,
    )


class _Keeper:
    """Restores frozen entries after a step.

    Args:
        optimizer: the optimizer that takes the steps.
        held: `{id of a variable: mask}`.
        names: attributes of the slots that hold weights.
    """

    def __init__(self, optimizer, held, names):
        self.optimizer = optimizer
        self.held = held
        self.names = names

    def silence(self, grads, variables):
        """The gradients, zero at frozen entries."""
        return [
            g
            if g is None or id(v) not in self.held
            else ops.where(
                _tensor(self.held[id(v)]), 0, ops.convert_to_tensor(g)
            )
            for g, v in zip(grads, variables, strict=True)
        ]

    @contextlib.contextmanager
    def __call__(self, variables):
        """Context that leaves frozen entries as they were."""
        before = [
            (v, _tensor(self.held[id(v)]), ops.copy(v.value))
            for v in variables
            if id(v) in self.held
        ]
        yield
        for variable, mask, old in before:
            index = self.optimizer._get_variable_index(variable)
            slots = [getattr(self.optimizer, n)[index] for n in self.names]
            for each in (variable, *slots):
                if each is not None:
                    each.assign(ops.where(mask, old, each.value))


class _Slower:
    """Takes back a part of each step, as the update scales say.

    Args:
        optimizer: the optimizer that takes the steps.
        slowed: `{id of a variable: [(update scale, known, old), ...]}`.
        names: attributes of the slots that hold weights.
        steps: the variable that counts the steps.
    """

    def __init__(self, optimizer, slowed, names, steps):
        self.optimizer = optimizer
        self.slowed = slowed
        # Averages of the weights are taken from the scaled weights anyway.
        self.names = [name for name in names if name != _AVERAGES]
        self.steps = steps

    @contextlib.contextmanager
    def __call__(self, variables):
        """Context in which steps are scaled."""
        step = self.steps.value
        before = [
            (each, ops.copy(each.value), self._factor(variable, step))
            for variable in variables
            if id(variable) in self.slowed
            for each in self._iterates(variable)
        ]

        if not before:
            yield
            return

        def settle():
            while before:
                each, old, factor = before.pop()
                factor = ops.cast(factor, each.dtype)
                way = ops.where(
                    factor == 1, each.value, old + factor * (each - old)
                )
                each.assign(way)

        with self._before_averaging(settle):
            yield
        settle()

    def _iterates(self, variable):
        index = self.optimizer._get_variable_index(variable)
        slots = [getattr(self.optimizer, n)[index] for n in self.names]
        return [variable, *(slot for slot in slots if slot is not None)]

    def _factor(self, variable, step):
        """The product of the factors of all update scales, per entry."""
        product = ops.ones((), "float32")
        for scale, known, old in self.slowed[id(variable)]:
            factor = ops.where(
                _tensor(old),
                scale.factor(scale.old, step),
                scale.factor(scale.new, step),
            )
            product = product * ops.where(_tensor(known), factor, 1.0)
        return product

    @contextlib.contextmanager
    def _before_averaging(self, settle):
        """Context in which weights are scaled before they are averaged."""
        average = getattr(self.optimizer, _AVERAGE)

        def settled_average(variables):
            settle()
            return average(variables)

        with replaced_methods(self.optimizer, **{_AVERAGE: settled_average}):
            yield


def _partly_frozen(architecture):
    """`{id of a variable: mask}` of frozen entries that the optimizer keeps:
    those of partly frozen variables, and those whose update scale stays 0."""
    network = architecture.network
    held = {}
    for weight in network.weights:
        path = relative_path(network, weight)
        masks = [
            scale.frozen_mask(path) for scale in architecture.update_scales
        ]
        mask = architecture.frozen.get(path)
        if mask is not None and not mask.all():
            masks.append(mask)
        masks = [mask for mask in masks if mask is not None]
        if masks:
            held[id(weight)] = functools.reduce(np.logical_or, masks)
    return held


def _factors(architecture):
    """`{id of a variable: factor}` of those whose steps are scaled."""
    network, factors = architecture.network, architecture.rate_factors
    if not factors:
        return {}
    paths = {id(w): relative_path(network, w) for w in network.weights}
    return {k: factors[path] for k, path in paths.items() if path in factors}


def _slowed(model):
    """`{id of a variable: [(update scale, known, old), ...]}`, without scales
    that only freeze."""
    network, slowed = model.network, {}
    update_scales = [
        scale for scale in model.architecture.update_scales if scale.moves()
    ]
    for weight in network.weights:
        path = relative_path(network, weight)
        found = [(p, *p.masks(path)) for p in update_scales if path in p.known]
        if found:
            slowed[id(weight)] = found
    return slowed


def _tensor(mask):
    """A mask as a tensor; a box is made of its vectors, which are small
    constants in a compiled program."""
    axes = box(mask)
    if axes is None:
        return ops.convert_to_tensor(mask, dtype="bool")
    out = ops.ones((1,) * mask.ndim, dtype="bool")
    for position, axis in enumerate(axes):
        shape = [1] * mask.ndim
        shape[position] = -1
        axis = ops.convert_to_tensor(axis.reshape(shape), dtype="bool")
        out = ops.logical_and(out, axis)
    return out
