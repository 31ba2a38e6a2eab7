"""Processes, devices, mesh and layout: what comes before everything else.

JAX settles which devices there are when it is first asked for one. Simulated
devices must be asked for, and the processes must have found each other, before
that; so `start()` is the first thing that a program calls.
"""

import math
import os

import keras

from common import layouts
from kgrow import backend
from kgrow.algebra.errors import GrowthError

_PROCESSES = "KERAS_DISTRIBUTION_NUM_PROCESSES"


def start(options):
    """Finds processes and devices, and sets precision and seeds.

    Args:
        options: flags.

    Raises:
        GrowthError: Keras does not run on JAX, or JAX has found its devices
            before.
    """
    if keras.backend.backend() != "jax":
        raise GrowthError(
            "The programs run on JAX: leave KERAS_BACKEND out, or set it to "
            f"'jax'. Received: KERAS_BACKEND={keras.backend.backend()!r}"
        )
    import jax

    if options.simulate_devices:
        _simulate(jax, options.simulate_devices)
    if options.multi_host or os.environ.get(_PROCESSES):
        if options.simulate_devices:
            jax.config.update("jax_cpu_collectives_implementation", "gloo")
        keras.distribution.initialize()
    if options.programs:
        backend.keep_programs(options.programs)
    # On TPUs it computes something else; see docs/tpu.md.
    keras.config.disable_flash_attention()
    keras.config.set_dtype_policy(options.precision)
    # The same on all hosts, which must draw the same initial weights.
    keras.utils.set_random_seed(options.seed)


def _simulate(jax, count):
    if jax.config.jax_num_cpu_devices == count:
        return
    try:
        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_num_cpu_devices", count)
    except RuntimeError as error:
        raise GrowthError(
            "Devices can be simulated before JAX is first asked for one. "
            f"Received: simulate_devices={count}, {error}"
        ) from error


def process():
    """`(number of this process, number of all)`."""
    import jax

    return jax.process_index(), jax.process_count()


def is_first():
    """Whether this process writes and prints."""
    return process()[0] == 0


def distribution(options, axes, devices=None):
    """The distribution that the flags describe.

    Args:
        options: flags.
        axes: `AxisMap` of the family, for `--layout model`.
        devices: optional list of devices, such as those of a slice that
            programs are compiled for; by default those that Keras finds.

    Returns:
        `keras.distribution.DataParallel` or `ModelParallel`, not set yet; or
        `None` for one device and no mesh.

    Raises:
        GrowthError: the mesh does not have as many devices as there are, or
            the layout does not go with it.
    """
    if devices is None:
        devices = keras.distribution.list_devices()
    shape = options.mesh or (len(devices), 1)
    if shape[0] * shape[1] != len(devices):
        raise GrowthError(
            f"The mesh has {shape[0] * shape[1]} devices, and there are "
            f"{len(devices)}. Received: mesh={shape[0]}x{shape[1]}"
        )
    if options.layout == "data":
        if shape[1] > 1:
            raise GrowthError(
                "With the layout 'data' all devices lie along the batch. Give "
                f"`--layout model`, or the mesh {len(devices)}x1. Received: "
                f"mesh={shape[0]}x{shape[1]}"
            )
        if len(devices) == 1:
            return None
        # Every host reads its own part of each batch.
        return keras.distribution.DataParallel(
            device_mesh=keras.distribution.DeviceMesh(
                (len(devices),), [layouts.BATCH], devices
            ),
            auto_shard_dataset=False,
        )
    mesh = keras.distribution.DeviceMesh(
        shape, [layouts.BATCH, layouts.MODEL], devices
    )
    rows = layouts.table(axes)
    if options.layout != "model":
        rows = layouts.read(options.layout)
    return keras.distribution.ModelParallel(
        layout_map=layouts.layout_map(mesh, rows),
        batch_dim_name=layouts.BATCH,
        auto_shard_dataset=False,
    )


def batch_parts(chosen):
    """Into how many parts a distribution cuts the batch."""
    if chosen is None:
        return 1
    mesh = chosen.device_mesh
    place = mesh.axis_names.index(chosen.batch_dim_name)
    return mesh.shape[place]


def data_shard(chosen):
    """Which part of every batch this process reads: `(number, of how many)`.

    Hosts that hold parts of the same copy of the model read the same rows.
    """
    number, count = process()
    copies = batch_parts(chosen)
    if chosen is None or count == 1 or copies == 1:
        return 0, 1
    if copies >= count:
        return number, count
    return chosen.data_shard_id, copies


def check_batch(batch_size, chosen):
    """Refuses a batch that devices and hosts cannot share out.

    Raises:
        GrowthError: with the sizes next to it that they can.
    """
    parts, readers = batch_parts(chosen), data_shard(chosen)[1]
    step = math.lcm(parts, readers)
    if batch_size is None or batch_size % step:
        low = (batch_size or 0) // step * step
        near = [n for n in (low, low + step) if n]
        raise GrowthError(
            f"A batch is cut into {parts} parts along the mesh and is read in "
            f"{readers} parts. Take {' or '.join(map(str, near))}. Received: "
            f"batch_size={batch_size}"
        )
