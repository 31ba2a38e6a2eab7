"""The growth state: all that a model's file holds beside the weights.

Sizes, gates, training options, frozen entries, update scales, random states,
the teacher, receipts and the state of callbacks, as plain data (see
`state_schema.py`). A model that loads a file first takes the sizes and the
state, and then the weights.

The state is checked before the model is changed, and no network is built that
is too large for the file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from kgrow import backend
from kgrow.algebra.config_fields import base, same_form
from kgrow.algebra.errors import FileError
from kgrow.architecture.architecture import Architecture, variable_paths
from kgrow.backend.keras_internals import (
    replace_methods,
    restore_methods,
    set_untracked,
)
from kgrow.backend.lazy_variables import initialize
from kgrow.backend.random import private_random, seed_states, set_seed_states
from kgrow.backend.scopes import own_scopes
from kgrow.growth.freezing import (
    from_config,
    load_rate_factors,
    load_update_scales,
    to_config,
    update_scales_to_config,
)
from kgrow.growth.gates import gates_of
from kgrow.growth.optimizer.entry_masks import guard
from kgrow.growth.optimizer.rebuild import FrozenEntries, NameMap, rebuild_fresh
from kgrow.growth.optimizer.slots import nested
from kgrow.growth.receipt import Receipt
from kgrow.growth.saving.size_limits import Extent
from kgrow.growth.saving.state_schema import check_masks
from kgrow.growth.saving.trainable_flags import (
    frozen_already,
    set_untrainable,
    untrainable,
)
from kgrow.growth.teacher import Inheritance

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


def state_of(model: GrowableModel) -> dict[str, Any]:
    """The growth state of a model, as data that JSON can hold."""
    architecture = model.architecture
    return {
        "config": model.growth_config,
        "variables": _shapes(architecture.spec),
        "frozen": to_config(architecture.frozen),
        "update_scales": update_scales_to_config(architecture.update_scales),
        "rate_factors": dict(architecture.rate_factors),
        "gates": _gates_config(model.network),
        "training_options": model.training_options,
        "untrainable": untrainable(model.network, architecture.frozen),
        "seeds": seed_states(model.network),
        "history": [r.to_dict() for r in model.growth_history],
        "teacher": _teacher_config(model),
        "optimizer": optimizer_config(model),
        "callbacks": model.callback_state,
    }


def become(
    model: GrowableModel, saved: dict[str, Any], extent: Callable[[], Extent]
) -> None:
    """Gives a model the growth state of another one.

    Weights, counters and optimizer slots are loaded afterwards. To be called
    inside `all_or_nothing()`, unless the model is discarded on an error.

    Args:
        model: `GrowableModel`.
        saved: dict, see `state_schema.unpack()`.
        extent: function without arguments that returns the file's `Extent`.

    Raises:
        FileError: it is the state of another kind of model, or contradicts
            itself.
    """
    try:
        _check(model, saved, extent)
        _resize(model, saved, extent)
        _check_shapes(model.architecture.spec, saved)
        names = _renaming(model.architecture.spec, saved)
        scales = _scales_with_names(saved["update_scales"], names)
        load_update_scales(model, scales)
        load_rate_factors(model, _with_names(saved["rate_factors"], names))
        set_seed_states(model.network, _seeds(model, saved))
        _find_teacher(model, saved["teacher"], extent)
        _build_optimizer(model, saved)
        set_untracked(model, "callback_state", saved["callbacks"])
        model._growth_history = [Receipt.from_dict(r) for r in saved["history"]]
        # A file has receipts and no plans.
        model._growth_plans = []
    except FileError:
        raise
    except Exception as error:
        raise FileError(
            "The model cannot become what the file says. Build it with the "
            "constructor call that the saved one was built with, and load a "
            f"file that is whole. Received: {error}"
        ) from error


def optimizer_config(model: GrowableModel) -> dict[str, Any] | None:
    """The optimizer's classes, outermost first, and its number of variables;
    `None` before it is built."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or not optimizer.built:
        return None
    return {
        "classes": [type(part).__name__ for part in nested(optimizer)],
        "variables": len(optimizer.variables),
    }


def insist_on_slots(model: GrowableModel, saved: dict[str, Any]) -> None:
    """Makes the optimizer raise if a file lacks some of its slots.

    Keras would warn, and leave the optimizer as it is. This holds for a file
    that was saved with an optimizer like the model's.
    """
    if saved["optimizer"] is None:
        return
    if saved["optimizer"] != optimizer_config(model):
        return
    for part in nested(model.optimizer):
        replace_methods(part, load_own_variables=_load_all(part))


def _load_all(optimizer):
    def load(store):
        restore_methods(optimizer, "load_own_variables")
        found, wanted = len(store.keys()), len(optimizer.variables)
        if found != wanted:
            raise FileError(
                f"The file was saved with the state of the optimizer "
                f"{type(optimizer).__name__!r}, and lacks some of it: it is "
                f"not whole. Load another one. Received: {found} variables "
                f"of {wanted}"
            )
        optimizer.load_own_variables(store)

    return load


def _check(model, saved, extent):
    """Checks that the state is one of a model like this."""
    own = model.growth_config
    _check_sizes(saved["config"], own)
    if set(saved["training_options"]) != set(model.training_options):
        raise FileError(
            f"The file is of a network with the training options "
            f"{sorted(saved['training_options'])}, and this one has "
            f"{sorted(model.training_options)}. Load it into a model that is "
            "built as the saved one was."
        )
    if saved["gates"] and gates_of(model.network) is None:
        raise FileError(
            "The file has gates, and this network cannot have any. Load it "
            "into a model that is built as the saved one was. Received: "
            f"{saved['gates']}"
        )
    shapes = saved["variables"]
    for masks in _masks(saved):
        check_masks(masks, shapes)
    wanted = [saved["config"]]
    if saved["teacher"] is not None:
        _check_sizes(saved["teacher"]["sizes"], own)
        wanted.append(saved["teacher"]["sizes"])
    stacks = model.architecture.spec.stacks.values()
    for config in wanted:
        if config != own:
            extent().check(config, {base(stack.field) for stack in stacks})


