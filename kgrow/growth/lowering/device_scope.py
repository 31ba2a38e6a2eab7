"""The distribution under which a step is lowered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager

import keras

from kgrow.growth.device_layout import Distribution


@contextlib.contextmanager
def under(
    distribution: Distribution | None,
) -> Iterator[None]:
    """Context in which a distribution is active, or none."""
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(distribution)
    try:
        yield
    finally:
        keras.distribution.set_distribution(before)


def without_distribution() -> AbstractContextManager[None]:
    """Context in which values are put on this host's own device."""
    return under(None)
