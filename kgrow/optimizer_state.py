"""The optimizer's state, grown with the weights it belongs to.

How a slot grows follows from how it scales with the gradient: one that is
linear in it (momentum) by the dual plan, one that is quadratic (second
moments) by the dual plan's square, one that does not depend on its scale
(averages of updates) by the dual plan without weights, and one that holds
weights (averages, iterates) like weights. `slot_rules` says which is which.
"""

import contextlib

import numpy as np

from kgrow.backend import host, raw
from kgrow.deferred import give_value, initialize
from kgrow.errors import GrowthError
from kgrow.initial import sample
from kgrow.slot_degree import WEIGHT
from kgrow.slot_rules import rule_for
from kgrow.slots import (
    find_loose,
    find_slots,
    forget,
    nested,
    replace_loose,
    slots_without_values,
)

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
        self._parts = [_Part(o) for o in nested(optimizer)]

    def remember(self):
        """Makes a function that puts the optimizer back as it is now."""
        return _rewind([part.optimizer for part in self._parts])

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
        origin = _Origin(plan, paths, old_paths)
        optimizers = [part.optimizer for part in self._parts]
        for optimizer in optimizers:
            forget(optimizer)
        with (
            _kept_assignments(self.optimizer, self._parts, origin),
            slots_without_values(optimizers),
        ):
            self.optimizer.build(variables)
        counts = [0, 0]
        for part in self._parts:
            replace_loose(part.optimizer, part.loose)
            _carry_weight_decay_exclusions(part, origin)
            for carried in _Transfer(part, origin, policy).fill():
                counts[0 if carried else 1] += 1
        initialize(self.optimizer.variables)
        return tuple(counts)


def rebuild_fresh(optimizer, variables):
    """Builds an optimizer again for other variables; its counts go on."""
    for part in nested(optimizer):
        forget(part)
    optimizer.build(variables)


def _rewind(optimizers):
    saved = [(o, dict(vars(o)), list(o._variables)) for o in optimizers]

    def rewind():
        for optimizer, attributes, variables in saved:
            vars(optimizer).clear()
            vars(optimizer).update(attributes)
            # Not by slice: TensorFlow wraps the list, and would compare.
            while len(optimizer._variables):
                optimizer._variables.pop()
            optimizer._variables.extend(variables)
            optimizer._tracker.stored_ids["variables"] = {
                id(v) for v in variables
            }

    return rewind


class _Part:
    """One optimizer's variables as they were."""

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.variables = list(optimizer._trainable_variables)
        self.slots = {n: list(v) for n, v in find_slots(optimizer).items()}
        self.loose = find_loose(optimizer)
        self.rules = {name: rule_for(optimizer, name) for name in self.slots}


class _Origin:
    """Which old variables a new one comes from."""

    def __init__(self, plan, paths, old_paths):
        self.plan = plan
        self.paths = paths
        self._old_paths = old_paths

    def key(self, old):
        """Names an old variable: by its path, or itself if it did not grow."""
        return self._old_paths.get(id(old), id(old))

    def of(self, new):
        """The key of the old variable that a new one comes from first; for a
        block that copies none, of the same in the nearest old block."""
        path = self.paths.get(id(new))
        if path is None:
            return id(new)
        reads = self.plan.reads(path)
        if reads:
            return reads[0]
        variable = self.plan.target.variables[path]
        top = self.plan.source.depths[variable.stack] - 1
        return variable.at(min(variable.block, top))


class _Transfer:
    """Fills the new slots of one optimizer from its old ones."""

    def __init__(self, part, origin, policy):
        self.part = part
        self.origin = origin
        self.policy = policy
        self._plans = {}

    def fill(self):
        """Fills slot after slot; yields whether it keeps a history."""
        optimizer = self.part.optimizer
        new_slots = find_slots(optimizer)
        for name, rule in self.part.rules.items():
            old_slots = {
                self.origin.key(variable): slot
                for variable, slot in zip(
                    self.part.variables, self.part.slots[name], strict=True
                )
            }
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

    def _grown(self, rule, old, old_slots, slot, variable, index, fresh):
        """A new slot's value, and whether any of it has a history."""
        path = self.origin.paths.get(id(variable))
        if path is None or (not len(slot.shape) and len(variable.shape)):
            return old.value, True
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
        values = {p: host(raw(old_slots[p])) for p in plan.reads(path)}
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


@contextlib.contextmanager
def _kept_assignments(optimizer, parts, origin):
    """Lets a `MultiOptimizer` give each grown variable to the optimizer that
    its old one had, where its map would make a new optimizer."""
    assign = getattr(optimizer, "_optimizer_map", None)
    if assign is None or hasattr(assign, "values"):
        # A dict of optimizers names them; only a function can make new ones.
        yield
        return
    owner = {
        origin.key(variable): part.optimizer
        for part in parts[1:]
        for variable in part.variables
    }
    optimizer._optimizer_map = lambda variable: (
        owner.get(origin.of(variable)) or assign(variable)
    )
    try:
        yield
    finally:
        optimizer._optimizer_map = assign


def _carry_weight_decay_exclusions(part, origin):
    optimizer = part.optimizer
    excluded = getattr(optimizer, "_exclude_from_weight_decay", None)
    optimizer._exclude_from_weight_decay_cache = {}
    if not excluded:
        return
    keys = {
        origin.key(variable)
        for variable in part.variables
        if optimizer._var_key(variable) in excluded
    }
    optimizer._exclude_from_weight_decay = {
        optimizer._var_key(variable)
        for variable in optimizer._trainable_variables
        if origin.of(variable) in keys
    }
