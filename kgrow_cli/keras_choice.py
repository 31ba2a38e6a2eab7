"""Which backend Keras runs on, decided before Keras is imported."""

import enum
import importlib.util
import os
import sys

import typer


class Backend(enum.StrEnum):
    """What `--backend` may be."""

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
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    keras = sys.modules.get("keras")
    if backend is None:
        if keras is None and "KERAS_BACKEND" in os.environ:
            _find(os.environ["KERAS_BACKEND"])
        return
    if keras is not None and keras.backend.backend() != backend:
        raise typer.BadParameter(
            f"Keras runs on {keras.backend.backend()} in this process already. "
            f"Received: --backend {backend}"
        )
    _find(str(backend))
    os.environ["KERAS_BACKEND"] = str(backend)


def _find(backend):
    if backend in list(Backend) and not importlib.util.find_spec(backend):
        raise ImportError(
            f"the Keras backend {backend!r} is not installed. Install it with "
            f"pip install 'kgrow[{backend}]', or choose another one: "
            "--backend jax, tensorflow or torch."
        )
