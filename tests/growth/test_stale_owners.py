"""Whoever holds what a growth has replaced is told, and told to let go."""

import keras
import numpy as np
import pytest
from helpers.zoo import CASES, FEATURES

from kgrow import GrowableModel, GrowthError

BACKEND = keras.backend.backend()
CASE = CASES["functional"]
X, Y = CASE.batch()


def errors():
    """What a use of old variables raises; TensorFlow has its own for functions
    that were traced before."""
    if BACKEND != "tensorflow":
        return GrowthError
    import tensorflow as tf

    return (GrowthError, tf.errors.OpError)


def growable():
    return CASE.compiled(GrowableModel(CASE.make(), CASE.axes))


@pytest.mark.parametrize("used", [False, True])
def test_a_second_model_of_the_same_layers(used, tmp_path):
    model = growable()
    inner = model.get_layer("inner")
    second = keras.Model(model.input, inner.output)
    if used:
        second.predict(X, verbose=0)
    model.grow({"units": 9})
    with pytest.raises(errors()):
        second.predict(X, verbose=0)
    with pytest.raises(GrowthError, match="was replaced when"):
        second.save_weights(tmp_path / "second.weights.h5")
    with pytest.raises(GrowthError, match="copy it before growing"):
        inner.get_weights()
    # Made again, it is of the grown network.
    second = keras.Model(model.input, model.get_layer("inner").output)
    assert second.predict(X, verbose=0).shape == (len(X), 9)


@pytest.mark.skipif(
    BACKEND == "jax",
    reason="a `fit` of Keras that breaks off leaves no values there",
)
@pytest.mark.compiles
def test_an_outer_model_that_was_compiled_before():
    model = growable()
    inputs = keras.Input((FEATURES,))
    outer = CASE.compiled(keras.Model(inputs, 2 * model(inputs)))
    outer.fit(X, Y, verbose=0)
    model.grow({"units": 9})
    before = [np.array(w) for w in model.get_weights()]
    with pytest.raises((*np.atleast_1d(errors()), ValueError, KeyError)):
        outer.fit(X, Y, verbose=0)
    for value, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, same)
    CASE.compiled(outer)
    outer.fit(X, Y, verbose=0)
    moved = zip(model.get_weights(), before, strict=True)
    assert all((value != old).any() for value, old in moved)


@pytest.mark.parametrize("back", ["load_weights", "set_weights"])
def test_loading_other_sizes_retires_too(back, tmp_path):
    model, path = growable(), tmp_path / "small.weights.h5"
    model.save_weights(path)
    weights = model.get_weights()
    model.grow({"units": 9})
    inner = model.get_layer("inner")
    getattr(model, back)(path if back == "load_weights" else weights)
    with pytest.raises(GrowthError, match="was replaced when"):
        inner.get_weights()
    assert model.predict(X, verbose=0).shape == Y.shape


@pytest.mark.skipif(BACKEND != "torch", reason="torch's own optimizers")
def test_a_torch_optimizer_of_ones_own():
    import torch

    model = growable()

    def step(optimizer):
        optimizer.zero_grad()
        loss = torch.mean((model(X) - torch.as_tensor(Y)) ** 2)
        loss.backward()
        optimizer.step()

    old = torch.optim.Adam(model.parameters(), 0.01)
    step(old)
    model.grow({"units": 9})
    with pytest.raises(GrowthError, match="an optimizer of your own"):
        step(old)
    before = model.get_weights()[0].copy()
    step(torch.optim.Adam(model.parameters(), 0.01))
    assert (model.get_weights()[0] != before).any()


@pytest.mark.skipif(BACKEND != "tensorflow", reason="TensorFlow's functions")
@pytest.mark.each
def test_a_function_that_was_traced_before():
    import tensorflow as tf

    model = growable()
    network = model.network

    @tf.function
    def loss():
        return tf.reduce_mean((network(X) - Y) ** 2)

    loss()
    model.grow({"units": 9})
    with pytest.raises(tf.errors.OpError):
        loss()


def test_a_teacher_is_no_stale_owner():
    model = growable()
    model.fit(X, Y, verbose=0)
    model.grow({"units": 9}, "ki")
    model.fit(X, Y, verbose=0)
    assert model.teacher(X).shape == Y.shape
