"""Peak memory is measured, or not given."""

import numpy as np
import pytest

from kgrow.backend.memory import PeakMemory

MEBIBYTE = 1 << 20


def test_peak_sees_what_was_given_back():
    with PeakMemory() as memory:
        block = np.ones(64 * MEBIBYTE, np.uint8)
        del block
    if memory.extra_bytes is None:
        pytest.skip("peak memory cannot be measured on this system")
    assert memory.extra_bytes >= 60 * MEBIBYTE


def test_peak_of_nothing_is_small():
    with PeakMemory() as memory:
        pass
    if memory.extra_bytes is None:
        pytest.skip("peak memory cannot be measured on this system")
    assert memory.extra_bytes < 16 * MEBIBYTE
