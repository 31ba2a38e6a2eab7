"""Ctrl-C and Keras' scopes: a growth has a receipt or has not been, and what
is entered is left."""

import contextlib

import keras
import numpy as np
import pytest
from helpers.interrupts import ctrl_c
from helpers.training import BACKEND
from keras.src.backend.common import global_state

import kgrow
from kgrow.backend import scopes
from kgrow.growth import growable_model, transaction

X = np.ones((4, 2), "float32")


def mlp():
    keras.utils.set_random_seed(0)
    return kgrow.models.MLP(
        input_dim=2,
        output_dim=1,
        hidden_dim=4,
        intermediate_dim=6,
        num_layers=1,
    )


@pytest.mark.skipif(BACKEND != "torch", reason="the same on each backend")
def test_a_model_that_has_grown_has_a_receipt_at_any_line():
    modules = (growable_model, transaction)
    with ctrl_c(10**9, modules) as lines:
        mlp().grow({"hidden_dim": 6}, seed=0)
    # The last lines, where the model is exchanged, are taken one by one.
    places = [
        *range(1, len(lines) - 60, 41),
        *range(len(lines) - 60, len(lines)),
    ]
    grown = []
    for line in places:
        model = mlp()
        # The very last lines may not come: how many there are varies.
        with ctrl_c(line, modules), contextlib.suppress(KeyboardInterrupt):
            model.grow({"hidden_dim": 6}, seed=0)
        grown.append(model.growth_config["hidden_dim"] == 6)
        assert len(model.growth_history) == grown[-1], line
    # Of both kinds there were some, and once it has grown it stays so.
    assert grown == sorted(grown) and len(set(grown)) == 2


def entered():
    get = global_state.get_global_attribute
    return [get(name) for name in scopes._SCOPES]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, ValueError])
def test_scopes_that_an_error_left_entered_are_left(kind, monkeypatch):
    model = mlp()
    before = entered()

    def broken(self, *args):
        # As Keras is where it is interrupted between two lines.
        keras.StatelessScope().__enter__()
        keras.name_scope("lost").__enter__()
        keras.src.backend.common.symbolic_scope.SymbolicScope().__enter__()
        raise kind("in the middle")

    monkeypatch.setattr(transaction.GrowthTransaction, "_check", broken)
    with pytest.raises(kind, match="in the middle"):
        model.grow({"hidden_dim": 6})
    assert entered() == before
    assert keras.Variable(0.0, name="rate").path == "rate"
    monkeypatch.undo()
    assert model.grow({"hidden_dim": 6}).exact


def test_names_that_others_have_entered_stay():
    with keras.name_scope("outer"):
        mlp().grow({"hidden_dim": 6})
        assert keras.Variable(0.0, name="rate").path == "outer/rate"


@pytest.mark.compiles
@pytest.mark.parametrize("family", ["MLP", "GPT2"])
def test_families_are_made_and_grown_in_a_name_scope(family, tmp_path):
    def made():
        if family == "MLP":
            return mlp()
        return kgrow.models.GPT2(
            vocabulary_size=16,
            num_layers=1,
            num_heads=2,
            hidden_dim=8,
            intermediate_dim=16,
            max_sequence_length=8,
        )

    outside, path = made(), tmp_path / "model.weights.h5"
    paths = list(outside.architecture.spec.variables)
    with keras.name_scope("outer"):
        inside = made()
        assert list(inside.architecture.spec.variables) == paths
        assert inside.grow({"num_layers": 2}, seed=0).exact
        assert inside.grow({"hidden_dim": 16}, seed=0).exact
        inside.save_weights(path)
    outside.load_weights(path)
    for one, other in zip(inside.weights, outside.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )
