"""Reads golden files and compares them with what was written beside them."""

import json

import keras
import numpy as np
from helpers.toy import relative_difference
from helpers.training import assert_same_state

from golden.write_golden import FOLDER, facts, make, outputs
from kgrow.algebra import tolerance

# Sums of this many terms, this many layers deep.
ROUNDING = tolerance("float32", 64, 16)


def golden_of(family, folder=FOLDER):
    """The arrays that were written beside a model: `{name: array}`."""
    with np.load(folder / f"{family}.npz") as golden:
        return dict(golden)


def inputs_of(model, golden):
    """The inputs that a model was written with."""
    like = model.network.example_inputs(2, 1)
    flat = [golden[f"x/{i}"] for i in range(len(keras.tree.flatten(like)))]
    return keras.tree.pack_sequence_as(like, flat)


def from_weights(family, golden, folder=FOLDER):
    """The small model, which becomes the saved one."""
    model = make(family, json.loads(str(golden["sizes"])))
    model.load_weights(folder / f"{family}.weights.h5")
    return model


def check_files(family, folder=FOLDER):
    """Both forms bring back the same model, which computes what it did."""
    golden = golden_of(family, folder)
    model = keras.saving.load_model(folder / f"{family}.keras")
    small = from_weights(family, golden, folder)
    for loaded in (model, small):
        assert facts(loaded) == json.loads(str(golden["facts"]))
        found = outputs(loaded, inputs_of(loaded, golden))
        assert relative_difference(found, golden["outputs"]) <= ROUNDING
    assert_same_state(model, small)
