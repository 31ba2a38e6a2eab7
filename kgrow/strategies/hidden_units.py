"""Hidden units: made by one kernel, read by another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kgrow.algebra.axes import PRODUCE
from kgrow.algebra.spec import ModelSpec, VariableSpec
from kgrow.algebra.types import Array


@dataclass(frozen=True)
class HiddenUnits:
    """The units along one dimension, between two kernels.

    Attributes:
        dim: string, name of the dimension.
        makes: tuple of paths, the kernel that makes the units in each block;
            one path if they lie in no block.
        reads: tuple of paths, the kernel that reads them; the same.
    """

    dim: str
    makes: tuple[str, ...]
    reads: tuple[str, ...]

    def rows(self, variable: VariableSpec, value: Array) -> np.ndarray:
        """A kernel as a matrix with one row per unit, a view if it can be.

        Args:
            variable: `VariableSpec` of one of the kernels.
            value: its value, or anything else of its shape.
        """
        first = np.moveaxis(value, _axis_of(variable, self.dim), 0)
        return first.reshape(len(first), -1)

    def kernel(self, variable: VariableSpec, rows: np.ndarray) -> np.ndarray:
        """A kernel, of the matrix that `rows()` would make of it."""
        axis = _axis_of(variable, self.dim)
        shape = list(variable.shape)
        first = rows.reshape(shape.pop(axis), *shape)
        return np.ascontiguousarray(np.moveaxis(first, 0, axis))


def hidden_units(spec: ModelSpec) -> dict[str, HiddenUnits]:
    """The dimensions of a network that are hidden units.

    A dimension is one if a single kernel makes it, a single one reads it, in
    each block or in none, no norm takes statistics along it, and no other
    variable has it but a bias. Both kernels may have any number of axes.

    Returns:
        dict from names of dimensions to `HiddenUnits`.

    Example:

    >>> from kgrow.algebra.axis_map import AxisMap
    >>> axes = AxisMap({"in": "_ -> units", "bias": "-> units",
    ...     "out": "units -> _"})
    >>> shapes = [("in", (3, 4)), ("bias", (4,)), ("out", (4, 2))]
    >>> hidden_units(axes.spec(shapes, {}))
    {'units': HiddenUnits(dim='units', makes=('in',), reads=('out',))}
    """
    found = {}
    for name, dim in spec.dims.items():
        if dim.norm is None and dim.kind in ("nonlinear", "stream"):
            kernels = _kernels(spec, name)
            if kernels is not None:
                found[name] = HiddenUnits(name, *kernels)
    return found


def _kernels(spec, dim):
    """`(paths that make a dimension, paths that read it)` in the order of the
    blocks; `None` if anything else has it."""
    makes, reads, places = {}, {}, set()
    for path, variable in spec.variables.items():
        if dim not in variable.axes.dims:
            continue
        place = variable.stack, variable.block
        places.add(place)
        role = _role(variable, dim)
        if role is None:
            return None
        if role == "bias":
            continue
        kernels = makes if role == PRODUCE else reads
        if place in kernels:
            return None
        kernels[place] = path
    if len({stack for stack, _ in places}) != 1:
        return None
    if not makes.keys() == reads.keys() == places:
        return None
    order = sorted(places, key=lambda place: place[1] or 0)
    return tuple(makes[p] for p in order), tuple(reads[p] for p in order)


def _role(variable, dim):
    """What a variable is to the units: it makes or reads them, or is their
    `"bias"`; `None` for anything else."""
    axes = variable.axes
    if axes.scale or axes.offset or axes.elementwise:
        return None
    mine = [axis for axis in axes if dim in axis.dims]
    if len(mine) != 1 or mine[0].factors != (dim,):
        return None
    if len(variable.shape) == 1:
        return "bias" if mine[0].role == PRODUCE else None
    others = [axis for axis in axes if axis is not mine[0]]
    if any(axis.factors and axis.role == mine[0].role for axis in others):
        # One of two indices of a value, as heads are.
        return None
    return mine[0].role


def _axis_of(variable, dim):
    return [dim in axis.dims for axis in variable.axes].index(True)
