"""Variables that have a shape before they have a value.

What is about to be filled is never initialised first: neither time nor memory
goes into values that nobody reads.
"""

import contextlib

import keras
import numpy as np

from kgrow.backend import pieces, place_of, storage
from kgrow.backend.keras_internals import global_attribute

_PENDING = "uninitialized_variables"


@contextlib.contextmanager
def without_values():
    """Context in which new variables get a shape, and no value.

    Give each a value with `give_value()`, or its own with `initialize()`.
    """
    # These variables get their values later; if they stayed on Keras' list, the
    # next scope that closes would initialize them.
    with (
        global_attribute(_PENDING, []),
        keras.StatelessScope(initialize_variables=False),
    ):
        yield


def give_value(variable, value):
    """Gives a variable without a value its first one. Where a distribution
    divides it among devices, each gets its piece and no more."""
    place = place_of(variable)
    if place is not None and isinstance(value, np.ndarray):
        whole = value
        value = pieces.spread(
            lambda index: whole[index], whole.shape, variable._dtype, place
        )
    value = keras.ops.convert_to_tensor(value, dtype=variable._dtype)
    variable._initialize(value)
    variable._initializer = None


def initialize(variables):
    """Gives every variable that has no value its own initial one."""
    for variable in variables:
        if storage(variable) is None:
            variable._deferred_initialize()
