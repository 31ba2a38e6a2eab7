"""Saving to a file atomically: a failed save leaves the old file."""

from __future__ import annotations

import contextlib
import errno
import math
import os
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kgrow import backend
from kgrow.algebra.errors import FileError
from kgrow.backend.keras_internals import (
    ask_to_proceed_with_overwrite,
    dtype_size,
    file_utils,
)
from kgrow.growth.saving.growth_state import state_of
from kgrow.growth.saving.state_schema import pack

if TYPE_CHECKING:
    from kgrow.growth.growable_model import GrowableModel

# Bytes of HDF5's own tables, per array and per file.
_PER_ARRAY, _PER_FILE = 2**12, 2**16


@contextlib.contextmanager
def whole_file(
    model: GrowableModel, filepath: Any, overwrite: bool = True
) -> Iterator[Any]:
    """Context that yields a temporary path, and then replaces the file by it.

    Before any file is opened, the growth state is checked, and the free space
    on the disk. If saving fails, an existing file stays as it was. Folders,
    remote paths and open files get the same checks, and are yielded as they
    are.

    Args:
        model: `GrowableModel`.
        filepath: the path to save to.
        overwrite: bool, whether to replace an existing file without asking.

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
        # Left by a save that was interrupted; HDF5 may hold it open.
        _remove(unfinished)
        yield unfinished
        if os.path.exists(path):
            shutil.copymode(path, unfinished)
        flush(unfinished)
        os.replace(unfinished, path)
        undo.pop_all()
    flush(os.path.dirname(path))


def unfinished_path(path: str) -> str:
    """The temporary path to which a file is written first.

    Example:

    >>> unfinished_path("/data/last.weights.h5")
    '/data/.unfinished.last.weights.h5'
    """
    folder, name = os.path.split(path)
    return os.path.join(folder, f".unfinished.{name}")


def check_writable(model: GrowableModel, path: str) -> None:
    """Checks that a model can be saved, before any file is opened.

    Args:
        model: `GrowableModel`.
        path: the file.

    Raises:
        GrowthError: the state of the model cannot be written.
        FileError: the disk has no room. HDF5 may crash the process if a disk
            gets full.
    """
    _check_room(path, _bytes_to_write(model))


def _check_room(path, needed):
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        return  # Keras raises its own error.
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FileError(
            errno.ENOSPC,
            f"The file takes about {needed:,} bytes, and the disk has "
            f"{free:,} left. Make room, or save elsewhere. Received: "
            f"filepath={path!r}",
        )


def _bytes_to_write(model):
    """The most bytes that a file of the model can take."""
    backend.sync(model)
    state = pack(state_of(model))
    variables = [*model.variables]
    optimizer = getattr(model, "optimizer", None)
    if optimizer is not None:
        variables += optimizer.variables
    arrays = sum(_bytes(v) + _PER_ARRAY for v in variables)
    return arrays + len(state) + _PER_FILE


def flush(path: str) -> None:
    """Waits until a file, or the entries of a folder, are on the disk."""
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
