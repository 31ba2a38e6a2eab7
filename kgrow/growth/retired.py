"""Variables that a growth has replaced, made to say so.

Whoever still holds one would read a network that is no more, or go on training
it: another model made of its layers, an optimizer of one's own, a function
that was traced before. So their values are given up, and using one raises.
"""

from __future__ import annotations

from collections.abc import Collection

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError


def retire(network: keras.Model, kept: Collection[int], name: str) -> None:
    """Gives up the variables of a network that was replaced.

    Args:
        network: the old `keras.Model`.
        kept: set of ids of variables that are in use.
        name: string, of the model that grew.
    """
    for variable in network.variables:
        if id(variable) not in kept:
            message = _message(variable.path, name)
            backend.retire(backend.storage(variable), message)
            variable._value = None
            variable._initializer = _Raises(message)


class _Raises:
    """What Keras asks for the value of a variable that has none."""

    def __init__(self, message):
        self.message = message

    def __call__(self, shape, dtype=None):
        del shape, dtype
        raise GrowthError(self.message)


def _message(path, name):
    return (
        f"The variable {path!r} was replaced when {name!r} grew. Something "
        "made before still holds it: a model made of layers of the old "
        "network, a function that was traced before, or an optimizer of your "
        "own. Make it again, of `model.network` and its variables as they are "
        "now; to keep the small network, copy it before growing. Received: a "
        "use of the old variable"
    )
