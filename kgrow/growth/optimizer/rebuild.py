"""Building an optimizer again, in place, for the variables of a grown model.

What belongs to no variable (counts, rates, scales) goes on; what is keyed by
variables (exclusions, who optimizes what) follows them to the new ones.
"""

import contextlib
import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from kgrow.backend.keras_internals import (
    attributes_of,
    set_attributes,
    set_optimizer_variables,
)
from kgrow.growth.optimizer.slot_rules import rule_for
from kgrow.growth.optimizer.slots import (
    find_loose,
    find_slots,
    forget,
    nested,
    replace_loose,
)


class OptimizerSnapshot:
    """One optimizer, wrapped or not, and its variables as they were.

    Args:
        optimizer: a built Keras optimizer.

    Raises:
        GrowthError: a variable of it cannot be attributed.
    """

    def __init__(self, optimizer):
        self.optimizer = optimizer
        self.variables = list(optimizer._trainable_variables)
        self.slots = {n: list(v) for n, v in find_slots(optimizer).items()}
        self.loose = find_loose(optimizer)

    @functools.cached_property
    def rules(self):
        """`{attribute: SlotRule}`."""
        return {name: rule_for(self.optimizer, name) for name in self.slots}

    def clone_for(self, optimizer):
        """The same past for another optimizer of the same kind."""
        clone = copy.copy(self)
        clone.optimizer = optimizer
        return clone


@dataclass(frozen=True)
class FrozenEntries:
    """What an optimizer does not hear of.

    Args:
        frozen: `{path: mask}`, entries that rest.
        weights: variables of the networks before and after, those that the
            optimizer does not hold among them.
        lifted: `{path: mask}`, entries that rested until now, and will not
            any more.
    """

    frozen: Mapping = field(default_factory=dict)
    weights: Sequence = ()
    lifted: Mapping = field(default_factory=dict)


NOTHING_RESTS = FrozenEntries()


class NameMap:
    """Which old variable a new one continues, by its name.

    Args:
        source: `ModelSpec` before.
        target: `ModelSpec` after.
        paths: dict from `id` of a new variable to its path in `target`;
            variables that are not in it did not change.
        old_paths: the same for the old variables and `source`.
        resting: `FrozenEntries`.
    """

    def __init__(self, source, target, paths, old_paths, resting=NOTHING_RESTS):
        self.source = source
        self.target = target
        self.paths = paths
        self.resting = resting
        self._old_paths = old_paths

    def key(self, old):
        """Names an old variable: by its path, or itself if it did not grow."""
        return self._old_paths.get(id(old), id(old))

    def of(self, new):
        """The key of the old variable that a new one continues: the same, in
        the nearest old block."""
        path = self.paths.get(id(new))
        if path is None:
            return id(new)
        variable = self.target.variables[path]
        if variable.stack is None:
            return path
        top = self.source.depths[variable.stack] - 1
        return variable.at(min(variable.block, top))


class VariableMap(NameMap):
    """Which old variable a new one comes from, by a plan.

    Args:
        plan: `Plan`.
        paths: see `NameMap`.
        old_paths: see `NameMap`.
        resting: see `NameMap`.
    """

    def __init__(self, plan, paths, old_paths, resting=NOTHING_RESTS):
        super().__init__(plan.source, plan.target, paths, old_paths, resting)
        self.plan = plan

    def of(self, new):
        """The key of the old variable that a new one comes from first; its
        namesake if the plan makes it of none."""
        path = self.paths.get(id(new))
        reads = [] if path is None else self.plan.reads(path)
        return reads[0] if reads else super().of(new)


def build_again(optimizer, parts, variables, origin):
    """Builds an optimizer for other variables, in place.

    Args:
        optimizer: a built Keras optimizer.
        parts: list of the `OptimizerSnapshot`s of all its `nested()` ones.
        variables: list, the new trainable variables.
        origin: `NameMap`.

    Returns:
        list of `OptimizerSnapshot`s, the optimizers now with the variables
        before.
    """
    for part in parts:
        forget(part.optimizer)
    with contextlib.ExitStack() as stack:
        heirs = [
            stack.enter_context(
                _kept_assignments(part.optimizer, parts, origin)
            )
            for part in parts
        ]
        optimizer.build(variables)
    parts = [*parts, *sum(heirs, [])]
    for part in parts:
        replace_loose(part.optimizer, part.loose)
        _carry_weight_decay_exclusions(part, origin)
    return parts


def rebuild_fresh(optimizer, variables, origin):
    """Builds an optimizer for other variables, whose slots come next.

    Args:
        optimizer: a built Keras optimizer.
        variables: list, the new trainable variables.
        origin: `NameMap`.
    """
    parts = [OptimizerSnapshot(o) for o in nested(optimizer)]
    build_again(optimizer, parts, variables, origin)


def remember(optimizers):
    """Makes a function that puts optimizers back as they are now."""
    saved = [
        (optimizer, attributes_of(optimizer), list(optimizer._variables))
        for optimizer in optimizers
    ]

    def rewind():
        for optimizer, attributes, variables in saved:
            set_attributes(optimizer, attributes)
            set_optimizer_variables(optimizer, variables)

    return rewind


@contextlib.contextmanager
def _kept_assignments(optimizer, parts, origin):
    """Lets a `MultiOptimizer` give each variable to the optimizer that its old
    one had, where its function would make a new one; a second copy of a
    variable gets the new one, with the same past.

    Yields:
        list, filled with the `OptimizerSnapshot`s of such new ones.
    """
    heirs, assign = [], getattr(optimizer, "_optimizer_map", None)
    if assign is None or hasattr(assign, "values"):
        # A dict of optimizers names them; only a function can make new ones.
        yield heirs
        return
    known = {id(part.optimizer) for part in parts}
    owners = {
        origin.key(variable): part
        for part in parts
        if part.optimizer in optimizer._inner_optimizers
        for variable in part.variables
    }
    taken = set()

    def choose(variable):
        made, owner = assign(variable), owners.get(origin.of(variable))
        if id(made) in known or owner is None:
            return made
        if type(made) is not type(owner.optimizer):
            return made
        if id(owner.optimizer) in taken:
            heirs.append(owner.clone_for(made))
            return made
        taken.add(id(owner.optimizer))
        return owner.optimizer

    # In the order of the variables, as if made for them.
    optimizer._inner_optimizers = []
    optimizer._optimizer_map = choose
    try:
        yield heirs
    finally:
        optimizer._optimizer_map = assign


def _carry_weight_decay_exclusions(part, origin):
    optimizer = part.optimizer
    excluded = getattr(optimizer, "_exclude_from_weight_decay", None)
    optimizer._exclude_from_weight_decay_cache = {}
    if not excluded:
        return
    resting = origin.resting.weights
    keys = {
        origin.key(variable)
        for variable in [*part.variables, *resting]
        if optimizer._var_key(variable) in excluded
    }
    optimizer._exclude_from_weight_decay = {
        optimizer._var_key(variable)
        for variable in [*optimizer._trainable_variables, *resting]
        if origin.of(variable) in keys
    }
