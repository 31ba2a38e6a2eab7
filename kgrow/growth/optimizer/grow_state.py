"""Growing the optimizer's state with the weights it belongs to.

How a slot grows follows from how it scales with the gradient. A slot linear in
it (momentum) grows by the dual plan, a quadratic one (second moments) by the
dual plan with squared weights, one free of its scale (averages of updates) by
the dual plan without weights, and one that holds weights (averages, iterates)
by the plan itself. `slot_rules.py` says which is which.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import keras
import numpy as np
from keras import ops

from kgrow.algebra.initializers import sample
from kgrow.algebra.plan import Plan
from kgrow.backend import (
    is_spread,
    pieces,
    storage,
    to_numpy,
    to_numpy_if_cpu,
)
from kgrow.backend.lazy_variables import give_value, initialize
from kgrow.growth.grown_values import grown_value
from kgrow.growth.optimizer.factored_slots import (
    mean_of_trained,
    mean_weight,
    plan_without_axis,
    reduced_axis,
)
from kgrow.growth.optimizer.rebuild import (
    NOTHING_FROZEN,
    FrozenEntries,
    OptimizerSnapshot,
    VariableMap,
    build_again,
    remember,
)
from kgrow.growth.optimizer.slot_scaling import WEIGHT
from kgrow.growth.optimizer.slots import (
    find_slots,
    nested,
    slots_without_values,
)

_UNIFORM = (
    keras.initializers.Zeros,
    keras.initializers.Ones,
    keras.initializers.Constant,
)

POLICIES = ("carry", "reset", "reset_new")


def is_policy(optimizer_state):
    """Whether it is one of `POLICIES`; an array is not."""
    return isinstance(optimizer_state, str) and optimizer_state in POLICIES


class OptimizerState:
    """The state of a built optimizer, held while its variables are replaced.

    Args:
        optimizer: a built Keras optimizer, possibly wrapping others.

    Raises:
        GrowthError: a variable is no slot and no attribute, see `slots.py`;
            or a slot has no rule and cannot be measured.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.optimizer = optimizer
        self._parts = [OptimizerSnapshot(o) for o in nested(optimizer)]
        for part in self._parts:
            # Raises for a slot without a rule before anything is changed.
            _ = part.rules

    def remember(self) -> Callable[[], None]:
        """Returns a function that restores the optimizer as it is now."""
        return remember([part.optimizer for part in self._parts])

    def rebuild(
        self,
        variables: Sequence[keras.Variable],
        plan: Plan,
        paths: Mapping[int, str],
        old_paths: Mapping[int, str],
        policy: str,
        frozen_entries: FrozenEntries = NOTHING_FROZEN,
    ) -> tuple[int, int]:
        """Builds the optimizer again, in place, and fills its slots.

        Args:
            variables: list, the grown model's trainable variables.
            plan: the `Plan` of the growth.
            paths: dict from `id` of a new variable to its path in the plan's
                target; variables that are not in it did not grow.
            old_paths: the same for the old variables and the plan's source.
            policy: `"carry"` (all entries, through the dual plan),
                `"reset_new"` (old entries only, not their copies) or
                `"reset"` (none).
            frozen_entries: `FrozenEntries`, entries that are reset under every
                policy.

        Returns:
            `(carried, fresh)`, numbers of slot variables.
        """
        origin = VariableMap(plan, paths, old_paths, frozen_entries)
        with slots_without_values([part.optimizer for part in self._parts]):
            parts = build_again(self.optimizer, self._parts, variables, origin)
        counts = [0, 0]
        for part in parts:
            for carried in _Transfer(part, parts, origin, policy).fill():
                counts[0 if carried else 1] += 1
        initialize(self.optimizer.variables)
        return counts[0], counts[1]


