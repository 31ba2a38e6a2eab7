"""Checkpoints of `keras.callbacks.OrbaxCheckpoint`, across growths."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.paths import PROGRAMS
from helpers.saved_models import (
    KINDS,
    assert_same_model,
    assert_trains_on_alike,
    assert_unchanged,
    digest,
    fit,
    fresh_for,
    grow,
    make,
    rich,
    save_orbax,
    taught,
)
from helpers.training import BACKEND, mlp, with_optimizer

import kgrow

pytestmark = pytest.mark.compiles

pytest.importorskip("orbax.checkpoint")


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_makes_a_small_model_large(kind, tmp_path):
    model = make(kind)
    callback = keras.callbacks.OrbaxCheckpoint(tmp_path, max_to_keep=1)
    fit(
        kind,
        model,
        {("epoch", 0): lambda model: grow(kind, model)},
        callbacks=[callback],
    )
    fresh = make(kind)
    fresh.load_weights(tmp_path)
    assert_same_model(fresh, model)
    loaded = keras.saving.load_model(tmp_path)
    assert_same_model(loaded, model)
    if kind == "family":
        assert_trains_on_alike(kind, model, fresh)


@pytest.mark.parametrize("state_of_things", [rich, taught])
def test_everything_that_is_under_way_comes_back(state_of_things, tmp_path):
    model = state_of_things()
    save_orbax(model, tmp_path)
    fresh = fresh_for(model)
    fresh.load_weights(tmp_path)
    assert_same_model(fresh, model)
    loaded = keras.saving.load_model(tmp_path)
    assert_same_model(loaded, model)


def test_weights_alone_bring_the_size_with_them(tmp_path):
    model = make("family")
    grow("family", model)
    save_orbax(model, tmp_path, save_weights_only=True)
    fresh = mlp()
    fresh.load_weights(tmp_path)
    assert fresh.growth_config == model.growth_config
    assert fresh.growth_history == model.growth_history
    for left, right in zip(fresh.variables, model.variables, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(left), keras.ops.convert_to_numpy(right)
        )


def test_names_that_keras_makes_up_do_not_matter(tmp_path):
    model = make("blueprint")
    grow("blueprint", model)
    save_orbax(model, tmp_path)
    keras.utils.clear_session(free_memory=False)
    for _ in range(3):
        other = mlp()
        other.name, keras.layers.Dropout(0.1)
    fresh = make("blueprint")
    fresh.load_weights(tmp_path)
    assert_same_model(fresh, model)


def changed(change):
    """A small model, its state before, and a tree that is no state of it."""
    large = make("family")
    grow("family", large)
    tree = large.get_state_tree("numpy_array")
    change(tree)
    return make("family"), tree


def _lacks(tree):
    del tree["trainable_variables"]["network"]["input_dense"]


def _has_more(tree):
    tree["trainable_variables"]["extra"] = np.zeros(2)


def _other_shape(tree):
    dense = tree["trainable_variables"]["network"]["input_dense"]
    dense["kernel"] = dense["kernel"][:, :-1]


def _no_growth(tree):
    del tree["non_trainable_variables"]["growth"]


def _cut_growth(tree):
    part = tree["non_trainable_variables"]
    part["growth"] = part["growth"][:-7]


def _lacks_slots(tree):
    tree["optimizer_variables"].popitem()


def _other_slot(tree):
    tree["optimizer_variables"]["0003"] = np.zeros(99)


def _unknown(tree):
    tree["more"] = {}


def _no_dict(tree):
    tree["trainable_variables"] = 3


@pytest.mark.parametrize(
    "change",
    [
        _lacks,
        _has_more,
        _other_shape,
        _no_growth,
        _cut_growth,
        _lacks_slots,
        _other_slot,
        _unknown,
        _no_dict,
    ],
)
def test_a_tree_that_does_not_fit_changes_nothing(change):
    model, tree = changed(change)
    with assert_unchanged(model), pytest.raises(kgrow.FileError):
        model.set_state_tree(tree)


@pytest.mark.slow
@pytest.mark.each
@pytest.mark.skipif(BACKEND != "jax", reason="only JAX has layouts")
def test_a_checkpoint_of_one_mesh_is_read_on_others(tmp_path):
    """Written on a mesh of 2 x 4; read there, on 4 x 2, on 8 x 1, with the
    weights on every device, on one device of the eight, and here, where there
    is one device alone."""
    program = PROGRAMS / "orbax_on_devices.py"
    done = subprocess.run(
        [sys.executable, program, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout.split()
    assert said[:1] == ["same"], done.stderr
    model = with_optimizer(mlp(hidden_dim=8, intermediate_dim=8), "Adam")
    model.load_weights(tmp_path)
    assert model.growth_config["hidden_dim"] == 16
    assert said[1] == digest(model)


def test_a_value_format_that_there_is_not():
    with pytest.raises(ValueError, match="value_format"):
        make("family").get_state_tree("list")
