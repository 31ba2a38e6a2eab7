"""Files that an earlier version wrote, in this one.

Written by `write_golden.py`, on JAX, and read on every backend.
"""

import numpy as np
import pytest
from golden.check_golden import (
    ROUNDING,
    check_files,
    from_weights,
    golden_of,
    inputs_of,
)
from golden.write_golden import ENDINGS, FOLDER, families, step
from helpers.training import BACKEND


def test_every_family_has_its_files():
    """`write_golden.py` writes those that are missing."""
    for family in families():
        for ending in ENDINGS:
            assert (FOLDER / f"{family}{ending}").exists()


# One of them where nothing is quick, all of them by `make slow`.
QUICK = set(families()) if BACKEND == "torch" else {"MLP"}
CASES = [
    pytest.param(family, marks=[pytest.mark.slow] * (family not in QUICK))
    for family in families()
]


@pytest.mark.parametrize("family", CASES)
def test_it_is_what_it_was(family):
    check_files(family)


@pytest.mark.parametrize("family", CASES)
def test_it_trains_on_as_it_did(family):
    golden = golden_of(family)
    model = from_weights(family, golden)
    x, y = inputs_of(model, golden), golden["y"]
    losses = [step(model, x, y), step(model, x, y)]
    np.testing.assert_allclose(losses, golden["losses"], rtol=ROUNDING)
