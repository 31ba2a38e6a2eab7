"""Reading an Orbax checkpoint onto the devices that there are.

Orbax puts arrays back on the devices that they were saved from, unless it is
told of other places. Keras tells it those of the variables that a model has,
if a distribution is active. A growable model first becomes what the checkpoint
says, so that it has all of them, and asks for each array where it is to lie:
on another mesh, on fewer devices, on one.
"""

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

_PYTREE = "pytree"


def is_for(path):
    """Whether a path is a checkpoint whose arrays may lie on any device."""
    if keras.backend.backend() != "jax":
        return False
    return orbax_util.is_orbax_checkpoint(path)


def load(model, folder):
    """Makes a model what an Orbax checkpoint has.

    To be called inside `all_or_nothing()`.

    Args:
        model: `GrowableModel`.
        folder: path that `keras.callbacks.OrbaxCheckpoint` writes to, of which
            the last checkpoint is read, or one checkpoint in it.

    Raises:
        FileError: it is the state of another kind of model, or lacks some of
            it.
    """
    ocp.initialize()
    path, anywhere = _checkpoint(str(folder)), everywhere()
    form = ocp.checkpointables_metadata(path).metadata[_PYTREE]
    form = _mapped(lambda _, leaf: _at(leaf, anywhere), form)
    # Its bytes alone, which say what there will be places for.
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
    """The last checkpoint of a folder, or the folder if it is one."""
    names = file_utils.listdir(folder)
    if any(name.strip("/").isdigit() for name in names):
        return orbax_util.find_latest_orbax_checkpoint(folder)
    return folder


def _read(path, tree):
    return ocp.load_checkpointables(path, {_PYTREE: tree})[_PYTREE]


def _mapped(function, tree, at=()):
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
    """What Orbax is asked for: an array that lies where another does. Numbers
    of Python, as other backends save them, lie nowhere."""
    if like is None or not hasattr(leaf, "shape"):
        return leaf
    return backend.pieces.wanted(leaf, like)
