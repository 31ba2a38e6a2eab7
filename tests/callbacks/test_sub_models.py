"""bert2BERT's first stage: the bottom of the stack trains, at random depths."""

import keras
import numpy as np
import pytest
from helpers.toy import array, assert_same, make_inputs, make_model

import kgrow
from kgrow import GrowthError
from kgrow.callbacks import SubModels

pytestmark = pytest.mark.compiles


def trained(family, callback, epochs=1, batch_size=8):
    model = make_model(family, num_layers=3)
    model.compile(
        keras.optimizers.SGD(0.1),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = make_inputs(model, 8)
    before = {w.path: array(w) for w in model.network.weights}
    model.fit(
        x,
        x,
        epochs=epochs,
        batch_size=batch_size,
        verbose=0,
        shuffle=False,
        callbacks=[callback],
    )
    moved = {
        int(w.path.split("transformer_layer_")[1][0])
        for w in model.network.weights
        if "transformer_layer_" in w.path
        and not np.array_equal(array(w), before[w.path])
    }
    return model, x, moved


@pytest.mark.parametrize("family", ["GPT2", "BERT"])
@pytest.mark.parametrize("depths, blocks", [([1, 2], {1}), ([3], {0, 1, 2})])
def test_the_highest_blocks_of_a_part_train(family, depths, blocks):
    callback = SubModels(depths, steps=1)
    # Draw the deepest one.
    seeds = iter(range(99))
    while (
        np.random.default_rng([callback.seed, 0]).choice(depths) != depths[-1]
    ):
        callback.seed = next(seeds)
    _, _, moved = trained(family, callback)
    assert moved == blocks


def test_a_part_computes_what_a_shallower_model_does():
    shallow = make_model("GPT2", num_layers=1)
    deep = make_model("GPT2", num_layers=3)
    for weight in deep.network.weights:
        for other in shallow.network.weights:
            if weight.path == other.path:
                weight.assign(array(other))
    x = make_inputs(deep)
    deep.network.sub_model = (1, 1)
    one = array(deep.network(x, training=True))
    assert_same(one, array(shallow.network(x, training=True)))
    whole = array(deep.network(x, training=False))
    assert np.abs(whole - one).max() > 1e-3


@pytest.mark.compiles
def test_then_the_whole_model_trains():
    callback = SubModels([1], steps=2)
    model, x, moved = trained("GPT2", callback, batch_size=4)
    assert moved == {0} and model.network.sub_model is None
    callback = SubModels([1], steps=2)
    model, x, moved = trained("GPT2", callback, batch_size=2)
    assert moved == {0, 1, 2}
    loss = model.fit(x, x, epochs=1, verbose=0).history["loss"][0]
    assert np.isfinite(loss)


def test_a_model_may_grow_meanwhile():
    class Grow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                self.model.grow({"num_layers": 4}, "stack")

    model = make_model("GPT2")
    model.compile(
        "sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    x = make_inputs(model, 8)
    model.fit(
        x,
        x,
        epochs=3,
        batch_size=4,
        verbose=0,
        callbacks=[SubModels([1, 2], steps=4), Grow()],
    )
    assert len(model.network.transformer_layers) == 4


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: SubModels([], steps=1), "depths"),
        (lambda: SubModels([0], steps=1), "depths"),
        (lambda: SubModels([1], steps=0), "steps=0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(GrowthError, match=message):
        make()


def test_parts_that_are_not_there():
    with pytest.raises(GrowthError, match="has 3 blocks"):
        trained("GPT2", SubModels([4], steps=1))
    model = kgrow.models.MLP(2, 1, 4, 8, 1)
    model.compile("sgd", "mse")
    x = np.zeros((2, 2))
    with pytest.raises(GrowthError, match="MLPNetwork"):
        model.fit(x, x[:, :1], callbacks=[SubModels([1], steps=1)], verbose=0)


def test_a_run_that_is_loaded_goes_on_with_the_next_depth(tmp_path):
    callback = SubModels([1, 3], steps=5)
    model, x, _ = trained("GPT2", callback, epochs=2)
    assert callback.taken == 2
    model.save_weights(tmp_path / "model.weights.h5")
    again = make_model("GPT2", num_layers=3)
    again.load_weights(tmp_path / "model.weights.h5")
    callback = SubModels([1, 3], steps=5)
    callback.set_model(again)
    assert callback.taken == 2
    callback = SubModels([1, 3], steps=6)
    callback.set_model(again)
    assert callback.taken == 0
