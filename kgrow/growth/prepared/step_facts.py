"""All that the program of a model's step depends on, except the batch.

A program that was compiled for one model runs for another if all of this is
equal, for then their traces are equal, operation by operation. State is an
argument and not a part of the program.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import keras

from kgrow import backend
from kgrow.architecture.architecture import relative_path
from kgrow.architecture.recipes import recipe_of
from kgrow.growth.gates import gates_of
from kgrow.growth.optimizer.slots import find_slots, nested

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel


def step_facts(model: GrowableModel) -> dict[str, Any]:
    """The properties of a model that its compiled step depends on.

    Args:
        model: compiled `GrowableModel`, with or without values; its
            optimizer is built.

    Returns:
        dict from the name of a property, as messages use it, to plain data.
    """
    return {
        "the network": _network(model.network),
        "its gates": _gates(model.network),
        "the variables that train": _variables(model),
        "the optimizer": _optimizer(model),
        "frozen or slowed entries": _entries(model.architecture),
        "the loss or the metrics": _compiled(model),
        "the teacher": model.teacher and id(model.teacher),
        "how steps are compiled": [model.run_eagerly, model.jit_compile],
    }


def surroundings() -> dict[str, Any]:
    """Settings of the thread that traces a step, on which the step depends
    beside its model; a dict like `step_facts()`."""
    return {
        "the distribution": id(keras.distribution.distribution()),
        "the settings of the backend": [
            keras.config.floatx(),
            backend.trace_settings(),
        ],
    }


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """The names of properties that differ or are in one dict only."""
    names = [*one, *(name for name in other if name not in one)]
    return [name for name in names if one.get(name) != other.get(name)]


def _network(network):
    recipe = recipe_of(network)
    config = network.get_config() if recipe is None else recipe.config
    config = {k: v for k, v in config.items() if k != "name"}
    return [type(network).__name__, _plain(config), str(network.dtype_policy)]


def _gates(network):
    gates = gates_of(network)
    return gates and [_plain(g.get_config()) for g in gates.active_gates]


def _variables(model):
    """Shapes and dtypes in the order of the state, weights by their paths."""
    network = model.network
    paths = {id(w): relative_path(network, w) for w in network.weights}
    groups = (
        model.trainable_variables,
        model.non_trainable_variables,
        model.metrics_variables,
    )
    found = [
        [(paths.get(id(v)), tuple(v.shape), v.dtype) for v in group]
        for group in groups
    ]
    layers = [layer.trainable for layer in network._flatten_layers()]
    return [*found, layers]


def _optimizer(model):
    optimizer = model.optimizer
    places = {id(v): i for i, v in enumerate(model.trainable_variables)}
    order = {id(v): i for i, v in enumerate(optimizer.variables)}
    found: list[list[Any]] = [
        [(tuple(v.shape), v.dtype) for v in optimizer.variables]
    ]
    for part in nested(optimizer):
        slots = {
            name: [s if s is None else order.get(id(s)) for s in slot]
            for name, slot in find_slots(part).items()
        }
        variables = part._trainable_variables
        found.append(
            [
                type(part).__name__,
                _settings(part),
                [places.get(id(v)) for v in variables],
                [bool(part._use_weight_decay(v)) for v in variables],
                slots,
            ]
        )
    return found


def _settings(optimizer):
    """An optimizer's config, without those that it wraps. A rate that is a
    variable is part of the state."""
    config = dict(optimizer.get_config())
    del config["name"]
    rate = getattr(optimizer, "_learning_rate", None)
    if rate is None or isinstance(rate, keras.Variable):
        config.pop("learning_rate", None)
    elif callable(rate) and not hasattr(rate, "get_config"):
        config["learning_rate"] = id(rate)
    inner = [k for k in config if "optimizer" in k]
    for name in inner:
        del config[name]
    return _plain(config)


def _entries(architecture):
    scales = [
        [
            scale.start,
            scale.new,
            scale.old,
            scale.steps,
            _masks(scale.known),
            _masks(scale.olds),
        ]
        for scale in architecture.update_scales
    ]
    return [
        _masks(architecture.frozen),
        scales,
        sorted(architecture.rate_factors.items()),
    ]


def _masks(masks):
    return {
        path: hashlib.sha256(mask.tobytes()).hexdigest()
        for path, mask in masks.items()
    }


def _compiled(model):
    """The arguments of `compile()`, but the optimizer: objects by what they
    are and by what they say of themselves."""
    config = dict(model._compile_config.config)
    del config["optimizer"]
    return keras.tree.flatten(keras.tree.map_structure(_argument, config))


def _argument(value):
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, keras.Metric):
        # Every model has metrics of its own.
        return f"{type(value).__name__} {_plain(value.get_config())}"
    if hasattr(value, "get_config"):
        return f"{id(value)} {_plain(value.get_config())}"
    return repr(id(value))


def _plain(config):
    """A config as text, objects by their classes."""
    config = keras.saving.serialize_keras_object(config)
    return json.dumps(
        config, sort_keys=True, default=lambda v: type(v).__name__
    )