class _Transfer:
    """Fills the new slots of one optimizer from its old ones."""

    def __init__(self, part, parts, origin, policy):
        self.part = part
        self.parts = parts
        self.origin = origin
        self.policy = policy
        self._plans = {}

    def fill(self):
        """Fills the slots; yields, for each, whether it keeps a history."""
        optimizer = self.part.optimizer
        if not optimizer.built:
            # It has no variables any more.
            return
        new_slots = find_slots(optimizer)
        for name, rule in self.part.rules.items():
            old_slots = self._old_slots(name)
            for index, variable in enumerate(optimizer._trainable_variables):
                slot = new_slots[name][index]
                old = old_slots.get(self.origin.of(variable))
                if slot is None:
                    continue
                if rule.recompute:
                    value, carried = self._recomputed(
                        rule, old, old_slots, slot, variable, index
                    )
                elif old is None:
                    value, carried = self._first(
                        rule, old_slots, slot, variable
                    )
                else:
                    fresh = _fresh(rule, slot, old, variable)
                    value, carried = self._grown(
                        rule, old, old_slots, slot, variable, fresh
                    )
                    value = self._anew(rule, old, slot, variable, value)
                give_value(slot, value)
                yield carried

    def _old_slots(self, name):
        """`{key of an old variable: its slot}`, of all optimizers of the kind:
        a block may be mixed of blocks that another one trained."""
        kind = type(self.part.optimizer)
        return {
            self.origin.key(variable): slot
            for part in [*self.parts, self.part]
            if type(part.optimizer) is kind and name in part.slots
            for variable, slot in zip(
                part.variables, part.slots[name], strict=True
            )
        }

    def _recomputed(self, rule, old, old_slots, slot, variable, index):
        """The value of a slot from which the weights are computed: unchanged if
        the weights are, otherwise recomputed from them."""
        path = self.origin.paths.get(id(variable))
        carry = self.policy != "reset" or rule.carry_always
        if old is not None:
            kept = path is None or (
                carry
                and self.origin.plan.keeps(path)
                and path not in self.origin.frozen_entries.frozen
                and path not in self.origin.frozen_entries.lifted
            )
            if kept:
                return ops.copy(old.value), True
            if not _has_values(to_numpy_if_cpu(storage(old))):
                return np.broadcast_to(np.float32(0), tuple(slot.shape)), True
        weight = _at_hand(storage(variable))
        history, summed = carry and old is not None, np.float32(0)
        if history:
            summed, _ = self._grown(rule, old, old_slots, slot, variable, 0.0)
            summed = self._anew(rule, old, slot, variable, summed)
        value = rule.recompute(self.part.optimizer, index, weight, summed)
        return value, history

    def _grown(self, rule, old, old_slots, slot, variable, fresh):
        """A new slot's value, and whether any of it has a history."""
        path = self.origin.paths.get(id(variable))
        if path is None or (not len(slot.shape) and len(variable.shape)):
            return ops.copy(old.value), True
        carry = self.policy != "reset" or rule.carry_always
        if not carry:
            return _of_shape(fresh, slot), False
        plan, share = self._plan(rule), 1.0
        axis = reduced_axis(rule, slot, variable)
        if axis is not None:
            share = mean_weight(plan, path, axis)
            plan = self._plan(rule, axis)
        reads = plan.reads(path)
        if any(old_slots.get(p) is None for p in reads):
            reads = []
        values = {p: to_numpy_if_cpu(storage(old_slots[p])) for p in reads}
        start = 0.0
        if rule.fresh == "initial" and not self.origin.plan.keeps(path):
            # The sum of gradients grows, without the initial value.
            start, fresh = np.max(fresh), fresh - np.max(fresh)
            values = {p: value - start for p, value in values.items()}
        grown = fresh
        if values:
            grown = grown_value(plan, path, values, slot, fresh)
        if share != 1.0:
            grown = grown * np.asarray(share, "float32")
        if start:
            grown = grown + start
        return _of_shape(grown, slot), bool(values)

    def _first(self, rule, old_slots, slot, variable):
        """The value of a slot whose variable was frozen and had none.

        Where others start from the mean of the variable's old entries, the
        mean over the same variable in other blocks is taken, or over all.
        """
        shape = tuple(slot.shape)
        if rule.fresh != "mean" or rule.degree == WEIGHT:
            fresh = _fresh(rule, slot, None, variable)
            return _of_shape(fresh, slot), False
        slots = {
            key: s
            for key, s in old_slots.items()
            if s is not None and len(s.shape) == len(shape)
        }
        alike = [s for key, s in slots.items() if self._alike(key, variable)]
        sums, sizes = 0.0, 0
        for old in alike or slots.values():
            size = int(np.prod(old.shape))
            sums += _mean(to_numpy_if_cpu(storage(old))) * size
            sizes += size
        mean = np.asarray(sums / max(sizes, 1), "float32")
        return np.broadcast_to(mean, shape), False

    def _alike(self, key, variable):
        """Whether a key is that of the same variable in another block."""
        path = self.origin.paths.get(id(variable))
        like = self.origin.source.variables.get(key)
        return (
            path is not None
            and like is not None
            and like.template is not None
            and like.template == self.origin.target.variables[path].template
        )

    def _anew(self, rule, old, slot, variable, value):
        """A slot's value, reset at entries that are or were frozen."""
        path = self.origin.paths.get(id(variable))
        frozen_entries = self.origin.frozen_entries
        for masks in (frozen_entries.frozen, frozen_entries.lifted):
            if path in masks:
                value = self._anew_at(
                    masks[path], rule, old, slot, variable, value
                )
        return value

    def _anew_at(self, mask, rule, old, slot, variable, value):
        if mask.shape != tuple(slot.shape):
            return self._mean_of_trained(rule, slot, variable, value)
        fresh = _fresh(rule, slot, old, variable)
        if is_spread(value):
            return _anew_in_pieces(rule, value, mask, fresh)
        value = np.array(to_numpy(value))
        if rule.fresh == "mean" and rule.degree != WEIGHT and not mask.all():
            # The mean over entries that have a history.
            fresh = value[~mask].mean(dtype=np.float64)
        value[mask] = np.broadcast_to(fresh, mask.shape)[mask]
        return value

    def _mean_of_trained(self, rule, slot, variable, value):
        """A slot that is averaged over an axis with unfrozen entries, whose
        gradients were zero until now: the average without them."""
        path = self.origin.paths.get(id(variable))
        mask = self.origin.frozen_entries.lifted.get(path)
        if mask is None or not len(slot.shape):
            return value
        value = to_numpy(value)
        axis = reduced_axis(rule, slot, variable)
        assert axis is not None  # the mask has another shape
        return mean_of_trained(value, mask, axis, rule.fresh)

    def _plan(self, rule, axis=None):
        """The plan for slots of a rule, made once per rule."""
        key = (rule.degree, rule.carry_always, axis)
        if key not in self._plans:
            plan = self.origin.plan
            if rule.degree != WEIGHT:
                if self.policy == "reset_new" and not rule.carry_always:
                    plan = plan.first_only()
                plan = plan.dual(rule.degree)
            if axis is not None:
                plan = plan_without_axis(plan, axis)
            self._plans[key] = plan
        return self._plans[key]


