"""A folder that is there whole or not at all."""

import contextlib
import os
import pathlib
import shutil

from kgrow.algebra.errors import FileError


def check_new_folder(out):
    """Makes sure, before any long work, that a folder can be made.

    Returns:
        `pathlib.Path` of it, its parent without links.

    Raises:
        FileError: something is there already, a link included, or the folder
            it is to be in is not there.
    """
    out = pathlib.Path(out)
    if os.path.lexists(out):
        kind = "a link" if out.is_symlink() else "there already"
        raise FileError(
            f"{str(out)!r} is {kind}, and nothing is replaced. Choose another "
            "name, or remove it."
        )
    parent = out.absolute().parent
    if not parent.is_dir():
        raise FileError(f"there is no folder {str(parent)!r} to write to.")
    return parent.resolve() / out.name


@contextlib.contextmanager
def new_folder(out):
    """Context that gives an empty folder beside `out`, which takes that name
    at the end; on any error nothing is left.

    Example:

    >>> import tempfile
    >>> out = pathlib.Path(tempfile.mkdtemp()) / "new"
    >>> with new_folder(out) as folder:
    ...     _ = (folder / "a.txt").write_text("whole")
    >>> [p.name for p in out.parent.iterdir()], (out / "a.txt").read_text()
    (['new'], 'whole')
    """
    out = check_new_folder(out)
    beside = out.with_name(f".{out.name}.{os.getpid()}.part")
    beside.mkdir()
    try:
        yield beside
        for path in beside.iterdir():
            _sync(path)
        _sync(beside)
        check_new_folder(out)
        os.rename(beside, out)
        _sync(out.parent)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _sync(path):
    """Waits until a file or a folder is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
