"""Building an optimizer again, in place, for the variables of a grown model.

State that belongs to no variable (counts, rates, scales) stays. Settings by
variable (exclusions from weight decay, which optimizer trains what) are carried
from old variables to new ones.
"""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import keras

from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.backend.keras_internals import (
    attributes_of,
    set_attributes,
    set_optimizer_variables,
)
from kgrow.growth.freezing_masks import Masks
from kgrow.growth.optimizer.slot_rules import SlotRule, rule_for
from kgrow.growth.optimizer.slots import (
    find_loose,
    find_slots,
    forget,
    nested,
    replace_loose,
)


class OptimizerSnapshot:
    """One optimizer, wrapped or not, with its variables before the growth.

    Args:
        optimizer: a built Keras optimizer.

    Raises:
        GrowthError: a variable is no slot and no attribute, see `slots.py`.
    """

    def __init__(self, optimizer: keras.optimizers.Optimizer) -> None:
        self.optimizer = optimizer
        self.variables = list(optimizer._trainable_variables)
        self.slots = {n: list(v) for n, v in find_slots(optimizer).items()}
        self.loose = find_loose(optimizer)

    @functools.cached_property
    def rules(self) -> dict[str, SlotRule]:
        """`{attribute: SlotRule}`."""
        return {name: rule_for(self.optimizer, name) for name in self.slots}

    def clone_for(
        self, optimizer: keras.optimizers.Optimizer
    ) -> OptimizerSnapshot:
        """The same variables and slots, for another optimizer of the kind."""
        clone = copy.copy(self)
        clone.optimizer = optimizer
        return clone


@dataclass(frozen=True)
class FrozenEntries:
    """Frozen entries and variables, which the optimizer does not know.

    Args:
        frozen: `{path: mask}`, entries that are frozen.
        weights: all variables of the networks before and after, including
            those that the optimizer does not train.
        lifted: `{path: mask}`, entries that were frozen and are no longer.
    """

    frozen: Masks = field(default_factory=dict)
    weights: Sequence[keras.Variable] = ()
    lifted: Masks = field(default_factory=dict)


NOTHING_FROZEN = FrozenEntries()


class NameMap:
    """Finds the old variable that a new one continues, by its path.

    Args:
        source: `ModelSpec` before.
        target: `ModelSpec` after.
        paths: dict from `id` of a new variable to its path in `target`;
            variables that are not in it did not change.
        old_paths: the same for the old variables and `source`.
        frozen_entries: `FrozenEntries`.
    """

    def __init__(
        self,
        source: ModelSpec,
        target: ModelSpec,
        paths: Mapping[int, str],
        old_paths: Mapping[int, str],
        frozen_entries: FrozenEntries = NOTHING_FROZEN,
    ) -> None:
        self.source = source
        self.target = target
        self.paths = paths
        self.frozen_entries = frozen_entries
        self._old_paths = old_paths

    def key(self, old: keras.Variable) -> str | int:
        """Identifies an old variable: by path, or `id` if it does not grow."""
        return self._old_paths.get(id(old), id(old))

    def of(self, new: keras.Variable) -> str | int:
        """The key of the old variable that a new one continues: that of the
        same path; in a new block, that of the last old block."""
        path = self.paths.get(id(new))
        if path is None:
            return id(new)
        variable = self.target.variables[path]
        if variable.stack is None or variable.block is None:
            return path
        top = self.source.depths[variable.stack] - 1
        return variable.at(min(variable.block, top))


class VariableMap(NameMap):
    """Finds the old variable that a new one is made of, by a plan.

    Args:
        plan: `Plan`.
        paths: see `NameMap`.
        old_paths: see `NameMap`.
        frozen_entries: see `NameMap`.
    """

    def __init__(
        self,
        plan: Plan,
        paths: Mapping[int, str],
        old_paths: Mapping[int, str],
        frozen_entries: FrozenEntries = NOTHING_FROZEN,
    ) -> None:
        super().__init__(
            plan.source, plan.target, paths, old_paths, frozen_entries
        )
        self.plan = plan

    def of(self, new: keras.Variable) -> str | int:
        """The key of the first old variable that the plan makes a new one of;
        by path if it makes it of none."""
        path = self.paths.get(id(new))
        reads = [] if path is None else self.plan.reads(path)
        return reads[0] if reads else super().of(new)


def build_again(
    optimizer: keras.optimizers.Optimizer,
    parts: Sequence[OptimizerSnapshot],
    variables: Sequence[keras.Variable],
    origin: NameMap,
) -> list[OptimizerSnapshot]:
    """Builds an optimizer for other variables, in place.

    Args:
        optimizer: a built Keras optimizer.
        parts: list of the `OptimizerSnapshot`s of all its `nested()` ones.
        variables: list, the new trainable variables.
        origin: `NameMap`.

    Returns:
        list of `OptimizerSnapshot`s: the optimizers as they are now, with the
        old variables and slots.
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


def rebuild_fresh(
    optimizer: keras.optimizers.Optimizer,
    variables: Sequence[keras.Variable],
    origin: NameMap,
) -> None:
    """Builds an optimizer for other variables; its slots are filled later.

    Args:
        optimizer: a built Keras optimizer.
        variables: list, the new trainable variables.
        origin: `NameMap`.
    """
    parts = [OptimizerSnapshot(o) for o in nested(optimizer)]
    build_again(optimizer, parts, variables, origin)


def remember(
    optimizers: Iterable[keras.optimizers.Optimizer],
) -> Callable[[], None]:
    """Returns a function that restores optimizers as they are now."""
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
    """Context in which a `MultiOptimizer` keeps its assignment of variables.

    Where its function would make a new optimizer for a variable, the one that
    trained the old variable is used. If several new variables continue one,
    the others get the new optimizer, with the same slots as history.

    Yields:
        list, filled with the `OptimizerSnapshot`s of new optimizers.
    """
    heirs, assign = [], getattr(optimizer, "_optimizer_map", None)
    if assign is None or hasattr(assign, "values"):
        # With a dict the optimizers are fixed; only a function makes new ones.
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

    # Filled in the order of the new variables, as in a first build.
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
    all_weights = origin.frozen_entries.weights
    keys = {
        origin.key(variable)
        for variable in [*part.variables, *all_weights]
        if optimizer._var_key(variable) in excluded
    }
    optimizer._exclude_from_weight_decay = {
        optimizer._var_key(variable)
        for variable in [*optimizer._trainable_variables, *all_weights]
        if origin.of(variable) in keys
    }
