"""The optimizer's state, grown with the weights it belongs to.

How a slot grows follows from how it scales with the gradient: one that is
linear in it (momentum) by the dual plan, one that is quadratic (second
moments) by the dual plan's square, one that does not depend on its scale
(averages of updates) by the dual plan without weights, and one that holds
weights (averages, iterates) like weights. `slot_rules` says which is which.
"""

import numpy as np
from keras import ops

from kgrow.backend import host, raw
from kgrow.deferred import give_value, initialize
from kgrow.errors import GrowthError
from kgrow.initial import sample
from kgrow.optimizer_build import Origin, Part, build_again, remember
from kgrow.slot_degree import WEIGHT
from kgrow.slots import find_slots, nested, slots_without_values

POLICIES = ("carry", "reset", "reset_new")


class OptimizerState:
    """The state of a built optimizer, held while its variables are replaced.

    Args:
        optimizer: a built Keras optimizer, possibly wrapping others.

    Raises:
        GrowthError: a variable of it cannot be attributed.
    """

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self._parts = [Part(o) for o in nested(optimizer)]
        for part in self._parts:
            # What has no rule is refused before anything is touched.
            _ = part.rules

    def remember(self):
        """Makes a function that puts the optimizer back as it is now."""
        return remember([part.optimizer for part in self._parts])

    def rebuild(self, variables, plan, paths, old_paths, policy):
        """Builds the optimizer again, in place, and fills its slots.

        Args:
            variables: list, the grown model's trainable variables.
            plan: the `Plan` of the growth.
            paths: dict from `id` of a new variable to its path in the plan's
                target; variables that are not in it did not grow.
            old_paths: the same for the old variables and the plan's source.
            policy: `"carry"` (everything, through the dual plan),
                `"reset_new"` (only what stood there before, not the copies)
                or `"reset"` (nothing).

        Returns:
            `(carried, fresh)`, numbers of slot variables.
        """
        origin = Origin(plan, paths, old_paths)
        with slots_without_values([part.optimizer for part in self._parts]):
            parts = build_again(self.optimizer, self._parts, variables, origin)
        counts = [0, 0]
        for part in parts:
            for carried in _Transfer(part, parts, origin, policy).fill():
                counts[0 if carried else 1] += 1
        initialize(self.optimizer.variables)
        return tuple(counts)


class _Transfer:
    """Fills the new slots of one optimizer from its old ones."""

    def __init__(self, part, parts, origin, policy):
        self.part = part
        self.parts = parts
        self.origin = origin
        self.policy = policy
        self._plans = {}

    def fill(self):
        """Fills slot after slot; yields whether it keeps a history."""
        optimizer = self.part.optimizer
        new_slots = find_slots(optimizer)
        for name, rule in self.part.rules.items():
            old_slots = self._old_slots(name)
            for index, variable in enumerate(optimizer._trainable_variables):
                slot = new_slots[name][index]
                old = old_slots.get(self.origin.of(variable))
                if slot is None or old is None:
                    continue
                fresh = _fresh(rule, slot, old, variable)
                value, carried = self._grown(
                    rule, old, old_slots, slot, variable, index, fresh
                )
                give_value(slot, value)
                yield carried

    def _old_slots(self, name):
        """`{key of an old variable: its slot}`. What a block is mixed of may
        have been another optimizer's, of the same kind."""
        kind = type(self.part.optimizer)
        return {
            self.origin.key(variable): slot
            for part in [*self.parts, self.part]
            if type(part.optimizer) is kind and name in part.slots
            for variable, slot in zip(
                part.variables, part.slots[name], strict=True
            )
        }

    def _grown(self, rule, old, old_slots, slot, variable, index, fresh):
        """A new slot's value, and whether any of it has a history."""
        path = self.origin.paths.get(id(variable))
        if path is None or (not len(slot.shape) and len(variable.shape)):
            return ops.copy(old.value), True
        carry = self.policy != "reset" or rule.always
        if rule.solve and not (carry and self.origin.plan.keeps(path)):
            if not np.any(host(raw(old))):
                return np.zeros(tuple(slot.shape), "float32"), True
            weight = np.asarray(host(raw(variable)))
            return rule.solve(self.part.optimizer, index, weight), carry
        if not carry:
            return np.broadcast_to(fresh, tuple(slot.shape)), False
        plan, share = self._plan(rule), 1.0
        lacks = _lacking_axis(rule, slot, variable)
        if lacks is not None:
            share = plan.mean_weight(path, lacks)
            plan = self._plan(rule, lacks)
        reads = plan.reads(path)
        if any(old_slots.get(p) is None for p in reads):
            reads = []
        values = {p: host(raw(old_slots[p])) for p in reads}
        start = 0.0
        if rule.fresh == "initial" and not self.origin.plan.keeps(path):
            # What the optimizer started from is no part of the sum.
            start, fresh = np.max(fresh), fresh - np.max(fresh)
            values = {p: value - start for p, value in values.items()}
        grown = plan.grow(path, values, fill=fresh) if values else fresh
        if share != 1.0:
            grown = grown * np.asarray(share, "float32")
        if start:
            grown = grown + start
        return np.broadcast_to(grown, tuple(slot.shape)), bool(values)

    def _plan(self, rule, lacks=None):
        """The plan as it acts on a slot, made once for each kind."""
        key = (rule.degree, rule.always, lacks)
        if key not in self._plans:
            plan = self.origin.plan
            if rule.degree != WEIGHT:
                if self.policy == "reset_new" and not rule.always:
                    plan = plan.first_only()
                plan = plan.dual(rule.degree)
            if lacks is not None:
                plan = plan.without_axis(lacks)
            self._plans[key] = plan
        return self._plans[key]


def _fresh(rule, slot, old, variable):
    """What entries without a history start from."""
    if rule.degree == WEIGHT:
        return np.asarray(host(raw(variable)))
    if rule.fresh == "initial":
        return sample(slot._initializer, slot.shape, slot.dtype, None)
    if rule.fresh == "mean":
        return float(np.mean(host(raw(old)), dtype=np.float64))
    return 0.0


def _lacking_axis(rule, slot, variable):
    """Which axis of its variable a slot is averaged over, or `None`."""
    shape, full = tuple(slot.shape), tuple(variable.shape)
    if shape == full:
        return None
    fits = [
        axis
        for axis in range(-len(full), 0)
        if shape == tuple(np.delete(full, axis))
    ]
    if rule.lacks in fits:
        return rule.lacks
    if len(fits) == 1:
        return fits[0]
    raise GrowthError(
        f"The optimizer's slot {slot.path!r} of shape {shape} belongs to a "
        f"variable of shape {full}. kgrow grows slots of the variable's shape, "
        "or of that less one axis; which one, say in "
        "`kgrow.slot_rules.RULES`: SlotRule(degree, lacks=axis)."
    )
