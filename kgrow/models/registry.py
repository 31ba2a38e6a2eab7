"""Families by name."""

import inspect

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.config_fields import shrinks
from kgrow.algebra.discovery import place
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.lazy_keras import serializable
from kgrow.models.example import Example
from kgrow.models.family import Family

_FAMILIES = {}


def register(kind):
    """Class decorator: makes a family known, and to Keras, with its network.

    Everything that goes over all families goes over a registered one: the
    laws of kgrow's tests, the golden files, the pages of the reference. A
    class in a file of `kgrow/models/` is found there; any other is known once
    its module is imported.

    Args:
        kind: string, the kind of its inputs: `"text"`, `"images"` or
            `"vectors"`, or another one. The reference lists families by it.

    Raises:
        GrowthError: the class is no `Family`, has no network, no axes or no
            `example`, its example leaves a size out or grows a field that
            there is not, or another family has the name.

    Example:

    >>> from kgrow.models import MLP
    >>> @register("vectors")
    ... class Perceptron(MLP):
    ...     pass
    >>> registered()["Perceptron"].small().growth_config["hidden_dim"]
    8
    >>> forget("Perceptron")
    """

    def add(cls):
        _check(cls)
        cls.kind = kind
        _FAMILIES[cls.__name__] = cls
        serializable(cls.network_class)
        return serializable(cls)

    return add


def forget(name):
    """Takes a family out of the registry.

    Args:
        name: string, the name of its class.
    """
    del _FAMILIES[name]


def registered():
    """The registered families, as a dict from their names, sorted.

    Example:

    >>> [*registered()][:3]
    ['BERT', 'CaiT', 'DeiT']
    """
    return dict(sorted(_FAMILIES.items(), key=lambda item: item[0].lower()))


def _check(cls):
    if not (isinstance(cls, type) and issubclass(cls, Family)):
        raise GrowthError(
            f"`register` decorates a subclass of `Family`. Received: {cls!r}"
        )
    for name, kind in (("axes", AxisMap), ("example", Example)):
        if not isinstance(getattr(cls, name), kind):
            raise GrowthError(
                f"`{cls.__name__}.{name}` must be an `{kind.__name__}`; a "
                "family has the axes of its `network_class`. Received: "
                f"{name}={getattr(cls, name)!r}"
            )
    _check_example(cls)
    other = _FAMILIES.get(cls.__name__)
    # The same class once more is a module or a cell that ran again.
    if other and place(other) != place(cls):
        raise GrowthError(
            f"{cls.__name__!r} is the name of {place(other)} already. "
            f"Received: {place(cls)}. Choose another name."
        )


def _check_example(cls):
    example, fields = cls.example, set(cls.axes.fields)
    arguments = set(inspect.signature(cls).parameters)
    missing = sorted((fields & arguments) - set(example.sizes))
    unknown = sorted(set(example.sizes) - arguments)
    fixed = sorted({*example.exact, *example.gated} - fields)
    smaller = sorted(
        field
        for field, size in example.exact.items()
        if shrinks(example.gated.get(field, size), size)
    )
    for names, rule in (
        (missing, "`sizes` must have a value for every field that grows"),
        (unknown, "`sizes` must be arguments of the constructor"),
        (fixed, "`exact` and `gated` must be fields that grow"),
        (smaller, "a field must not be smaller in `gated` than in `exact`"),
    ):
        if names:
            raise GrowthError(
                f"In `{cls.__name__}.example`, {rule}. Fields that grow: "
                f"{sorted(fields & arguments)}. Received, against that: {names}"
            )