def _of_shape(value, slot):
    """A number broadcast to the slot's shape; an array as it is."""
    if np.ndim(value) == len(slot.shape) and len(slot.shape):
        return value
    return np.broadcast_to(value, tuple(slot.shape))


def _at_hand(value):
    """As a numpy array, unless it lies in pieces on several devices."""
    return value if is_spread(value) else np.asarray(to_numpy_if_cpu(value))


def _has_values(value):
    if is_spread(value):
        return pieces.has_values(value)
    return bool(np.any(value))


def _mean(value):
    if is_spread(value):
        return pieces.mean(value)
    return float(np.mean(value, dtype=np.float64))


def _anew_in_pieces(rule, value, mask, fresh):
    """A slot on several devices, reset where the mask is true."""
    place = value.sharding
    mask = pieces.spread(lambda i: mask[i], mask.shape, "bool", place)
    if rule.fresh == "mean" and rule.degree != WEIGHT:
        # The mean over entries that have a history.
        rest = 1.0 - pieces.mean(mask)
        if rest:
            kept = pieces.where(mask, np.zeros((), value.dtype), value)
            fresh = pieces.mean(kept) / rest
    if not is_spread(fresh):
        fresh = np.asarray(fresh, value.dtype)
    return pieces.where(mask, fresh, value)


def _fresh(rule, slot, old, variable):
    """The value of entries without a history."""
    if rule.degree == WEIGHT:
        return _at_hand(storage(variable))
    if rule.fresh == "initial":
        uniform = isinstance(slot._initializer, _UNIFORM)
        shape = () if uniform else slot.shape
        rng = np.random.default_rng(0)  # slots start from constants
        return sample(slot._initializer, shape, slot.dtype, rng)
    if rule.fresh == "mean":
        return _mean(to_numpy_if_cpu(storage(old)))
    return 0.0
