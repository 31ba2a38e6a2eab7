"""A schedule and a layout: what divides, and what it weighs.

A layout map divides axes of variables among the devices of a mesh. Each size
that a model is to grow to has to be a multiple of that number, and each stage
has to fit into a device's memory. Both can be known before training, without
a device and without a weight.
"""

import math
from dataclasses import dataclass

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import relative_path
from kgrow.backend.keras_internals import replace_methods
from kgrow.backend.lazy_variables import without_values
from kgrow.backend.random import private_random
from kgrow.growth.gates import gates_of
from kgrow.growth.optimizer.slots import (
    find_slots,
    nested,
    slots_without_values,
)

# What an operator that is learned keeps of each of its numbers: the number,
# its gradient and Adam's two moments.
_OPERATOR_COPIES = 4


@dataclass(frozen=True)
class StageMemory:
    """Bytes on each device in one stage.

    Args:
        stage: int, from 1.
        weights: int, the network's variables.
        gradients: int, of those that train.
        slots: int, the optimizer's variables.
        growing: int, at the growth into the stage: what there was and what
            comes of it, side by side, or what learning the operator takes; 0
            in the first stage.
    """

    stage: int
    weights: int
    gradients: int
    slots: int
    growing: int

    @property
    def total(self):
        """The most that the stage needs at a time."""
        return max(self.weights + self.gradients + self.slots, self.growing)


def check(model, schedule, distribution=None):
    """Makes sure that every stage of a schedule can be laid out.

    `kgrow.fit` and the `Growth` callback do so before the first batch.

    Args:
        model: `GrowableModel` of the first stage's size; or a function
            without arguments that makes one, which is called so that its
            weights take no memory.
        schedule: `GrowthSchedule`.
        distribution: `keras.distribution.Distribution`; by default the active
            one. Without any there is nothing to check.

    Raises:
        GrowthError: a variable's axis does not divide along the mesh, or a
            batch does not divide; with the variable, the mesh axis and the
            nearest sizes that do.

    Example:

    >>> import keras, kgrow
    >>> from kgrow.schedules import GrowthSchedule, Stage
    >>> mesh = keras.distribution.DeviceMesh((1, 4), ["batch", "model"],
    ...     [f"cpu:{i}" for i in range(4)])
    >>> layout = keras.distribution.LayoutMap(mesh)
    >>> layout[".*feedforward_intermediate_dense/kernel"] = (None, "model")
    >>> check(lambda: kgrow.models.GPT2(vocabulary_size=16, num_layers=1,
    ...         num_heads=2, hidden_dim=8, intermediate_dim=16,
    ...         max_sequence_length=8),
    ...     GrowthSchedule([Stage(5, {"intermediate_dim": 16}),
    ...         Stage(9, {"intermediate_dim": 22})]),
    ...     keras.distribution.ModelParallel(layout_map=layout))
    Traceback (most recent call last):
    ...
    kgrow.algebra.errors.GrowthError: Stage 2: axis 1 of \
'transformer_layer_0/feedforward_intermediate_dense/kernel', shape (8, 22), is \
divided into 4 parts along the mesh axis 'model', and 22 is no multiple of \
4. The nearest that fit: intermediate_dim=20 or 24.
    """
    distribution = distribution or keras.distribution.distribution()
    if distribution is None:
        return
    for stage, _, network, spec in _stages(model, schedule):
        try:
            check_network(network, spec, distribution)
        except GrowthError as error:
            raise GrowthError(f"Stage {stage + 1}: {error}") from None
        batch = schedule.setting(stage, "batch_size")
        parts = distribution.num_model_replicas
        if batch is not None and batch % parts:
            raise GrowthError(
                f"Stage {stage + 1}: a batch is divided into {parts} parts "
                f"along the mesh axis {distribution.batch_dim_name!r}, and "
                f"{batch} is no multiple of {parts}. The nearest that fit: "
                f"batch_size={_or(_nearest(batch, parts))}."
            )


def check_network(network, spec, distribution=None):
    """Makes sure that a network can be laid out; its variables need no
    values.

    Args:
        network: `keras.Model`.
        spec: its `ModelSpec`.
        distribution: see `check()`.

    Raises:
        GrowthError: an axis does not divide.
    """
    distribution = distribution or keras.distribution.distribution()
    if distribution is None:
        return
    for variable in network.weights:
        path, shape = relative_path(network, variable), tuple(variable.shape)
        parts = _parts(variable, distribution)
        if len(parts) > len(shape):
            raise GrowthError(
                f"The layout of {path!r} names {len(parts)} axes, and its "
                f"shape is {shape}."
            )
        for axis, (name, count) in enumerate(parts):
            if shape[axis] % count:
                raise GrowthError(
                    f"axis {axis} of {path!r}, shape {shape}, is divided into "
                    f"{count} parts along the mesh axis {name!r}, and "
                    f"{shape[axis]} is no multiple of {count}. The nearest "
                    f"that fit: {_remedy(spec, path, axis, shape, count)}."
                )


