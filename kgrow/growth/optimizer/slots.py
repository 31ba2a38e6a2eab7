"""Finding the variables of any optimizer.

A slot is an attribute of the optimizer that is a list as long as the list of
trainable variables, of variables or `None`. Every other variable must be an
attribute by itself. A variable that is neither is an error, as growth would
lose its state.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.backend.keras_internals import (
    replaced_methods,
    set_optimizer_variables,
)
from kgrow.backend.lazy_variables import give_value, without_values

# One slot of every trainable variable, `None` where it has none.
Slots: TypeAlias = Sequence[keras.Variable | None]

# Lists of the base class, which may have the length of a slot list.
_NOT_SLOTS = ("_variables", "_trainable_variables", "_inner_optimizers")


def nested(
    optimizer: keras.optimizers.Optimizer,
) -> list[keras.optimizers.Optimizer]:
    """The optimizer and those that it wraps, outermost first."""
    found = [optimizer]
    for value in vars(optimizer).values():
        members = value if isinstance(value, (list, tuple)) else [value]
        for member in members:
            if isinstance(member, keras.optimizers.Optimizer):
                found += [o for o in nested(member) if o not in found]
    return found


def find_slots(optimizer: keras.optimizers.Optimizer) -> dict[str, Slots]:
    """`{attribute: list of variables or None}` of one optimizer, without the
    optimizers that it wraps."""
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


def find_loose(
    optimizer: keras.optimizers.Optimizer,
) -> dict[str, keras.Variable]:
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


def forget(optimizer: keras.optimizers.Optimizer) -> None:
    """Undoes `build()`: removes the slots. Other variables (iterations,
    learning rate, scales) keep their values."""
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
def slots_without_values(
    optimizers: Iterable[keras.optimizers.Optimizer],
) -> Iterator[None]:
    """Context in which `build()` makes slots that have no values yet.

    Only variables made by `add_variable()` are deferred; an optimizer may
    make others from values. Values that it assigns to new slots are dropped,
    as the slots are filled afterwards.
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


def replace_loose(
    optimizer: keras.optimizers.Optimizer, before: Mapping[str, keras.Variable]
) -> None:
    """Gives variables that a new `build()` made again their old values."""
    replaced = []
    for name, old in before.items():
        new = vars(optimizer)[name]
        if new is not old:
            # A copy: two variables must not share a buffer that a step donates.
            value = keras.ops.copy(old.value)
            if new._value is None:
                give_value(new, value)
            else:
                new.assign(value)
            replaced.append(old)
    set_optimizer_variables(optimizer, _without(optimizer, replaced))
