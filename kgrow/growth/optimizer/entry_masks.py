"""An optimizer that leaves some entries of its variables alone, or slows them.

Keras freezes whole variables. For a part of one, the optimizer's own steps
are taken as they are, with no gradient where entries rest, and what they did
to those entries (decay, momentum, averages) is put back to the bit. Averages
and iterates of the weights hold what the weights hold there.

Entries that go at a pace of their own are moved, of the way that a step moved
them, as far as the pace says: not at all where it is 0 for good, which is
resting, all of it where it is 1. Averages are taken of what comes of that.

All of it happens in the methods of the optimizer that the model is compiled
with, so that a training loop of one's own is guarded if it takes its steps
with `model.optimizer`, by `apply()` or by `stateless_apply()`. Another
optimizer, or one that is given to `compile()` and used before any `grow()` or
`fit()` after that, knows of nothing.
"""

import contextlib
import functools

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

_STEPS = ("apply", "finalize_variable_values")
_AVERAGE = "_update_model_variables_moving_average"
_AVERAGES = "_model_variables_moving_average"


def guard(model):
    """Makes the model's optimizer keep the entries that rest by now, and slow
    those that have a pace, whatever it was told before; to be called whenever
    one of these changes."""
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
        # Its slots, and what it wraps, are there only then.
        build = optimizer.build

        def guarded_build(variables):
            build(variables)
            guard(model)

        def built_first(grads, trainable_variables=None):
            # TensorFlow builds it in the middle of its first step, which
            # would go past the guard.
            if trainable_variables is not None and not optimizer.built:
                trainable_variables = list(trainable_variables)
                with keras.name_scope(optimizer.name, caller=optimizer):
                    optimizer.build(trainable_variables)
            # Building put guards where they belong, on one that wraps
            # others or on those; this one has no more to do.
            if vars(optimizer).get("apply") is built_first:
                restore_methods(optimizer, "apply")
            return optimizer.apply(grads, trainable_variables)

        replace_methods(optimizer, build=guarded_build, apply=built_first)
        return
    for part in nested(optimizer):
        # One that wraps others leaves the steps to them.
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
    """Puts back what rests.

    Args:
        optimizer: the one that takes the steps.
        held: `{id of a variable: mask}`.
        names: attributes of the slots that hold weights.
    """

    def __init__(self, optimizer, held, names):
        self.optimizer = optimizer
        self.held = held
        self.names = names

    def silence(self, grads, variables):
        """Gradients, zero where entries rest."""
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
        """Context after which entries are what they were before it."""
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
    """Takes back a part of each step where entries have a pace.

    Args:
        optimizer: the one that takes the steps.
        slowed: `{id of a variable: [(pace, known, old), ...]}`.
        names: attributes of the slots that hold weights.
        steps: the variable that counts the steps.
    """

    def __init__(self, optimizer, slowed, names, steps):
        self.optimizer = optimizer
        self.slowed = slowed
        # Averages follow the weights by themselves, once these are slowed.
        self.names = [name for name in names if name != _AVERAGES]
        self.steps = steps

    @contextlib.contextmanager
    def __call__(self, variables):
        """Context in which the steps that are taken come out shorter."""
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
        """The product of the factors of all update_scales, an entry each."""
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
        """Context in which the averages of the weights see them settled."""
        average = getattr(self.optimizer, _AVERAGE)

        def settled_average(variables):
            settle()
            return average(variables)

        with replaced_methods(self.optimizer, **{_AVERAGE: settled_average}):
            yield


def _partly_frozen(architecture):
    """`{id of a variable: mask}` where some entries rest and some train, or
    all rest that Keras does not know of."""
    network = architecture.network
    held = {}
    for weight in network.weights:
        path = relative_path(network, weight)
        masks = [scale.rests(path) for scale in architecture.update_scales]
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
    """`{id of a variable: [(update scale, known, old), ...]}` of those that
    are neither 0 nor 1 for good."""
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
    """A mask as a tensor: made of one vector an axis where it can be, which
    are small in a compiled program."""
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