def _check_sizes(config, own):
    same = set(config) == set(own)
    if not same or not all(same_form(config[f], own[f]) for f in own):
        raise FileError(
            "The file is of a network with other fields than this one. Load "
            "it into a model that is built as the saved one was. Received: "
            f"{config}; fields of this one: {own}"
        )


def _masks(saved):
    yield saved["frozen"]
    for scale in saved["update_scales"]:
        yield scale["known"]
        yield scale["olds"]


def _resize(model, saved, extent):
    """Gives the model a network of the saved sizes, with the saved frozen
    entries and gates."""
    old = model.architecture
    same = (
        saved["config"] == model.growth_config
        and saved["training_options"] == model.training_options
        and saved["frozen"] == to_config(old.frozen)
        and saved["gates"] == _gates_config(old.network)
        and frozen_already(old.network, old.frozen, saved["untrainable"])
    )
    if same:
        return
    backend.sync(model)
    with own_scopes(), backend.scope(model), private_random(0):
        network = _build(old, saved, extent, saved["training_options"])
        target = Architecture(old.axes, network)
        _check_shapes(target.spec, saved)
        frozen = _with_names(saved["frozen"], _renaming(target.spec, saved))
        target.frozen = from_config(frozen, target.spec)
        set_untrainable(
            network, saved["untrainable"], old.network, target.frozen
        )
        model._install(target)
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and optimizer.built:
            names = NameMap(
                old.spec,
                target.spec,
                variable_paths(network),
                variable_paths(old.network),
                FrozenEntries({}, [*old.network.weights, *network.weights]),
            )
            rebuild_fresh(optimizer, model.trainable_variables, names)
        guard(model)
    model._refresh_functions()


def _build(architecture, saved, extent, options=()):
    """A network of saved sizes and gates, with initial values."""
    options, gates = dict(options), gates_of(architecture.network)
    if gates is not None:
        # The present gates need not fit; the saved ones are set below.
        options["gates"] = []
    network, _ = architecture.build(saved.get("config"), options)
    # The file holds the weights; random states are in the growth state.
    extent().check_network([v.shape for v in network.weights])
    initialize(network.variables)
    new_gates = gates_of(network)
    if new_gates is not None:
        new_gates.set_active_gates(saved["gates"])
    backend.register_parameters(network)
    return network


def _shapes(spec):
    return {path: list(v.shape) for path, v in spec.variables.items()}


def _check_shapes(spec, saved):
    """Checks that a network has variables of the saved shapes, in order. Paths
    may differ, where Keras made names up."""
    own, theirs = list(_shapes(spec).values()), [*saved["variables"].values()]
    if own != theirs:
        raise FileError(
            f"A network of the sizes {saved['config']} has other variables "
            "than the file: it was changed, or is of another network. Load "
            "it into a model that is built as the saved one was. Received: "
            f"the shapes {theirs}; those of this network: {own}"
        )


def _renaming(spec, saved):
    return dict(zip(saved["variables"], spec.variables, strict=True))


def _with_names(
    config: dict[str, Any], names: dict[str, str]
) -> dict[str, Any]:
    """Masks or factors, keyed by the paths in this process."""
    return {names[path]: value for path, value in config.items()}


def _scales_with_names(
    config: list[dict[str, Any]], names: dict[str, str]
) -> list[dict[str, Any]]:
    """Update scales, their masks keyed by the paths in this process."""
    masks = ("known", "olds")
    return [
        {**scale, **{m: _with_names(scale[m], names) for m in masks}}
        for scale in config
    ]


def _seeds(model, saved):
    """Saved random states, keyed by the names in this process."""
    own, theirs = list(seed_states(model.network)), saved["seeds"]
    if set(own) == set(theirs):
        return theirs
    if len(own) != len(theirs):
        raise FileError(
            f"The file has {len(theirs)} random states, and the network "
            f"{len(own)}: it was changed, or is of another network. Received: "
            f"{sorted(theirs)}; those of this network: {own}"
        )
    return dict(zip(own, theirs.values(), strict=True))


def _gates_config(network):
    gates = gates_of(network)
    return [] if gates is None else gates.get_config()["active_gates"]


def _teacher_config(model):
    teacher = model.inheritance
    if teacher is None:
        return None
    return {**teacher.to_config(), "gates": _gates_config(teacher.teacher)}


def _find_teacher(model, config, extent):
    """Makes the saved teacher, or removes the present one."""
    if config is None:
        if model.teacher is not None:
            model.remove_teacher()
        return
    backend.sync(model)
    architecture = model.architecture
    with own_scopes(), backend.scope(model), private_random(0):
        saved = {"config": config["sizes"], "gates": config["gates"]}
        network = _build(architecture, saved, extent)
        teacher = Architecture(architecture.axes, network)
        model.set_teacher(Inheritance(teacher, **config["settings"]))
    model._refresh_functions()


def _build_optimizer(model, saved):
    """Builds the optimizer if the file has slots for it."""
    optimizer = getattr(model, "optimizer", None)
    if optimizer is None or optimizer.built or saved["optimizer"] is None:
        return
    with backend.scope(model):
        optimizer.build(model.trainable_variables)
