"""Variables that a growth has replaced raise an error when they are used.

Another model made of the old layers, an optimizer outside the model or a
function that was traced before may still hold them, and would read or train a
network that is no longer the model's. Their values are deleted instead.
"""

from __future__ import annotations

from collections.abc import Collection

import keras

from kgrow import backend
from kgrow.algebra.errors import GrowthError


def retire(network: keras.Model, kept: Collection[int], name: str) -> None:
    """Deletes the values of the variables of a network that was replaced.

    Args:
        network: the old `keras.Model`.
        kept: collection of ids of variables that are still in use.
        name: string, of the model that grew.
    """
    for variable in network.variables:
        if id(variable) not in kept:
            message = _message(variable.path, name)
            backend.retire(backend.storage(variable), message)
            variable._value = None
            variable._initializer = _Raises(message)


class _Raises:
    """An initializer that raises: the variable was retired by a growth."""

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
