"""How the slots of each optimizer grow: one line per slot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.types import Array
from kgrow.growth.optimizer import ftrl
from kgrow.growth.optimizer.slot_scaling import WEIGHT, measure_degree


@dataclass(frozen=True)
class SlotRule:
    """How a slot grows.

    Args:
        degree: power of the gradient that the slot scales with (0, 1 or 2), or
            `"weight"` for one that holds weights.
        fresh: the value of an entry without a history: `"zeros"`, `"mean"`
            (of the variable's old entries) or `"initial"` (the optimizer's
            own initial value).
        reduced_axis: the axis of the variable, as a negative index, over which
            a slot of one axis less is averaged.
        carry_always: bool, whether it is carried under every policy.
        recompute: function of `(optimizer, index, weight, summed)`, for a slot
            from which the optimizer computes the weights: its value for the
            grown weights. `summed` is the slot grown by its degree, or 0.
    """

    degree: int | str
    fresh: str = "zeros"
    reduced_axis: int | None = None
    carry_always: bool = False
    recompute: Callable[[Any, int, Array, Array], Array] | None = None


# Second moments of new entries start from the mean of the old ones. The step
# count goes on, so bias correction is over, and zeros would make the first
# update (1 - beta_1) / sqrt(1 - beta_2) = 3.16 times too large.
_FIRST = SlotRule(1)
_SECOND = SlotRule(2, "mean")

# Keys are attributes, or `Class.attribute` where an attribute of that name is
# another slot in other classes. Tests compare the degrees with measurement.
RULES = {
    "_model_variables_moving_average": SlotRule(WEIGHT),
    "_accumulated_gradients": SlotRule(1, carry_always=True),
    "_momentums": _FIRST,
    "momentums": _FIRST,
    "_velocities": _SECOND,
    "_velocity_hats": _SECOND,
    "adam_velocities": _SECOND,
    "_m": _FIRST,
    "_u": SlotRule(1, "mean"),
    "_average_gradients": _FIRST,
    "_accumulated_grads": _SECOND,
    "_accumulated_delta_vars": SlotRule(0, "mean"),
    "_accumulators": SlotRule(2, "initial"),
    "_linears": SlotRule(1, recompute=ftrl.linear),
    "_r": SlotRule(2, "mean", reduced_axis=-1),
    "_c": SlotRule(2, "mean", reduced_axis=-2),
    "_v": _SECOND,
    "RMSprop._momentums": SlotRule(0),
    "ScheduleFreeAdamW._momentums": SlotRule(WEIGHT),
}

_OF_THE_BASE_CLASS = (
    "_model_variables_moving_average",
    "_accumulated_gradients",
)


def register_slot_rule(slot: str, rule: SlotRule) -> None:
    """Registers how a slot of your own optimizer grows.

    Slots without a rule are measured. A slot needs a rule if it scales with no
    power of the gradient, or is smaller than its variable.

    Args:
        slot: string, `"Class.attribute"`, the attribute that lists the slot's
            variables. The rule holds for subclasses too.
        rule: `SlotRule`.

    Raises:
        GrowthError: `slot` does not name a class, or `rule` is no `SlotRule`.

    Example:

    >>> register_slot_rule("MyAdam._second", SlotRule(2, "mean"))
    >>> RULES.pop("MyAdam._second").fresh
    'mean'
    """
    name, _, attribute = str(slot).partition(".")
    if not (name.isidentifier() and attribute.isidentifier()):
        raise GrowthError(
            "`slot` names a class and its attribute, 'MyAdam._second'. "
            f"Received: slot={slot!r}"
        )
    if not isinstance(rule, SlotRule):
        raise GrowthError(
            f"`rule` is a `SlotRule`, SlotRule(2, 'mean') for one. Received: "
            f"rule={rule!r}"
        )
    RULES[slot] = rule


def rule_for(optimizer: keras.optimizers.Optimizer, attribute: str) -> SlotRule:
    """The `SlotRule` of a slot: from `RULES`, or measured.

    Example:

    >>> rule_for(keras.optimizers.RMSprop(momentum=0.9), "_momentums").degree
    0
    """
    classes = [
        cls
        for cls in type(optimizer).__mro__
        if issubclass(cls, keras.optimizers.Optimizer)
    ]
    for cls in classes:
        if f"{cls.__name__}.{attribute}" in RULES:
            return RULES[f"{cls.__name__}.{attribute}"]
    # A bare attribute is known only in classes that Keras ships.
    shipped = any(
        cls is getattr(keras.optimizers, cls.__name__, None)
        and cls is not keras.optimizers.Optimizer
        for cls in classes
    )
    if attribute in RULES and (shipped or attribute in _OF_THE_BASE_CLASS):
        return RULES[attribute]
    degree = measure_degree(optimizer, attribute)
    return SlotRule(degree, "mean" if degree == 2 else "zeros")
