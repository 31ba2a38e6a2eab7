"""Reading an Orbax checkpoint onto the present devices.

Orbax restores arrays to the devices that they were saved from, unless it is
given other shardings. Keras passes those of the model's variables, if a
distribution is active. A growable model first takes the sizes in the
checkpoint, so that it has all variables, and then asks for each array with the
sharding of its variable: on another mesh, on fewer devices, or on one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras

from kgrow import backend
from kgrow.backend.keras_internals import file_utils, ocp, orbax_util
from kgrow.growth.saving.state_tree import (
    GROWTH,
    become_saved,
    everywhere,
    fill_saved,
    tree_of,
)

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

_PYTREE = "pytree"


def is_for(path: str | os.PathLike) -> bool:
    """Whether a path is an Orbax checkpoint, read by JAX."""
    if keras.backend.backend() != "jax":
        return False
    return orbax_util.is_orbax_checkpoint(path)


def load(model: GrowableModel, folder: str | os.PathLike) -> None:
    """Gives a model the sizes and state of an Orbax checkpoint.

    To be called inside `all_or_nothing()`.

    Args:
        model: `GrowableModel`.
        folder: path that `keras.callbacks.OrbaxCheckpoint` writes to, of which
            the last checkpoint is read, or one checkpoint in it.

    Raises:
        FileError: it is the state of another kind of model, or incomplete.
    """
    ocp.initialize()
    path, anywhere = _checkpoint(str(folder)), everywhere()
    form = ocp.checkpointables_metadata(path).metadata[_PYTREE]
    form = _mapped(lambda _, leaf: _at(leaf, anywhere), form)
    # First the growth state alone, which says what variables there will be.
    alone = _mapped(lambda at, leaf: leaf if at == GROWTH else ..., form)
    growth = _found(_read(path, alone), GROWTH)
    form = _mapped(lambda at, leaf: growth if at == GROWTH else leaf, form)
    saved = become_saved(model, form)
    own = tree_of(model)
    wanted = _mapped(
        lambda at, leaf: ... if at == GROWTH else _at(leaf, _found(own, at)),
        form,
    )
    fill_saved(model, saved, _read(path, wanted))


def _checkpoint(folder):
    """The last checkpoint in a folder, or the folder if it is a checkpoint."""
    names = file_utils.listdir(folder)
    if any(name.strip("/").isdigit() for name in names):
        return orbax_util.find_latest_orbax_checkpoint(folder)
    return folder


def _read(path, tree):
    return ocp.load_checkpointables(path, {_PYTREE: tree})[_PYTREE]


def _mapped(
    function: Callable[..., Any], tree: Any, at: tuple[str, ...] = ()
) -> Any:
    """A tree of `function(path, leaf)`."""
    if not isinstance(tree, dict):
        return function(at, tree)
    return {k: _mapped(function, v, (*at, k)) for k, v in tree.items()}


def _found(tree, path):
    """The leaf at a path, or `None`."""
    for name in path:
        if not isinstance(tree, dict):
            return None
        tree = tree.get(name)
    return tree


def _at(leaf, like):
    """The leaf that asks Orbax for an array with the sharding of another.
    Python numbers, which other backends save, have none."""
    if like is None or not hasattr(leaf, "shape"):
        return leaf
    return backend.pieces.wanted(leaf, like)
