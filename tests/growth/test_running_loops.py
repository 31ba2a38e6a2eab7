"""A growth inside a loop that would go on with the network that is replaced."""

import threading

import keras
import numpy as np
import pytest
from helpers.zoo import CASES, FEATURES

from kgrow import GrowableModel, GrowthError

CASE = CASES["functional"]
X, Y = CASE.batch()


class Attempt(keras.callbacks.Callback):
    """Grows a model at a place, and keeps the error."""

    def __init__(self, place, model):
        super().__init__()
        self.error = None

        def attempt(*args, **kwargs):
            try:
                model.grow({"units": 9})
            except GrowthError as error:
                self.error = str(error)

        setattr(self, place, attempt)


def growable():
    return CASE.compiled(GrowableModel(CASE.make(), CASE.axes))


@pytest.mark.parametrize("loop", ["evaluate", "predict", "fit"])
def test_not_inside_its_own_evaluation(loop):
    model = growable()
    place = "on_predict_end" if loop == "predict" else "on_test_batch_end"
    attempt = Attempt(place, model)
    arguments = {"callbacks": [attempt], "verbose": 0}
    if loop == "predict":
        model.predict(X, **arguments)
    elif loop == "evaluate":
        model.evaluate(X, Y, **arguments)
    else:
        model.fit(X, Y, validation_data=(X, Y), **arguments)
    running = "predict" if loop == "predict" else "evaluate"
    assert f"`{running}()` is running" in attempt.error
    assert model.growth_config == {"units": 6} and not model.growth_history
    # Where it has ended, it grows.
    assert model.grow({"units": 9}).exact
    model.evaluate(X, Y, verbose=0)


@pytest.mark.parametrize("loop", ["fit", "predict"])
def test_not_beside_a_loop_in_another_thread(loop):
    model = growable()
    attempt = Attempt("attempt", model)

    def wait(*args, **kwargs):
        thread = threading.Thread(target=attempt.attempt, name="beside")
        thread.start()
        thread.join()

    place = f"on_{'train' if loop == 'fit' else loop}_end"
    callback = keras.callbacks.Callback()
    setattr(callback, place, wait)
    arguments = {"callbacks": [callback], "verbose": 0}
    if loop == "fit":
        model.fit(X, Y, **arguments)
    else:
        model.predict(X, **arguments)
    assert f"`{loop}()` of the model is running in another" in attempt.error
    assert "'beside'" in attempt.error
    assert model.growth_config == {"units": 6}
    assert model.grow({"units": 9}).exact


def test_not_inside_the_training_of_a_model_that_it_is_a_part_of():
    inner = growable()
    inputs = keras.Input((FEATURES,))
    outer = CASE.compiled(keras.Model(inputs, 2 * inner(inputs)))
    attempt = Attempt("on_train_batch_end", inner)
    before = outer.evaluate(X, Y, verbose=0)
    outer.fit(X, Y, epochs=2, callbacks=[attempt], verbose=0)
    assert "is a part of" in attempt.error and "`fit()`" in attempt.error
    assert inner.growth_config == {"units": 6}
    after = outer.evaluate(X, Y, verbose=0)
    assert after < before
    np.testing.assert_allclose(
        outer.predict(X, verbose=0), 2 * inner.predict(X, verbose=0), rtol=1e-5
    )
