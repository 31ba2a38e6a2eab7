"""How each slot of each optimizer grows: one line a slot."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.growth.optimizer import ftrl
from kgrow.growth.optimizer.slot_scaling import WEIGHT, measure_degree


@dataclass(frozen=True)
class SlotRule:
    """How a slot grows.

    Args:
        degree: power of the gradient that the slot scales with (0, 1 or 2), or
            `"weight"` for one that holds weights.
        fresh: what an entry without a history starts from: `"zeros"`,
            `"mean"` (of the variable's old entries) or `"initial"` (what the
            optimizer itself starts from).
        reduced_axis: the axis of the variable, counted from behind, that a slot
            of one axis less is averaged over.
        carry_always: bool, whether it is carried under every policy.
        recompute: function of `(optimizer, index, weight, summed)` for a slot
            that determines the weights, and must be solved for the grown
            ones; `summed` is the slot grown by its degree, or 0.
    """

    degree: int | str
    fresh: str = "zeros"
    reduced_axis: int | None = None
    carry_always: bool = False
    recompute: Callable | None = None


# Second moments of new entries start from the mean of the old ones: the step
# count that corrects their bias goes on, and zeros would make the first update
# (1 - beta_1) / sqrt(1 - beta_2) = 3.16 times too large.
_FIRST = SlotRule(1)
_SECOND = SlotRule(2, "mean")

# A slot's attribute, or `Class.attribute` where the bare name means something
# else. The degrees of all of Keras' own are checked against measurement.
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


def register_slot_rule(slot, rule):
    """Says how a slot of an optimizer of your own grows.

    Slots without a rule are measured; one that follows no power of the
    gradient, or is smaller than its variable, needs a rule.

    Args:
        slot: string, `"Class.attribute"`, the attribute that lists the slot's
            variables. It holds for subclasses too.
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


def rule_for(optimizer, attribute):
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
    # A name says something only in a class that Keras ships.
    shipped = any(
        cls is getattr(keras.optimizers, cls.__name__, None)
        and cls is not keras.optimizers.Optimizer
        for cls in classes
    )
    if attribute in RULES and (shipped or attribute in _OF_THE_BASE_CLASS):
        return RULES[attribute]
    degree = measure_degree(optimizer, attribute)
    return SlotRule(degree, "mean" if degree == 2 else "zeros")