def memory_forecast(model, schedule, distribution=None, optimizer=None):
    """Bytes on each device, stage by stage.

    Weights, gradients and the optimizer's slots, under the layout, in the
    variables' own dtypes. What
    activations take depends on the network and the compiler, and is not in
    it; nor are maps and index tables, as long as a dimension, that lie on
    every device.

    Args:
        model: see `check()`.
        schedule: `GrowthSchedule`.
        distribution: see `check()`; without one all is on one device.
        optimizer: `keras.optimizers.Optimizer`; by default the one that the
            model is compiled with, if it is. A function that makes a model
            cannot compile it.

    Returns:
        list of `StageMemory`, one for each stage, from the first.
    """
    distribution = distribution or keras.distribution.distribution()
    found, before = [], None
    for stage, made, network, spec in _stages(model, schedule):
        weights = _bytes(network.weights, distribution)
        trainable = network.trainable_variables
        gradients = _bytes(trainable, distribution)
        slots = _slot_bytes(
            optimizer or getattr(made, "optimizer", None),
            trainable,
            distribution,
        )
        growing = 0
        if before is not None and schedule.grows(stage):
            held, old_spec = before
            growing = sum(held) + weights + slots
            strategy = schedule.stages[stage].grown_by
            if strategy.needs_data:
                operator = _operator_bytes(strategy, old_spec, spec)
                # The small weights twice, what is made of them in each step
                # and its gradient, and the operator.
                learning = sum(held) + held[0] + 2 * weights + operator
                growing = max(growing, learning)
        found.append(StageMemory(stage + 1, weights, gradients, slots, growing))
        before = (weights, slots), spec
    return found


def _stages(model, schedule):
    """`(stage, model, network, spec)` of each stage, without values from the
    second on."""
    if not hasattr(model, "architecture"):
        if not callable(model):
            raise GrowthError(
                "`model` is a `kgrow.GrowableModel`, or a function that makes "
                f"one. Received: {model!r} (of type {type(model).__name__})"
            )
        with without_values():
            model = model()
    source, training_options = model.architecture, {}
    network, spec = source.network, source.spec
    for index, stage in enumerate(schedule.stages):
        training_options.update(stage.training_options or {})
        sizes = schedule.sizes[index]
        # A run that goes on may stand at a later stage than the first.
        config = {**source.config, **sizes}
        if config != source.config:
            try:
                with backend.scope(model), private_random(0):
                    # Those that there are need not fit another size.
                    options = {"gates": []} if gates_of(network) else {}
                    options.update(training_options)
                    network, spec = source.build(config, options)
            except GrowthError as error:
                raise GrowthError(f"Stage {index + 1}: {error}") from error
        yield index, model, network, spec


def _parts(variable, distribution):
    """`[(mesh axis, number of parts), ...]` of a variable's axes."""
    if distribution is None:
        return []
    layout = distribution.get_variable_layout(variable)
    if layout is None:
        return []
    axes = getattr(layout, "axes", None)
    if axes is None:
        # A sharding of the backend's own.
        axes, sizes = layout.spec, layout.mesh.shape
    else:
        mesh = layout.device_mesh
        sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    return [(n, 1 if n is None else sizes[n]) for n in axes]


def _remedy(spec, path, axis, shape, count):
    """The sizes near by with which an axis divides."""
    variable = spec.variables.get(path)
    dims = tuple(variable.axes)[axis].dims if variable is not None else ()
    found = []
    for dim in dims:
        size = spec.sizes[dim]
        step = count // math.gcd(count, shape[axis] // size)
        nearest = _nearest(size, step)
        if spec.dims[dim].kind == "lookup":
            # A table is padded: with fewer rows some tokens had none.
            nearest = nearest[-1:]
        found.append(f"{spec.dims[dim].field}={_or(nearest)}")
    return ", ".join(found) or f"a size of {_or(_nearest(shape[axis], count))}"


def _nearest(size, step):
    below = size // step * step
    return [n for n in (below, below + step) if n]


def _or(numbers):
    return " or ".join(map(str, numbers))


def _bytes(variables, distribution):
    return sum(
        _piece(v.shape, v.dtype, _parts(v, distribution)) for v in variables
    )


def _piece(shape, dtype, parts):
    """Bytes of one piece of an array."""
    size = math.prod(shape) * np.dtype(_numpy_name(dtype)).itemsize
    return size // math.prod(count for _, count in parts)


def _numpy_name(dtype):
    # Of two bytes, like it; numpy knows no other.
    return "float16" if dtype == "bfloat16" else dtype


def _slot_bytes(optimizer, variables, distribution):
    """Bytes of an optimizer's slots for some variables."""
    if optimizer is None:
        return 0
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for part in nested(twin):
        # TensorFlow tells variables apart by what they hold, and these hold
        # nothing.
        replace_methods(part, _var_key=id)
    # As kgrow's slots are: like their variable, or on every device.
    with slots_without_values(nested(twin)):
        twin.build(list(variables))
    total = 0
    for part in nested(twin):
        for slots in find_slots(part).values():
            for slot, variable in zip(
                slots, part._trainable_variables, strict=True
            ):
                if slot is None:
                    continue
                alike = tuple(slot.shape) == tuple(variable.shape)
                parts = _parts(variable, distribution) if alike else []
                total += _piece(slot.shape, slot.dtype, parts)
    return total


def _operator_bytes(strategy, source, target):
    """Bytes of an operator while it is learned; it is on every device."""
    operator = getattr(strategy, "operator", None)
    if operator is None:
        return 0
    parameters, _ = operator(source, target, 0, "float32")
    size = sum(np.asarray(p).nbytes for p in parameters.values())
    return _OPERATOR_COPIES * size
