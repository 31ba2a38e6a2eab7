"""Programs lowered and compiled on shapes, for devices that may be elsewhere.

Tried with JAX 0.10.2 and Keras 3.15.1. The devices may be those of a
`jax.experimental.topologies` description: the compiler of a TPU runs on a host
that has none.
"""

import contextlib
import functools
import time
from unittest import mock

import jax
import keras

from kgrow.backend.jax_sharded import place_of

# Of the compiler: as little as it can do, which halves its time.
_QUICK = {
    "jax_exec_time_optimization_effort": -1.0,
    "jax_memory_fitting_effort": -1.0,
}


def form(shape, dtype, place=None):
    """An array without values, as JAX would hold it.

    Args:
        shape: tuple of ints.
        dtype: string.
        place: optional `jax.sharding.Sharding`.
    """
    dtype = jax.dtypes.canonicalize_dtype(dtype)
    return jax.ShapeDtypeStruct(tuple(shape), dtype, sharding=place)


def on(device):
    """The sharding of what lies whole on one device."""
    return jax.sharding.SingleDeviceSharding(device)


def everywhere(mesh):
    """The sharding of what lies whole on every device of a Keras mesh."""
    mesh = mesh.backend_mesh
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def lower_step(model, kind, batch, distribution=None, device=None):
    """Lowers a step of a compiled and built model.

    Args:
        model: `keras.Model`, its variables with values or without.
        kind: `"train"` or `"test"`.
        batch: structure of `KerasTensor`s.
        distribution: the active `keras.distribution.Distribution`, or `None`.
        device: optional `jax.Device` to lower for where there is no
            distribution.

    Returns:
        `(jax.stages.Lowered, seconds, state)`.
    """
    devices, default = None, None
    if distribution is not None:
        devices = list(distribution.device_mesh.devices.flat)
        if isinstance(devices[0], str):
            # Keras' names of devices that this process has.
            devices = None
        default = everywhere(distribution.device_mesh)
    elif device is not None:
        devices, default = [device], on(device)

    def variable(v):
        return form(v.shape, v.dtype, place_of(v) or default)

    def tensor(t):
        if t is None:
            return None
        place = default
        if distribution is not None:
            place = distribution.get_data_layout(t.shape).backend_layout
        return form(t.shape, t.dtype, place)

    state = tuple(
        [variable(v) for v in variables] for variables in _state(model, kind)
    )
    # A bound method would be equal to that of any other step of the model.
    step = functools.partial(getattr(type(model), f"{kind}_step"), model)
    forms = keras.tree.map_structure(tensor, batch)
    lowered, seconds = lower(step, state, forms, devices)
    return lowered, seconds, state


def _state(model, kind):
    """The variables that a step takes over, as Keras orders them."""
    state = [model.trainable_variables, model.non_trainable_variables]
    if kind == "train":
        state.append(model.optimizer.variables)
    return [*state, model.metrics_variables]


def lower(step, state, batch, devices):
    """Traces and lowers a training step.

    Args:
        step: function `(state, batch)` that gives `(logs, state)`.
        state: structure of `form()`s, which the program takes over.
        batch: structure of `form()`s.
        devices: list of devices to lower for, or `None` for those that a
            program of this process runs on anyway.

    Returns:
        `(jax.stages.Lowered, seconds)`.
    """
    # As Keras asks for: the state stays where it lies.
    places = jax.tree.map(lambda leaf: leaf.sharding, state)
    is_placed = None not in jax.tree.leaves(places, is_leaf=_is_none)
    shardings = (None, places) if is_placed else None
    jitted = jax.jit(step, donate_argnums=0, out_shardings=shardings)
    start = time.perf_counter()
    with _as_if_on(devices):
        lowered = jitted.lower(state, batch)
    return lowered, time.perf_counter() - start


def _is_none(place):
    return place is None


@contextlib.contextmanager
def _as_if_on(devices):
    """Keras chooses how it computes by the devices that JAX finds."""
    if devices is None or devices[0].platform == jax.default_backend():
        yield
        return
    platform, find = devices[0].platform, jax.devices

    def found(backend=None):
        return list(devices) if backend in (None, platform) else find(backend)

    with (
        mock.patch.object(jax, "devices", found),
        mock.patch.object(jax, "default_backend", lambda: platform),
    ):
        yield


def compiled(lowered, quick=False):
    """Compiles what was lowered.

    Returns:
        `(jax.stages.Compiled, seconds)`.
    """
    before = {name: getattr(jax.config, name) for name in _QUICK}
    start = time.perf_counter()
    try:
        if quick:
            for name, value in _QUICK.items():
                jax.config.update(name, value)
        program = lowered.compile()
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
    return program, time.perf_counter() - start
