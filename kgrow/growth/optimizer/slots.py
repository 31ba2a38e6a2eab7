"""Finding an optimizer's variables, whoever wrote it.

A slot is an attribute of the optimizer that is a list as long as its trainable
variables and holds variables of its own, or `None`. Every other variable must
be an attribute by itself. What is neither cannot be attributed, and growth
refuses rather than lose it.
"""

import contextlib

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import (
    replaced_methods,
    set_optimizer_variables,
)
from kgrow.backend.lazy_variables import give_value, without_values

# Lists of the base class that may happen to have a slot list's length.
_NOT_SLOTS = ("_variables", "_trainable_variables", "_inner_optimizers")


def nested(optimizer):
    """The optimizer and those that it wraps, outermost first."""
    found = [optimizer]
    for value in vars(optimizer).values():
        members = value if isinstance(value, (list, tuple)) else [value]
        for member in members:
            if isinstance(member, keras.optimizers.Optimizer):
                found += [o for o in nested(member) if o not in found]
    return found


def find_slots(optimizer):
    """`{attribute: list of variables or None}` of one optimizer, not of those
    that it wraps."""
    length = len(optimizer._trainable_variables)
    return {
        name: value
        for name, value in vars(optimizer).items()
        if name not in _NOT_SLOTS
        and isinstance(value, (list, tuple))
        and length
        and len(value) == length
        and all(v is None or isinstance(v, keras.Variable) for v in value)
    }


def find_loose(optimizer):
    """`{attribute: variable}` of the variables that are no slots.

    Raises:
        GrowthError: a variable of the optimizer is neither.
    """
    loose = {
        name: value
        for name, value in vars(optimizer).items()
        if isinstance(value, keras.Variable)
    }
    known = {id(v) for v in loose.values()}
    for slot in find_slots(optimizer).values():
        known |= {id(v) for v in slot if v is not None}
    for variable in optimizer._variables:
        if id(variable) not in known:
            raise GrowthError(
                f"Cannot tell what {variable.path!r} of the optimizer "
                f"{type(optimizer).__name__!r} belongs to: it is in no list "
                "that runs parallel to the trainable variables, and no "
                "attribute of its own. Keep such lists in attributes, one "
                "entry (or None) per trainable variable."
            )
    return loose


def forget(optimizer):
    """Takes the optimizer back to what it was before `build()`; what it
    counts (iterations, learning rate, scales) keeps its value."""
    slots = find_slots(optimizer)
    set_optimizer_variables(
        optimizer,
        _without(optimizer, [v for slot in slots.values() for v in slot]),
    )
    for name in slots:
        delattr(optimizer, name)
    optimizer._trainable_variables_indices = {}
    optimizer.built = False


def _without(optimizer, variables):
    gone = {id(v) for v in variables}
    return [v for v in optimizer._variables if id(v) not in gone]


@contextlib.contextmanager
def slots_without_values(optimizers):
    """Context in which `build()` makes slots that have no values yet.

    Only `add_variable`, and what goes through it, is deferred: an optimizer
    may make other variables, from values that it has, as it likes. What it
    assigns to new slots is dropped, as they are filled afterwards.
    """
    with contextlib.ExitStack() as replaced:

        def deferring(add_variable):
            def add(*args, **kwargs):
                with without_values():
                    variable = add_variable(*args, **kwargs)
                replaced.enter_context(
                    replaced_methods(variable, assign=lambda value: value)
                )
                return variable

            return add

        for optimizer in optimizers:
            replaced.enter_context(
                replaced_methods(
                    optimizer,
                    add_variable=deferring(optimizer.add_variable),
                    assign=lambda variable, value: None,
                )
            )
        yield


def replace_loose(optimizer, before):
    """After a new `build()`: variables that it made anew continue the old
    ones' values."""
    replaced = []
    for name, old in before.items():
        new = vars(optimizer)[name]
        if new is not old:
            # A copy: two variables must not share what a step donates.
            value = keras.ops.copy(old.value)
            if new._value is None:
                give_value(new, value)
            else:
                new.assign(value)
            replaced.append(old)
    set_optimizer_variables(optimizer, _without(optimizer, replaced))
