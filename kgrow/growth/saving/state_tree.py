"""A model as a tree of arrays, which `keras.callbacks.OrbaxCheckpoint` saves.

Keras names variables by paths that begin with generated names, and loading
skips those that it does not find. Here paths begin at the network, the growth
state is stored with them, and every variable must be there.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import FileError, GrowthError
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.types import Array
from kgrow.architecture.architecture import relative_path
from kgrow.growth.saving.growth_state import become, optimizer_config, state_of
from kgrow.growth.saving.size_limits import extent_of_tree
from kgrow.growth.saving.state_schema import pack, unpack

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_GROWTH = "growth"
_WEIGHTS = ("trainable_variables", "non_trainable_variables")
_OPTIMIZER, _METRICS = "optimizer_variables", "metrics_variables"
# The path of the growth state in a tree.
GROWTH = (_WEIGHTS[1], _GROWTH)


def tree_of(
    model: GrowableModel, value_format: str = "backend_tensor"
) -> dict[str, Any]:
    """The state of a model as nested dicts of arrays.

    Args:
        model: `GrowableModel`.
        value_format: `"backend_tensor"` or `"numpy_array"`.

    Returns:
        dict with the entries that `keras.Model.get_state_tree()` has. Among
        those of `non_trainable_variables` is `growth`, the growth state as a
        vector of bytes. Variables of the optimizer and of metrics are
        numbered, as in Keras' files.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> tree = tree_of(model)
    >>> list(tree["trainable_variables"]["network"])
    ['input_dense', 'layer_0', 'output_dense']
    """
    value = _READERS.get(value_format)
    if value is None:
        raise ValueError(
            f"`value_format` must be one of {tuple(_READERS)}. Received: "
            f"value_format={value_format!r}"
        )
    tree = {name: {} for name in _WEIGHTS}
    for path, variable in _variables(model).items():
        _put(tree[_WEIGHTS[not variable.trainable]], path, value(variable))
    tree[_WEIGHTS[1]][_GROWTH] = _laid_out(pack(state_of(model)))
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        tree[_OPTIMIZER] = _numbered(optimizer.variables, value)
    tree[_METRICS] = _numbered(model.metrics_variables, value)
    return tree


def load_tree(model: GrowableModel, tree: dict[str, Any]) -> None:
    """Gives a model the state that `tree_of()` returned of another.

    To be called inside `all_or_nothing()`. Metrics are loaded only if their
    number is the same: they are reset at the next epoch anyway.

    Args:
        model: `GrowableModel`.
        tree: nested dicts of arrays.

    Raises:
        FileError: it is the state of another kind of model, or incomplete.
    """
    fill_saved(model, become_saved(model, tree), tree)


def become_saved(model: GrowableModel, tree: dict[str, Any]) -> dict[str, Any]:
    """The first half of `load_tree()`: sizes and growth state, no values.

    Args:
        model: `GrowableModel`.
        tree: nested dicts of shapes, with `growth` itself.

    Returns:
        dict, the growth state.
    """
    tree = _checked(tree)
    saved = unpack(tree[_WEIGHTS[1]].pop(_GROWTH))
    become(model, saved, lambda: extent_of_tree(tree))
    return saved


def fill_saved(
    model: GrowableModel, saved: dict[str, Any], tree: dict[str, Any]
) -> None:
    """The second half of `load_tree()`: the values of all variables.

    Args:
        model: `GrowableModel`.
        saved: dict, returned by `become_saved()`.
        tree: nested dicts of arrays.
    """
    tree = _checked(tree)
    del tree[_WEIGHTS[1]][_GROWTH]
    given = {}
    for name in _WEIGHTS:
        given.update(_flat(tree[name]))
    _assign(_variables(model), given)
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None and _OPTIMIZER in tree:
        _load_optimizer(model, saved, tree[_OPTIMIZER])
    metrics = _by_number(model.metrics_variables)
    given = _flat(tree.get(_METRICS, {}))
    if set(metrics) == set(given):
        _assign(metrics, given)


def _load_optimizer(model, saved, given):
    own, given = _by_number(model.optimizer.variables), _flat(given)
    alike = saved["optimizer"] == optimizer_config(model)
    if set(own) != set(given) and not alike:
        warnings.warn(
            "The state of the optimizer is left as it is: it has "
            f"{len(own)} variables, and the one that was saved "
            f"{len(given)}.",
            stacklevel=2,
        )
        return
    _assign(own, given)


def _checked(tree):
    """A copy of a tree, once it has the entries that `tree_of()` makes."""
    known = (*_WEIGHTS, _OPTIMIZER, _METRICS)
    if not isinstance(tree, dict) or set(tree) - set(known):
        raise FileError(
            f"The state of a model has the entries {known}. Received: "
            f"{sorted(tree) if isinstance(tree, dict) else tree!r}"
        )
    for name, part in tree.items():
        if not isinstance(part, dict):
            raise FileError(
                f"`{name}` of the state of a model is a dict. Received: "
                f"{type(part).__name__}"
            )
    missing = [name for name in _WEIGHTS if name not in tree]
    if missing or _GROWTH not in tree[_WEIGHTS[1]]:
        raise FileError(
            "The state of a growable model has its growth state beside the "
            "weights. This one is not whole, or was saved from another kind "
            f"of model. Received: the entries {sorted(tree)}"
        )
    return {name: dict(part) for name, part in tree.items()}


def _variables(model):
    """`{path: variable}` of all variables but the optimizer's and metrics'."""
    network, teacher = model.network, model.teacher
    paths = {id(v): f"network/{_name(network, v)}" for v in network.variables}
    if teacher is not None:
        for variable in teacher.variables:
            paths[id(variable)] = f"teacher/{_name(teacher, variable)}"
    metrics = {id(v) for v in model.metrics_variables}
    found = {}
    for variable in model.variables:
        if id(variable) in metrics:
            continue
        path = paths.get(id(variable))
        if path is None:
            path = f"own/{variable.path.removeprefix(f'{model.name}/')}"
        if path in found:
            raise GrowthError(
                f"Two variables have the path {path!r}. Give the layers of "
                "the network names of their own."
            )
        found[path] = variable
    return found


def _name(network, variable):
    return relative_path(network, variable)


def _assign(variables, given):
    """Assigns values by path, after checking that all of them fit."""
    missing = sorted(set(variables) - set(given))
    unknown = sorted(set(given) - set(variables))
    if missing or unknown:
        raise FileError(
            "The saved state and the model have other variables. Load it into "
            "a model that is built as the saved one was. Received: missing "
            f"are {missing[:5]}, unknown {unknown[:5]}"
        )
    for path, value in given.items():
        shape = tuple(np.shape(value))
        if shape != tuple(variables[path].shape):
            raise FileError(
                f"The saved state of {path!r} has another shape. Load it into "
                "a model that is built as the saved one was. Received: "
                f"{shape}, wanted {tuple(variables[path].shape)}"
            )
    for path, variable in variables.items():
        variable.assign(given[path])


def _numbered(variables, value):
    return {name: value(v) for name, v in _by_number(variables).items()}


def _laid_out(array):
    """An array on every device, if a distribution is active: among such arrays
    Orbax cannot restore one that was saved from the host."""
    if keras.distribution.distribution() is None:
        return array
    return everywhere(array)


def everywhere(array: Array = 0) -> Array:
    """A tensor of an array, on every device of the active distribution."""
    tensor = ops.convert_to_tensor(array)
    distribution = keras.distribution.distribution()
    if distribution is None:
        return tensor
    axes = [None] * len(tensor.shape)
    layout = keras.distribution.TensorLayout(axes, distribution.device_mesh)
    return keras.distribution.distribute_tensor(tensor, layout)


def _by_number(variables):
    return {f"{i:04d}": v for i, v in enumerate(variables)}


def _put(tree, path, value):
    *folders, name = path.split("/")
    for folder in folders:
        tree = tree.setdefault(folder, {})
    tree[name] = value


def _flat(tree, above=""):
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found.update(_flat(value, f"{above}{name}/"))
        else:
            found[f"{above}{name}"] = value
    return found


_READERS = {
    "backend_tensor": lambda variable: variable.value,
    "numpy_array": backend.to_numpy,
}
