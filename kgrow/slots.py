"""Finding an optimizer's variables, whoever wrote it.

A slot is an attribute of the optimizer that is a list as long as its trainable
variables and holds variables of its own, or `None`. Every other variable must
be an attribute by itself. What is neither cannot be attributed, and growth
refuses rather than lose it.
"""

import contextlib

import keras

from kgrow.deferred import give_value, without_values
from kgrow.errors import GrowthError

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
    for variables in slots.values():
        for variable in variables:
            if variable is not None:
                optimizer._untrack_variable(variable)
    for name in slots:
        delattr(optimizer, name)
    optimizer._trainable_variables_indices = {}
    optimizer.built = False


@contextlib.contextmanager
def slots_without_values(optimizers):
    """Context in which `build()` makes slots that have no values yet.

    Only `add_variable`, and what goes through it, is deferred: an optimizer
    may make other variables, from values that it has, as it likes. What it
    assigns to new slots is dropped, as they are filled afterwards.
    """
    made = []

    def deferring(add_variable):
        def add(*args, **kwargs):
            with without_values():
                variable = add_variable(*args, **kwargs)
            vars(variable)["assign"] = lambda value: value
            made.append(variable)
            return variable

        return add

    for optimizer in optimizers:
        vars(optimizer)["add_variable"] = deferring(optimizer.add_variable)
        vars(optimizer)["assign"] = lambda variable, value: None
    try:
        yield
    finally:
        for optimizer in optimizers:
            del vars(optimizer)["add_variable"]
            del vars(optimizer)["assign"]
        for variable in made:
            del vars(variable)["assign"]


def replace_loose(optimizer, before):
    """After a new `build()`: variables that it made anew continue the old
    ones' values."""
    for name, old in before.items():
        new = vars(optimizer)[name]
        if new is not old:
            # A copy: two variables must not share what a step donates.
            value = keras.ops.copy(old.value)
            if new._value is None:
                give_value(new, value)
            else:
                new.assign(value)
            optimizer._untrack_variable(old)
