"""Grown values, made where they are to be."""

from kgrow import backend
from kgrow.algebra.arrays import WHOLE
from kgrow.algebra.errors import GrowthError


def grown_value(plan, path, values, variable, fill=None):
    """The value of a grown variable.

    Args:
        plan: `Plan`.
        path: path in the target.
        values: dict with at least the source's `reads(path)`.
        variable: `keras.Variable` that will hold it.
        fill: see `Plan.grow()`; an array in pieces, too.

    Raises:
        GrowthError: the arrays are on several devices, and no distribution
            says where the grown ones are to be.
    """
    return plan.grow(path, values, fill, _arrays(path, values, variable))


def grown_values(plan, values, variables):
    """Grows one variable after the other, those of a joint map together.

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
        grown = plan.target.variables[path]
        value = backend.pieces.moved(made.pop(path), arrays.place)
        yield path, plan.rescale(value, grown, arrays)


def _arrays(path, values, variable):
    """`Arrays` of what goes into a variable."""
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
