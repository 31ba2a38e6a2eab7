"""Which backend Keras runs on, decided before Keras is imported."""

import enum
import importlib.util
import json
import os
import pathlib
import sys

import typer


class Backend(enum.StrEnum):
    """The choices of `--backend`."""

    JAX = "jax"
    TENSORFLOW = "tensorflow"
    TORCH = "torch"


def choose(backend=None):
    """Settles the backend: `--backend`, or what Keras itself would take.

    Args:
        backend: optional `Backend`.

    Raises:
        typer.BadParameter: Keras runs on another one in this process.
        ImportError: the backend is not installed.
    """
    _silence()
    keras = sys.modules.get("keras")
    if backend is None:
        if keras is None:
            _settle()
        return
    if keras is not None and keras.backend.backend() != backend:
        raise typer.BadParameter(
            f"Keras runs on {keras.backend.backend()} in this process already. "
            f"Received: --backend {backend}"
        )
    _find(str(backend))
    os.environ["KERAS_BACKEND"] = str(backend)


def _settle():
    """Where nothing is said, the backend that Keras would take, or else one
    that is installed."""
    said = os.environ.get("KERAS_BACKEND")
    if said is not None:
        _find(said)
        return
    wanted = _of_keras()
    if wanted in list(Backend) and not importlib.util.find_spec(wanted):
        found = [b for b in Backend if importlib.util.find_spec(str(b))]
        if not found:
            raise ImportError(
                "Keras needs a backend, and none is installed. Install one: "
                "pip install jax, pip install tensorflow, or pip install "
                "torch."
            )
        os.environ["KERAS_BACKEND"] = str(found[0])


def _of_keras():
    """The backend in Keras' own configuration; TensorFlow by default."""
    home = os.environ.get("KERAS_HOME", os.path.expanduser("~/.keras"))
    try:
        config = json.loads(pathlib.Path(home, "keras.json").read_text())
        return config.get("backend", Backend.TENSORFLOW)
    except (OSError, ValueError, AttributeError):
        return Backend.TENSORFLOW


def _silence():
    """Keeps TensorFlow's log lines, which say nothing of the command, from
    the terminal; `TF_CPP_MIN_LOG_LEVEL` brings them back.

    Those of its libraries are written before it reads its settings, by the
    process itself, so that they have to be kept from its standard error.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")


def _find(backend):
    if backend in list(Backend) and not importlib.util.find_spec(backend):
        raise ImportError(
            f"the Keras backend {backend!r} is not installed. Install it with "
            f"pip install {backend}, or choose another one: "
            "--backend jax, tensorflow or torch."
        )
