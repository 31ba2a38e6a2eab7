"""Which entries are frozen after a growth, or learn at another rate.

An entry of a grown variable is old if it holds the plan's first copy of an
entry of the small network, and new otherwise: further copies, new units, new
blocks. Where a growth trains new entries only, a variable whose entries are
all old is frozen as Keras freezes variables, and has no slots. In a variable
that is old in part, the optimizer leaves old entries as they are, and scales
the updates of entries with an `UpdateScale` (see `optimizer/entry_masks.py`).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import PlanTerm
from kgrow.algebra.spec import ModelSpec
from kgrow.architecture.architecture import (
    Architecture,
    relative_path,
    trainable_weights,
    variable_paths,
)
from kgrow.growth.freezing_masks import Masks, box, product
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.optimizer.grow_state import OptimizerState
from kgrow.growth.optimizer.rebuild import FrozenEntries
from kgrow.growth.running_loops import check_loops
from kgrow.growth.trainable_choice import Choice, check_patterns, chosen_paths
from kgrow.growth.update_scale import UpdateScale, steps_taken

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_MASKS = ("known", "olds")


def freeze(
    network: keras.Model, source: Architecture, plan: Plan, trainable: Choice
) -> dict[str, np.ndarray]:
    """Freezes the old entries of a grown network.

    Args:
        network: the grown network, not yet in the model.
        source: `Architecture` before.
        plan: `Plan` from the one to the other.
        trainable: `"new"` freezes all old entries; `"all"` those that were
            frozen before, wherever they are now; patterns or a function freeze
            old entries of the variables that they do not choose.

    Returns:
        `{path: mask}`, a Boolean array in the shape of each variable that is
        frozen in whole or in part.

    Raises:
        GrowthError: nothing is new, or the plan mixes old entries, so that
            none of the grown ones is old.
    """
    if trainable == "all" and not source.frozen:
        return {}
    first, weights = _first_copies(plan), trainable_weights(network)
    for path, weight in weights.items():
        reads = plan.reads(path)
        if reads and reads[0] in source.frozen:
            # Not the user's choice, which goes on in every copy.
            weight.trainable = True
    masks = {
        path: _plain(_old_entries(first, path, source.frozen, trainable))
        for path in weights
    }
    by_hand = {path: not weight.trainable for path, weight in weights.items()}
    if trainable != "all":
        _wake_new(network, weights, masks)
        for path in chosen_paths(trainable, by_hand):
            if not by_hand[path]:
                masks[path] = np.zeros_like(masks[path])
    masks = {p: mask for p, mask in masks.items() if weights[p].trainable}
    frozen = {path: mask for path, mask in masks.items() if mask.any()}
    if frozen and all(mask.all() for mask in masks.values()):
        raise GrowthError(
            "trainable='new' trains what a growth adds, and this one adds "
            "nothing. Choose a larger target, or trainable='all'. Received: "
            f"trainable={trainable!r}, sizes {plan.target.sizes}, depths "
            f"{plan.target.depths}"
        )
    set_trainable(network, frozen)
    return frozen


def lifted(
    source: Architecture, plan: Plan, frozen: Masks
) -> dict[str, np.ndarray]:
    """Masks of the entries that a growth unfreezes.

    Args:
        source: `Architecture` before.
        plan: `Plan` of the growth.
        frozen: `{path: mask}` of the entries that are frozen after it.
    """
    if not source.frozen:
        return {}
    before = _masks(_first_copies(plan), source.frozen, "all")
    ended = {
        path: mask & np.logical_not(frozen.get(path, False))
        for path, mask in before.items()
    }
    return {path: mask for path, mask in ended.items() if mask.any()}


def _wake_new(network, weights, masks):
    """Makes new entries trainable where their layer continues one that a user
    froze: layers that are entirely new, and variables that are new in part."""
    fresh = {id(weights[path]) for path in weights if not masks[path].any()}
    known = {id(weight) for weight in weights.values()}
    for layer in network._flatten_layers(include_self=False):
        own = {id(weight) for weight in layer.weights} & known
        if own and own <= fresh:
            layer.trainable = True
    for path, weight in weights.items():
        if not masks[path].all():
            weight.trainable = True


def set_trainable(
    network: keras.Model, frozen: Masks, before: Collection[str] = ()
) -> None:
    """Sets Keras' `trainable` of a network's variables: `False` where all
    entries are frozen, `True` where they were frozen `before`."""
    for weight in network.weights:
        path = relative_path(network, weight)
        if path in frozen and frozen[path].all():
            weight.trainable = False
        elif path in before:
            weight.trainable = True


def unfreeze(model: GrowableModel, patterns: Choice | None = None) -> None:
    """Unfreezes entries that growths froze; see `GrowableModel.unfreeze()`."""
    architecture = model.architecture
    ended = _chosen_of(architecture, patterns)
    if not ended:
        return
    check_loops(model)
    backend.sync(model)
    network, frozen = architecture.network, architecture.frozen
    kept = {path: mask for path, mask in frozen.items() if path not in ended}
    optimizer = getattr(model, "optimizer", None)
    state = None
    flags = [(weight, weight.trainable) for weight in network.weights]

    def freeze_again():
        architecture.frozen = frozen
        for weight, flag in flags:
            weight.trainable = flag
        guard(model)

    with contextlib.ExitStack() as undo, backend.scope(model):
        undo.callback(model._remember())
        undo.callback(freeze_again)
        if optimizer is not None and optimizer.built:
            state = OptimizerState(optimizer)
            undo.callback(state.remember())
        set_trainable(network, kept, before=ended)
        architecture.frozen = kept
        if state is not None:
            same = Plan(architecture.spec, architecture.spec, (PlanTerm(),))
            paths = variable_paths(network)
            state.rebuild(
                model.trainable_variables,
                same,
                paths,
                paths,
                "carry",
                FrozenEntries({}, [*network.weights], lifted=ended),
            )
        guard(model)
        model._refresh_functions()
        undo.pop_all()


def _chosen_of(architecture: Architecture, patterns: Choice | None) -> Masks:
    """The masks of frozen entries, of the variables that patterns choose."""
    frozen = architecture.frozen
    if patterns is None:
        return frozen
    if not callable(patterns):
        patterns = check_patterns(patterns, "patterns")
    by_hand = {
        path: not weight.trainable and path not in frozen
        for path, weight in trainable_weights(architecture.network).items()
    }
    chosen = chosen_paths(patterns, by_hand, "patterns")
    return {path: mask for path, mask in frozen.items() if path in chosen}


def first_copies(source: Architecture, plan: Plan) -> Plan | GrowthError | None:
    """The plan that writes old entries only, or the error why there is none.

    `new_update_scale()` needs it; it takes no memory. If nothing grows it is
    that of the growth before, as the same entries are new.
    """
    sizes = [(spec.sizes, spec.depths) for spec in (plan.source, plan.target)]
    if sizes[0] == sizes[1]:
        return source.first_copies
    try:
        first = _first_copies(plan, "another learning-rate policy")
    except GrowthError as error:
        return GrowthError(str(error))
    return dataclasses.replace(first, given={})


def new_update_scale(
    architecture: Architecture,
    start: int,
    new: float,
    old: float,
    steps: int | None,
) -> UpdateScale:
    """The `UpdateScale` of new and of old entries after the last growth.

    Args:
        architecture: `Architecture` after the growth.
        start: int, the optimizer's iterations at the growth.
        new: float, see `UpdateScale`.
        old: float, see `UpdateScale`.
        steps: int or `None`, see `UpdateScale`.

    Raises:
        GrowthError: the model has not grown, or the growth mixed old entries.
    """
    first = architecture.first_copies
    if first is None:
        raise GrowthError(
            "Old and new entries are told apart right after a growth, and "
            "this model was built, or loaded, as large as it is."
        )
    if isinstance(first, GrowthError):
        raise GrowthError(str(first))
    known = {
        path: np.broadcast_to(np.True_, variable.shape)
        for path, variable in first.target.variables.items()
    }
    olds = _masks(first, {}, "new")
    return UpdateScale(start, new, old, steps, known, olds)


def carry_update_scales(
    model: GrowableModel, plan: Plan, step: int | None = None
) -> list[UpdateScale]:
    """The update scales that are still in effect, for the grown network.

    Args:
        model: `GrowableModel` before the growth.
        plan: `Plan`.
        step: int, the optimizer's iterations; by default they are read.

    Raises:
        GrowthError: the plan mixes the entries.
    """
    step = steps_taken(model) if step is None else step
    update_scales = [
        p for p in model.architecture.update_scales if not p.is_over(step)
    ]
    if not update_scales:
        return []
    first = _first_copies(
        plan,
        "`kgrow.schedules.learning_rate.apply_policies.end(model)` before it",
    )
    return [
        p.mapped(lambda masks: _masks(first, masks, "all"))
        for p in update_scales
    ]


def load_update_scales(
    model: GrowableModel, config: list[dict[str, Any]]
) -> None:
    """Sets the update scales that `update_scales_to_config()` wrote."""
    architecture = model.architecture
    if config == update_scales_to_config(architecture.update_scales):
        return
    backend.sync(model)
    spec = architecture.spec
    architecture.update_scales = [
        _update_scale_from_config(entry, spec) for entry in config
    ]
    guard(model)
    model._refresh_functions()


def _update_scale_from_config(
    entry: dict[str, Any], spec: ModelSpec
) -> UpdateScale:
    masks: dict[str, Any] = {n: from_config(entry[n], spec) for n in _MASKS}
    return UpdateScale(**entry | masks)


def load_rate_factors(
    model: GrowableModel, factors: Mapping[str, float]
) -> None:
    """Sets the factors of the learning rate that a file has."""
    if factors != model.architecture.rate_factors:
        model.architecture.rate_factors = dict(factors)
        guard(model)


def update_scales_to_config(
    update_scales: Sequence[UpdateScale],
) -> list[dict[str, Any]]:
    """Update scales as data that JSON can hold."""
    return [
        vars(scale) | {n: to_config(getattr(scale, n)) for n in _MASKS}
        for scale in update_scales
    ]


def to_config(frozen: Masks) -> dict[str, Any]:
    """Masks as data that JSON can hold.

    `True` for a whole variable; the runs of frozen entries along each axis if
    the mask is a box; otherwise the runs in the flattened mask.

    Example:

    >>> import numpy as np
    >>> mask = np.array([[True, True, False], [False, False, False]])
    >>> to_config({"kernel": mask})
    {'kernel': {'axes': [[[0, 1]], [[0, 2]]]}}
    """
    config = {}
    for path, mask in frozen.items():
        axes = box(mask)
        if mask.all():
            config[path] = True
        elif axes is not None:
            config[path] = {"axes": [_runs(axis) for axis in axes]}
        else:
            config[path] = {"flat": _runs(mask.reshape(-1))}
    return config


def from_config(
    config: Mapping[str, Any], spec: ModelSpec
) -> dict[str, np.ndarray]:
    """The masks that `to_config()` wrote, for a network of that spec."""
    frozen = {}
    for path, entry in config.items():
        shape = spec.variables[path].shape
        if entry is True:
            mask = np.ones(shape, bool)
        elif "axes" in entry:
            axes = zip(entry["axes"], shape, strict=True)
            mask = product([_vector(runs, size) for runs, size in axes])
        else:
            size = int(np.prod(shape))
            mask = _vector(entry["flat"], size).reshape(shape)
        frozen[path] = _plain(mask)
    return frozen


def _first_copies(plan, instead="trainable='all' after `model.unfreeze()`"):
    """The plan that writes old entries only, by its first term: where several
    terms share a growth, the first one keeps the old network."""
    try:
        first = plan.first_only()
    except GrowthError as error:
        raise GrowthError(
            "Only a strategy that leaves every old entry somewhere can tell "
            "it from a new one, and this one mixes them. Choose one that "
            "copies, such as 'net2net' or 'stack', or "
            f"{instead}. Received: {error}"
        ) from error
    return dataclasses.replace(first, terms=first.terms[:1], noise={})


def _masks(first, masks, trainable):
    """`{path: mask}` of the entries that `_old_entries()` finds."""
    found = {}
    for path in first.target.variables:
        mask = _old_entries(first, path, masks, trainable)
        if mask.any():
            found[path] = _plain(mask)
    return found


def _old_entries(first, path, frozen, trainable):
    """Boolean mask of the old entries of a variable that are to be frozen."""
    variable, values = first.target.variables[path], {}
    for old in first.reads(path):
        shape = first.source.variables[old].shape
        keep = trainable != "all" or frozen.get(old, False)
        values[old] = np.broadcast_to(keep, shape).astype("float32")
    if not any(value.any() for value in values.values()):
        return np.zeros(variable.shape, bool)
    return first.grow(path, values, fill=0.0) != 0


def _plain(mask):
    """The same mask; if all of it is true, without memory of its own."""
    if mask.all():
        return np.broadcast_to(np.True_, mask.shape)
    return mask


def _runs(vector):
    """`[[start, stop], ...]` of the true entries."""
    edges = np.flatnonzero(np.diff(np.r_[False, vector, False]))
    return edges.reshape(-1, 2).tolist()


def _vector(runs, size):
    vector = np.zeros(size, bool)
    for start, stop in runs:
        vector[start:stop] = True
    return vector
