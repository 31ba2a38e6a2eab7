"""Saving to a file: the whole of it, or the file that was there before."""

import contextlib
import errno
import math
import os
import shutil

from kgrow import backend
from kgrow.algebra.errors import FileError
from kgrow.backend.keras_internals import (
    ask_to_proceed_with_overwrite,
    dtype_size,
    file_utils,
)
from kgrow.growth.saving.growth_state import state_of
from kgrow.growth.saving.state_schema import pack

# HDF5's own tables, for each array; and those of a file.
_PER_ARRAY, _PER_FILE = 2**12, 2**16


@contextlib.contextmanager
def whole_file(model, filepath, overwrite=True):
    """Context that gives a path to save to, and puts the file in its place.

    What the file will say of growth is packed, and the room on the disk is
    looked at, before any file is opened. If saving fails, the file that was
    there stays as it was. Folders, remote paths and open files are passed on
    as they are, checked in the same way.

    Args:
        model: `GrowableModel`.
        filepath: where Keras is to save to.
        overwrite: bool, whether not to ask before a file is replaced.

    Yields:
        the path, or `None` if the user was asked and wants to keep the file.

    Raises:
        GrowthError: the state of the model cannot be written.
        FileError: there is no room for the file.
    """
    needed = _bytes_to_write(model)
    if not _is_local_file(filepath):
        yield filepath
        return
    path = os.path.realpath(filepath)
    if os.path.exists(path) and not overwrite:
        if not ask_to_proceed_with_overwrite(str(filepath)):
            yield None
            return
    _check_room(path, needed)
    unfinished = unfinished_path(path)
    with contextlib.ExitStack() as undo:
        undo.callback(_remove, unfinished)
        # HDF5 may still hold one that was broken off.
        _remove(unfinished)
        yield unfinished
        if os.path.exists(path):
            shutil.copymode(path, unfinished)
        flush(unfinished)
        os.replace(unfinished, path)
        undo.pop_all()
    flush(os.path.dirname(path))


def unfinished_path(path):
    """Where a file is written before it is put in its place.

    Example:

    >>> unfinished_path("/data/last.weights.h5")
    '/data/.unfinished.last.weights.h5'
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f".unfinished.{name}")


def check_writable(model, path):
    """Raises where a model cannot be saved, before any file is opened.

    Args:
        model: `GrowableModel`.
        path: the file.

    Raises:
        GrowthError: the state of the model cannot be written.
        FileError: the disk has no room. HDF5 may crash the process on one
            that gets full.
    """
    _check_room(path, _bytes_to_write(model))


def _check_room(path, needed):
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return  # Keras says so in its own way.
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FileError(
            errno.ENOSPC,
            f"The file takes about {needed:,} bytes, and the disk has "
            f"{free:,} left. Make room, or save elsewhere. Received: "
            f"filepath={path!r}",
        )


def _bytes_to_write(model):
    """Bytes that a file of a model takes, at most."""
    backend.sync(model)
    state = pack(state_of(model))
    variables = [*model.variables]
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        variables += optimizer.variables
    arrays = sum(_bytes(v) + _PER_ARRAY for v in variables)
    return arrays + len(state) + _PER_FILE


def flush(path):
    """Waits until a file, or a folder's list of files, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _is_local_file(filepath):
    if not isinstance(filepath, (str, os.PathLike)):
        return False
    name = str(filepath)
    if name.startswith("hf://") or file_utils.is_remote_path(name):
        return False
    return name.endswith((".keras", ".h5")) and not os.path.isdir(name)


def _bytes(variable):
    return math.prod(variable.shape) * max(dtype_size(variable.dtype) // 8, 1)


def _remove(path):
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
