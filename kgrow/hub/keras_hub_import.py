"""KerasHub, imported when it is asked for and not before."""

import importlib

from kgrow.algebra.errors import GrowthError


def keras_hub():
    """The module `keras_hub`.

    Raises:
        GrowthError: KerasHub is not installed, or cannot be imported.

    Example:

    >>> keras_hub().__name__
    'keras_hub'
    """
    try:
        return importlib.import_module("keras_hub")
    except ImportError as error:
        raise GrowthError(
            "KerasHub is needed here, and cannot be imported. Install it with "
            f"`pip install keras-hub`. Received: {error}"
        ) from error
