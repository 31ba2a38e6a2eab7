"""An optimizer that leaves some entries of its variables alone.

Keras freezes whole variables. For a part of one, the optimizer's own steps
are taken as they are, with no gradient where entries rest, and what they did
to those entries (decay, momentum, averages) is put back to the bit. Averages
and iterates of the weights hold what the weights hold there.
"""

import contextlib

from keras import ops

from kgrow.architecture import relative_path
from kgrow.masks import box
from kgrow.slot_degree import WEIGHT
from kgrow.slot_rules import rule_for
from kgrow.slots import find_slots, nested

_STEPS = ("apply", "finalize_variable_values")


def guard(model):
    """Makes the model's optimizer keep the entries that rest by now, whatever
    it was told before; to be called whenever one of the two changes."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None:
        return
    for part in nested(optimizer):
        for name in (*_STEPS, "build"):
            vars(part).pop(name, None)
    held = _partly_frozen(model.architecture)
    if not held:
        return
    if not optimizer.built:
        # Its slots, and what it wraps, are there only then.
        build = optimizer.build

        def guarded_build(variables):
            build(variables)
            guard(model)

        vars(optimizer)["build"] = guarded_build
        return
    for part in nested(optimizer):
        # One that wraps others leaves the steps to them.
        if len(nested(part)) == 1:
            _guard(part, held)


def _guard(optimizer, held):
    names = [
        name
        for name in find_slots(optimizer)
        if rule_for(optimizer, name).degree == WEIGHT
    ]
    keep = _Keeper(optimizer, held, names)
    apply, finalize = (getattr(optimizer, name) for name in _STEPS)

    def guarded_apply(grads, trainable_variables=None):
        if trainable_variables is None:
            variables = optimizer._trainable_variables
        else:
            variables = trainable_variables = list(trainable_variables)
        with keep(variables):
            grads = keep.silence(grads, variables)
            return apply(grads, trainable_variables)

    def guarded_finalize(var_list):
        with keep(var_list):
            return finalize(var_list)

    vars(optimizer).update(
        apply=guarded_apply, finalize_variable_values=guarded_finalize
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


def _partly_frozen(architecture):
    """`{id of a variable: mask}` where some entries rest and some train."""
    network = architecture.network
    held = {}
    for weight in network.weights:
        mask = architecture.frozen.get(relative_path(network, weight))
        if mask is not None and not mask.all():
            held[id(weight)] = mask
    return held


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
