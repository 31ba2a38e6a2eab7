"""Do all stages of a schedule fit the devices: their layout, their memory?

A layout map divides axes of variables among the devices of a mesh. Every size
that the model grows to must be a multiple of the number of parts, and every
stage must fit into a device's memory. Both can be checked before training,
without a device and without a weight.
"""

from dataclasses import dataclass

import keras
import numpy as np

from kgrow import backend
from kgrow.algebra.errors import GrowthError
from kgrow.backend.lazy_variables import without_values
from kgrow.backend.random import private_random
from kgrow.growth.device_layout import (
    check_network,
    nearest_multiples,
    slot_bytes,
    variable_bytes,
)
from kgrow.growth.gates import gates_of
from kgrow.growth.growable_model import GrowableModel

# While an operator is learned, each of its numbers is held four times: the
# number, its gradient and Adam's two moments.
_OPERATOR_COPIES = 4


@dataclass(frozen=True)
class StageMemory:
    """Bytes on each device in one stage.

    Args:
        stage: int, from 1.
        weights: int, the network's variables.
        gradients: int, those of the trainable variables.
        slots: int, the optimizer's variables.
        growing: int, the peak of the growth into the stage: the old and the
            new state side by side, or learning the operator if that takes
            more; 0 in the first stage.
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


def check_layout(model, schedule, distribution=None):
    """Makes sure that the devices can hold every stage of a schedule.

    `kgrow.fit` and the `Growth` callback call it before the first batch.

    Args:
        model: `GrowableModel` of the first stage's size; or a function
            without arguments that makes one, which is called so that its
            weights take no memory.
        schedule: `GrowthSchedule`.
        distribution: `keras.distribution.Distribution`; by default the active
            one. Without any there is nothing to check.

    Raises:
        GrowthError: the mesh does not divide a variable's axis, or a batch;
            the message has the variable, the mesh axis and the nearest sizes
            that it divides.

    Example:

    >>> import keras, kgrow
    >>> from kgrow.schedules import GrowthSchedule, Stage
    >>> mesh = keras.distribution.DeviceMesh((1, 4), ["batch", "model"],
    ...     [f"cpu:{i}" for i in range(4)])
    >>> layout = keras.distribution.LayoutMap(mesh)
    >>> layout[".*feedforward_intermediate_dense/kernel"] = (None, "model")
    >>> check_layout(lambda: kgrow.models.GPT2(vocabulary_size=16,
    ...         num_layers=1, num_heads=2, hidden_dim=8, intermediate_dim=16,
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
                f"batch_size={nearest_multiples(batch, parts)}."
            )


def memory_forecast(model, schedule, distribution=None, optimizer=None):
    """Bytes on each device, stage by stage.

    Counts weights, gradients and the optimizer's slots under the layout, in
    the variables' own dtypes. Not counted are activations, which depend on
    the network and the compiler, and the maps and index tables of a growth,
    as long as a dimension, which lie on every device.

    Args:
        model: see `check_layout()`.
        schedule: `GrowthSchedule`.
        distribution: see `check_layout()`; without one everything is on one
            device.
        optimizer: `keras.optimizers.Optimizer`; by default the one that the
            model is compiled with, if it is. A function that makes a model
            cannot compile it.

    Returns:
        list of `StageMemory`, one for each stage, from the first.
    """
    distribution = distribution or keras.distribution.distribution()
    found, before = [], None
    for stage, made, network, spec in _stages(model, schedule):
        weights = variable_bytes(network.weights, distribution)
        trainable = network.trainable_variables
        gradients = variable_bytes(trainable, distribution)
        slots = slot_bytes(
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
                # A step of learning holds the small weights twice, the large
                # ones made of them with their gradient, and the operator.
                learning = sum(held) + held[0] + 2 * weights + operator
                growing = max(growing, learning)
        found.append(StageMemory(stage + 1, weights, gradients, slots, growing))
        before = (weights, slots), spec
    return found


def _stages(model, schedule):
    """Yields `(stage, model, network, spec)` of each stage; from the second
    on, the network has no values."""
    if not isinstance(model, GrowableModel):
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
        # A resumed run may already be at a later stage than the first.
        config = {**source.config, **schedule.sizes[index]}
        if config != source.config:
            try:
                with backend.scope(model), private_random(0):
                    # The present gates need not fit another size.
                    options = {"gates": []} if gates_of(network) else {}
                    options.update(training_options)
                    network, spec = source.build(config, options)
            except GrowthError as error:
                raise GrowthError(f"Stage {index + 1}: {error}") from error
        yield index, model, network, spec


def _operator_bytes(strategy, source, target):
    """Bytes of an operator while it is learned; every device has all of it."""
    operator = getattr(strategy, "operator", None)
    if operator is None:
        return 0
    parameters, _ = operator(source, target, 0, "float32")
    size = sum(np.asarray(p).nbytes for p in parameters.values())
    return _OPERATOR_COPIES * size
