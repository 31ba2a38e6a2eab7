"""What a growable model's file holds beside the weights.

Sizes, gates, treatments, what rests and what goes at another pace, random
states, the teacher, receipts, and what callbacks want to find again: plain
data, written as JSON into one array of bytes. A model that reads it first
becomes what was saved, and then takes the weights.
"""

import json

import numpy as np

from kgrow import backend
from kgrow.architecture import Architecture, variable_paths
from kgrow.deferred import initialize
from kgrow.freezing import (
    from_config,
    load_paces,
    paces_to_config,
    set_trainable,
    to_config,
)
from kgrow.gating import gates_of
from kgrow.inheritance import Inheritance
from kgrow.optimizer_build import Namesakes, Resting, rebuild_fresh
from kgrow.optimizer_guard import guard
from kgrow.private_random import private_random
from kgrow.seeds import seed_states, set_seed_states


def pack(state):
    """The state as an array of bytes.

    Example:

    >>> unpack(pack({"config": {"hidden_dim": 8}}))
    {'config': {'hidden_dim': 8}}
    """
    return np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)


def unpack(array):
    """The state that `pack()` wrote."""
    return json.loads(bytes(np.asarray(array)))


def state_of(model):
    """What a file says of a `GrowableModel`, as data that JSON can hold."""
    architecture = model.architecture
    teacher = model.inheritance
    return {
        "config": model.growth_config,
        "frozen": to_config(architecture.frozen),
        "paces": paces_to_config(architecture.paces),
        "gates": _gates_config(model),
        "treatments": model.treatments,
        "seeds": seed_states(model.network),
        "history": [r.to_dict() for r in model.growth_history],
        "teacher": teacher and teacher.to_config(),
        "callbacks": model.callback_state,
    }


def become(model, saved):
    """Makes a model what `state_of()` said of another; its weights, counters
    and optimizer slots come next.

    Args:
        model: `GrowableModel`.
        saved: dict.
    """
    _resize(
        model,
        saved["config"],
        saved.get("frozen", {}),
        saved.get("treatments", {}),
    )
    load_paces(model, saved.get("paces", []))
    _set_gates(model, saved.get("gates", []))
    set_seed_states(model.network, saved.get("seeds", {}))
    _find_teacher(model, saved.get("teacher"))


def _resize(model, config, frozen, treatments):
    """Becomes a network of the saved sizes, of which the saved entries rest."""
    old = model.architecture
    treatments = {**model.treatments, **treatments}
    same = treatments == model.treatments
    same = same and frozen == to_config(old.frozen)
    if same and config == model.growth_config:
        return
    options = dict(treatments)
    if gates_of(old.network) is not None:
        # Those that there are need not fit; the saved ones follow.
        options["gates"] = []
    backend.sync(model)
    with backend.scope(model), private_random(0):
        network, _ = old.build(config, options)
        initialize(network.variables)
        backend.adopt(network)
        model.install(Architecture(old.axes, network))
        target = model.architecture
        target.frozen = from_config(frozen, target.spec)
        set_trainable(network, target.frozen)
        optimizer = getattr(model, "optimizer", None)
        if optimizer is not None and optimizer.built:
            names = Namesakes(
                old.spec,
                target.spec,
                variable_paths(network),
                variable_paths(old.network),
                Resting({}, [*old.network.weights, *network.weights]),
            )
            rebuild_fresh(optimizer, model.trainable_variables, names)
        guard(model)
    model.refresh_functions()


def _gates_config(model):
    gates = gates_of(model.network)
    return [] if gates is None else gates.get_config()["openings"]


def _set_gates(model, config):
    if config == _gates_config(model):
        return
    backend.sync(model)
    with backend.scope(model):
        gates_of(model.network).set_openings(config)
        backend.adopt(model.network)
    model.refresh_functions()


def _find_teacher(model, config):
    """Gets a teacher as the saved one."""
    if config is None:
        if model.teacher is not None:
            model.dismiss_teacher()
        return
    architecture = model.architecture
    with backend.scope(model), private_random(0):
        network, _ = architecture.build(config["sizes"])
        initialize(network.variables)
        backend.adopt(network)
        teacher = Architecture(architecture.axes, network)
        model.be_taught(Inheritance(teacher, **config["settings"]))
    model.refresh_functions()
