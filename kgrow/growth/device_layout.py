"""How a layout divides a network's variables among devices.

A layout map divides axes of variables along the axes of a mesh. A size must be
a multiple of the number of parts, which can be checked for a network whose
variables have no values, and so can the bytes on each device.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, TypeAlias, cast

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import ModelSpec
from kgrow.architecture.architecture import relative_path
from kgrow.backend.keras_internals import replace_methods
from kgrow.growth.optimizer.slots import (
    find_slots,
    nested,
    slots_without_values,
)

Distribution: TypeAlias = (
    keras.distribution.DataParallel | keras.distribution.ModelParallel
)


def check_network(
    network: keras.Model,
    spec: ModelSpec,
    distribution: Distribution | None = None,
) -> None:
    """Makes sure that a mesh divides all variables of a network.

    The variables need no values.

    Args:
        network: `keras.Model`.
        spec: its `ModelSpec`.
        distribution: `keras.distribution.Distribution`; by default the active
            one. Without any there is nothing to check.

    Raises:
        GrowthError: the mesh does not divide an axis; the message has the
            variable, the mesh axis and the nearest sizes that it divides.
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


def nearest_multiples(size: int, step: int) -> str:
    """The multiples of a number next to a size, as text for an error.

    Example:

    >>> nearest_multiples(22, 4), nearest_multiples(3, 4)
    ('20 or 24', '4')
    """
    return _or(_nearest(size, step))


def variable_bytes(
    variables: Iterable[keras.Variable],
    distribution: Distribution | None,
) -> int:
    """Bytes that variables take on each device."""
    return sum(
        _piece(v.shape, v.dtype, _parts(v, distribution)) for v in variables
    )


def slot_bytes(
    optimizer: keras.optimizers.Optimizer | None,
    variables: Iterable[keras.Variable],
    distribution: Distribution | None,
) -> int:
    """Bytes that an optimizer's slots for some variables take on each device.

    Args:
        optimizer: `keras.optimizers.Optimizer`, left as it is, or `None`.
        variables: the trainable variables, with values or without.
        distribution: `keras.distribution.Distribution`, or `None`.
    """
    if optimizer is None:
        return 0
    twin = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    for part in nested(twin):
        # TensorFlow tells variables apart by their values, and these have
        # none.
        replace_methods(part, _var_key=id)
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
                # kgrow lays a slot out as its variable; one of another shape
                # lies on every device.
                alike = tuple(slot.shape) == tuple(variable.shape)
                parts = _parts(variable, distribution) if alike else []
                total += _piece(slot.shape, slot.dtype, parts)
    return total


def _parts(
    variable: keras.Variable,
    distribution: Distribution | None,
) -> list[tuple[str | None, int]]:
    """`[(mesh axis, number of parts), ...]` of a variable's axes."""
    if distribution is None:
        return []
    # A `TensorLayout`, or a sharding of the backend's own.
    layout = cast(Any, distribution.get_variable_layout(variable))
    if layout is None:
        return []
    axes = getattr(layout, "axes", None)
    if axes is None:
        axes, sizes = layout.spec, layout.mesh.shape
    else:
        mesh = layout.device_mesh
        sizes = dict(zip(mesh.axis_names, mesh.shape, strict=True))
    return [(n, 1 if n is None else sizes[n]) for n in axes]


def _remedy(spec, path, axis, shape, count):
    """The nearest sizes with which the mesh divides an axis."""
    variable = spec.variables.get(path)
    dims = tuple(variable.axes)[axis].dims if variable is not None else ()
    found = []
    for dim in dims:
        size = spec.sizes[dim]
        step = count // math.gcd(count, shape[axis] // size)
        nearest = _nearest(size, step)
        if spec.dims[dim].kind == "lookup":
            # A table can only be padded: with fewer rows, some tokens would
            # have none.
            nearest = nearest[-1:]
        found.append(f"{spec.dims[dim].field}={_or(nearest)}")
    return ", ".join(found) or f"a size of {_or(_nearest(shape[axis], count))}"


def _nearest(size, step):
    below = size // step * step
    return [n for n in (below, below + step) if n]


def _or(numbers):
    return " or ".join(map(str, numbers))


def _piece(shape, dtype, parts):
    """Bytes of one piece of an array."""
    size = math.prod(shape) * np.dtype(_numpy_name(dtype)).itemsize
    return size // math.prod(count for _, count in parts)


def _numpy_name(dtype):
    # NumPy has no bfloat16; float16 has the same size.
    return "float16" if dtype == "bfloat16" else dtype
