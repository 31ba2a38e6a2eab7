"""Values of grown variables, computed on the devices that will hold them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import keras

from kgrow import backend
from kgrow.algebra.arrays import WHOLE
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.plan import Plan
from kgrow.algebra.types import Array, Values


def grown_value(
    plan: Plan,
    path: str,
    values: Values,
    variable: keras.Variable,
    fill: Array | float | None = None,
) -> Array:
    """The value of a grown variable.

    Args:
        plan: `Plan`.
        path: path in the target.
        values: dict with at least the source's `reads(path)`.
        variable: `keras.Variable` that will hold it.
        fill: see `Plan.grow()`; may be an array in pieces.

    Raises:
        GrowthError: the arrays are on several devices, and no distribution
            says where to put the grown ones.
    """
    return plan.grow(path, values, fill, _arrays(path, values, variable))


def grown_values(
    plan: Plan, values: Values, variables: Mapping[str, keras.Variable]
) -> Iterator[tuple[str, Array]]:
    """Grows the variables one by one, those of a joint map together.

    Args:
        plan: `Plan`.
        values: dict from paths in the source to arrays.
        variables: dict from paths in the target to `keras.Variable`s, which
            will hold them.

    Yields:
        `(path, array)`

    Raises:
        GrowthError: see `grown_value()`.
    """
    if not any(backend.is_spread(v) for v in values.values()):
        yield from plan.each(values)
        return
    made = {}
    for path, variable in variables.items():
        joint = plan.joint_map_of(path)
        if joint is None:
            read = {p: values[p] for p in plan.reads(path)} or values
            yield path, grown_value(plan, path, read, variable)
            continue
        if path not in made:
            read = {p: values[p] for p in joint.sources(path)}
            made |= backend.pieces.divided(joint.grow, read)
        arrays = _arrays(path, values, variable)
        grown, place = plan.target.variables[path], backend.place_of(variable)
        value = backend.pieces.moved(made.pop(path), place)
        yield path, plan.rescale(value, grown, arrays)


def _arrays(path, values, variable):
    """The `Arrays` that computes a variable where it will be."""
    if not any(backend.is_spread(v) for v in values.values()):
        return WHOLE
    place = backend.place_of(variable)
    if place is None:
        raise GrowthError(
            f"The model lies on several devices, and no distribution is active "
            f"that says where {path!r} is to lie once it has grown. Call "
            "`keras.distribution.set_distribution(...)`, or `grow()` inside "
            "`with distribution.scope():`."
        )
    return backend.arrays_at(place, values.values())
