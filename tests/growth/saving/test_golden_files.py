"""Files that an earlier version wrote, in this one.

Written by `write_golden.py`, on JAX, and read on every backend.
"""

import json

import keras
import numpy as np
import pytest
from golden.write_golden import FAMILIES, FOLDER, facts, make, outputs, step
from helpers.toy import relative_difference
from helpers.training import BACKEND, assert_same_state

import kgrow
from kgrow.algebra import tolerance

# Sums of this many terms, this many layers deep.
ROUNDING = tolerance("float32", 64, 16)


def test_every_family_has_its_files():
    assert sorted(FAMILIES) == sorted(kgrow.models.__all__)
    for family in FAMILIES:
        for ending in (".keras", ".weights.h5", ".npz"):
            assert (FOLDER / f"{family}{ending}").exists()


# One of them where nothing is quick, all of them by `make slow`.
QUICK = set(FAMILIES) if BACKEND == "torch" else {"MLP"}
CASES = [
    pytest.param(family, marks=[pytest.mark.slow] * (family not in QUICK))
    for family in FAMILIES
]


def golden_of(family, model):
    """What the model computed: `(arrays, x)`."""
    with np.load(FOLDER / f"{family}.npz") as golden:
        golden = dict(golden)
    like = model.network.example_inputs(2, 1)
    flat = [golden[f"x/{i}"] for i in range(len(keras.tree.flatten(like)))]
    return golden, keras.tree.pack_sequence_as(like, flat)


def from_weights(family):
    model = make(family)
    model.load_weights(FOLDER / f"{family}.weights.h5")
    return model


@pytest.mark.parametrize("family", CASES)
def test_it_is_what_it_was(family):
    model = keras.saving.load_model(FOLDER / f"{family}.keras")
    golden, x = golden_of(family, model)
    small = from_weights(family)
    for loaded in (model, small):
        assert facts(loaded) == json.loads(str(golden["facts"]))
        found = outputs(loaded, x)
        assert relative_difference(found, golden["outputs"]) <= ROUNDING
    assert_same_state(model, small)


@pytest.mark.parametrize("family", CASES)
def test_it_trains_on_as_it_did(family):
    model = from_weights(family)
    golden, x = golden_of(family, model)
    losses = [step(model, x, golden["y"]), step(model, x, golden["y"])]
    np.testing.assert_allclose(losses, golden["losses"], rtol=ROUNDING)
