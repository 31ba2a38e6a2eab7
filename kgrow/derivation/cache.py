"""What was derived once is not derived again."""

import contextlib
import hashlib
import json
import os
import pathlib

import keras

_FORM = 1


def folder():
    """Where results are kept: `kgrow/` in Keras' own folder."""
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    return pathlib.Path(home) / "kgrow"


def key_of(request):
    """A name for what is asked, which another version of Keras, or of what
    the network comes from, changes.

    Example:

    >>> key_of({"module": "builtins"}) == key_of({"module": "builtins"})
    True
    """
    versions = [_FORM, keras.__version__]
    hub = request.get("module", "").split(".")[0]
    with contextlib.suppress(Exception):
        versions.append(importlib_version(hub))
    text = json.dumps([versions, request], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def importlib_version(package):
    from importlib.metadata import version

    return version(package)


def load(key):
    """What was kept under a key, or `None`."""
    try:
        return json.loads((folder() / f"{key}.json").read_text())
    except (OSError, ValueError):
        return None


def save(key, value):
    """Keeps a value that JSON can hold; where that is not possible, nothing
    is kept."""
    path = folder() / f"{key}.json"
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(value))
        part.replace(path)
