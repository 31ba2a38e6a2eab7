"""The check that Keras runs on JAX, which alone can lower a step."""

from __future__ import annotations

from types import ModuleType

import keras

from kgrow.algebra.errors import GrowthError


def jax_lowering() -> ModuleType:
    """The module `kgrow.backend.jax_lowering`.

    Raises:
        GrowthError: Keras runs on another backend.
    """
    name = keras.backend.backend()
    if name != "jax":
        raise GrowthError(
            "Steps are lowered and compiled ahead on JAX only: set "
            f"KERAS_BACKEND=jax. Received: KERAS_BACKEND={name}"
        )
    from kgrow.backend import jax_lowering

    return jax_lowering
