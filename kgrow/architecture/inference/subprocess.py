"""Deriving in a process of its own, where Keras runs on JAX.

The computation is traced with JAX. Keras has one backend in a process, so
under another one a second process builds the network, on shapes alone, and
sends back what it found.
"""

import json
import os
import subprocess
import sys

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.architecture.inference.main_source import definition, module_of
from kgrow.architecture.recipes import load_recipe

_TIMEOUT = 600


def derive_remotely(recipe, inputs=None):
    """The config of the `AxisMap`; see `analyse()`.

    Raises:
        GrowthError: the network cannot be made in another process, or JAX is
            not installed.
    """
    source = _importable(recipe.source())
    request = {"recipe": source, "inputs": _packed(inputs)}
    environment = {
        **os.environ,
        "KERAS_BACKEND": "jax",
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
    }
    done = subprocess.run(
        [sys.executable, "-m", "kgrow.architecture.inference.subprocess"],
        input=json.dumps(request),
        env=environment,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT,
        check=False,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise GrowthError(
            "What can grow is read off a trace of the network, made with JAX "
            "in a process of its own, and that failed: "
            f"{reason}\nInstall JAX if it is missing, or pass "
            "`axes=kgrow.AxisMap(...)`."
        )
    return json.loads(lines[-1])


def serve():
    """Answers one request from standard input on standard output."""
    from kgrow.architecture.inference.analysis import analyse

    request = json.loads(sys.stdin.read())
    source = request["recipe"]
    text = source.pop("text", None)
    recipe = load_recipe(source, text and module_of(text))
    axes = analyse(recipe, _unpacked(request["inputs"]))
    print(json.dumps(axes.get_config()))


def _importable(source):
    """The source of a recipe, with the text of what no module has."""
    if "<" in source["name"]:
        raise GrowthError(
            "What can grow is read off in another process, which needs the "
            "network's class or function by its name. Define it at the top of "
            "a module or of a notebook's cell and not inside a function, run "
            "on the JAX backend, or pass `axes=kgrow.AxisMap(...)`. Received: "
            f"{source['name']!r} of {source['module']!r}"
        )
    if source["module"] != "__main__":
        return source
    name = source["name"].partition(".")[0]
    return {**source, "text": definition(name, vars(sys.modules["__main__"]))}


def _packed(inputs):
    if inputs is None:
        return None
    return keras.tree.map_structure(
        lambda t: {"shape": list(t.shape), "dtype": str(t.dtype)}, inputs
    )


def _unpacked(inputs):
    if inputs is None:
        return None
    if isinstance(inputs, dict) and set(inputs) == {"shape", "dtype"}:
        return keras.KerasTensor(tuple(inputs["shape"]), inputs["dtype"])
    if isinstance(inputs, dict):
        return {key: _unpacked(value) for key, value in inputs.items()}
    return [_unpacked(value) for value in inputs]


if __name__ == "__main__":
    serve()
