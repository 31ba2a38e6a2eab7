"""A cache on disk of the axes that were derived."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import pathlib
import sys

import keras


def folder():
    """Where results are kept: `kgrow/` in Keras' own folder."""
    home = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    return pathlib.Path(home) / "kgrow"


def key_of(request):
    """A name for what is asked. It changes with the version of Keras, with
    what the network's module says and the package that it is from, and with
    the derivation itself.

    Example:

    >>> key_of({"module": "builtins"}) == key_of({"module": "builtins"})
    True
    """
    module = request.get("module", "")
    versions = [keras.__version__, _own_digest(), _module_digest(module)]
    # A package's other modules change with its version.
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        versions.append(importlib.metadata.version(module.split(".")[0]))
    text = json.dumps([versions, request], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _own_digest():
    files = sorted(pathlib.Path(__file__).parent.rglob("*.py"))
    return _digest(files)


def _module_digest(name):
    file = getattr(sys.modules.get(name), "__file__", None)
    return _digest([] if file is None else [pathlib.Path(file)])


def _digest(files):
    digest = hashlib.sha256()
    for file in files:
        with contextlib.suppress(OSError):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def load(key):
    """The entry of a key, or `None`."""
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
