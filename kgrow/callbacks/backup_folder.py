"""The folder of a run's backups: its own files, and one process at a time."""

import contextlib
import os
import warnings

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.growth.saving.safe_write import check_writable, flush

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None

_LOCK = "lock"
# Locks of this process by their path. They end with it, however it ends.
_locks = {}


class BackupFolder:
    """Two backups, the newest last, and nothing of anybody else's.

    Args:
        path: string, the folder, or a link to one.

    Example:

    >>> import tempfile
    >>> folder = BackupFolder(tempfile.mkdtemp())
    >>> folder.present()
    []
    """

    def __init__(self, path):
        self.path = path
        self.latest = self._file("latest.weights.h5")
        self.previous = self._file("previous.weights.h5")
        self.unfinished = self._file("unfinished.weights.h5")

    def _file(self, name):
        return os.path.join(self.path, name)

    def present(self):
        """Paths of the backups that there are, the newest first."""
        paths = (self.latest, self.previous)
        return [path for path in paths if os.path.exists(path)]

    def write(self, save, keep_previous):
        """Writes a backup beside the last one, and puts it in its place.

        Args:
            save: function of a path.
            keep_previous: bool, whether the one before is kept.
        """
        save(self.unfinished)
        flush(self.unfinished)
        if keep_previous and os.path.exists(self.latest):
            os.replace(self.latest, self.previous)
        os.replace(self.unfinished, self.latest)
        flush(self.path)

    def delete(self):
        """Removes the backups, and the folder if nothing else is in it."""
        for path in (self.latest, self.previous, self.unfinished):
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
        self.unlock()
        # It is a link, or others have files in it.
        with contextlib.suppress(OSError):
            os.rmdir(self.path)

    def lock(self):
        """Makes sure that no other process uses the folder.

        Raises:
            GrowthError: one does.
        """
        os.makedirs(self.path, exist_ok=True)
        path = os.path.realpath(self._file(_LOCK))
        if fcntl is None or path in _locks:
            return
        handle = _locked(path)
        if handle is not None:
            _locks[path] = handle

    def unlock(self):
        """Lets other processes use the folder."""
        path = os.path.realpath(self._file(_LOCK))
        handle = _locks.pop(path, None)
        if handle is not None:
            with contextlib.suppress(FileNotFoundError):
                os.remove(path)
            os.close(handle)


def save_backup(model, path):
    """Saves weights to a file that is put in its place by others."""
    check_writable(model, path)
    keras.saving.save_weights(model, path, overwrite=True)


def _locked(path):
    """A handle that holds the lock, or `None` where there are no locks."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            owner = os.read(handle, 32).decode(errors="replace") or "unknown"
            os.close(handle)
            raise GrowthError(
                "Another process writes its backups to the same folder: wait "
                "for it, end it, or give this run a folder of its own. "
                f"Received: backup_dir={os.path.dirname(path)!r}, in use by "
                f"process {owner}"
            ) from error
        except OSError as error:
            os.close(handle)
            warnings.warn(
                "The file system of the backups has no locks, so two runs "
                f"with one folder would not be noticed: {error}. Received: "
                f"backup_dir={os.path.dirname(path)!r}",
                stacklevel=2,
            )
            return None
        # Whoever had it may have removed the file meanwhile.
        if os.path.exists(path) and os.path.samestat(
            os.fstat(handle), os.stat(path)
        ):
            os.truncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            return handle
        os.close(handle)
