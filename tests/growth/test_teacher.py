"""The small network teaches the large one, and falls silent."""

import keras
import numpy as np
import pytest
from helpers.toy import array, assert_same, make_inputs, make_model, snapshot

import kgrow
from kgrow import GrowthError
from kgrow.backend.random import seed_states
from kgrow.strategies import KnowledgeInheritance

pytestmark = pytest.mark.compiles

TARGET = {"hidden_dim": 12, "num_layers": 3}
Y = np.arange(8) % 7


def taught(rate=1e-9, **options):
    model = make_model("MLP")
    model.compile(
        keras.optimizers.SGD(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    x = make_inputs(model, 8)
    model.fit(x, Y, epochs=1, verbose=0)
    small = array(model(x))
    model.grow(TARGET, KnowledgeInheritance(**options), seed=0)
    return model, x, small


def divergence(small, large, temperature):
    def log_softmax(logits):
        logits = logits / temperature
        logits = logits - logits.max(axis=-1, keepdims=True)
        return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))

    p, q = log_softmax(small), log_softmax(large)
    return temperature**2 * (np.exp(p) * (p - q)).sum(axis=-1).mean()


def test_the_loss_is_the_paper_s_and_fades():
    model, x, small = taught(weight=0.8, steps=4, temperature=2.0)
    own = model.evaluate(x, Y, verbose=0)
    other = divergence(small, array(model(x)), 2.0)
    for step in range(6):
        share = 0.8 * max(0.0, 1 - step / 4)
        found = model.fit(x, Y, epochs=1, batch_size=8, verbose=0)
        expected = (1 - share) * own + share * other
        assert found.history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_the_teacher_s_variables_have_paths_of_their_own():
    model, x, small = taught(steps=100)
    paths = [w.path for w in model.weights]
    assert len(set(paths)) == len(paths)
    own = [p for p in paths if p.startswith("teacher/")]
    assert len(own) == len(model.teacher.weights)
    assert_same(array(model.teacher(x)), small)


def test_the_teacher_weighs_examples_as_the_loss_does():
    model, x, small = taught(weight=1.0, steps=100)
    large = array(model(x))
    weights = np.array([0, 0, 0, 0, 0.5, 1, 2, 0])
    each = [
        divergence(small[i : i + 1], large[i : i + 1], 1.0) for i in range(8)
    ]
    found = model.fit(
        x, Y, sample_weight=weights, epochs=1, batch_size=8, verbose=0
    )
    expected = np.mean(weights * each)
    assert found.history["loss"][0] == pytest.approx(expected, rel=1e-4)


def test_the_teacher_rests_and_the_pupil_learns():
    model, x, small = taught(rate=0.1, steps=100)
    teacher = model._inheritance.teacher
    before = array(model(x))
    model.fit(x, Y, epochs=2, verbose=0)
    assert_same(array(teacher(x)), small)
    assert np.abs(array(model(x)) - before).max() > 1e-3
    assert len(model.trainable_variables) == len(model.network.weights)


@pytest.mark.each
def test_a_pupil_with_dropout_learns():
    """Its random states begin as the teacher's, and are not the same arrays."""
    model = kgrow.models.MLP(
        input_dim=4,
        output_dim=7,
        hidden_dim=8,
        intermediate_dim=8,
        num_layers=1,
        dropout=0.5,
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    x = make_inputs(model, 8)
    model.fit(x, Y, epochs=1, verbose=0)
    model.grow({"hidden_dim": 12}, KnowledgeInheritance(steps=9), seed=0)
    (old,), (new,) = (
        seed_states(network).values()
        for network in (model._inheritance.teacher, model.network)
    )
    assert old == new
    model.fit(x, Y, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 3


def test_no_weight_is_copied():
    model, _, _ = taught()
    old = set(np.unique(array(model._inheritance.teacher.weights[0])))
    assert not old & set(np.unique(array(model.network.weights[0])))


def test_a_dismissed_teacher_is_gone():
    model, x, _ = taught(steps=10)
    model.fit(x, Y, epochs=1, verbose=0)
    model.remove_teacher()
    own = model.evaluate(x, Y, verbose=0)
    found = model.fit(x, Y, epochs=1, verbose=0).history["loss"][0]
    assert found == pytest.approx(own, rel=1e-4)
    assert len(model.variables) == len(model.network.variables)


@pytest.mark.parametrize("kind", ["whole", "weights"])
def test_a_teacher_is_saved(tmp_path, kind):
    model, x, _ = taught(steps=4)
    model.fit(x, Y, epochs=1, batch_size=8, verbose=0)
    if kind == "whole":
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    else:
        model.save_weights(tmp_path / "model.weights.h5")
        again = make_model("MLP")
        again.load_weights(tmp_path / "model.weights.h5")
        again.compile(model.optimizer.__class__(1e-9), model.loss)
    losses = [
        m.fit(x, Y, epochs=2, batch_size=8, verbose=0).history["loss"]
        for m in (model, again)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_a_taught_model_grows_on_and_fails_whole():
    model, x, _ = taught(steps=8)
    model.fit(x, Y, epochs=1, batch_size=8, verbose=0)
    before = snapshot(model)
    with pytest.raises(GrowthError, match="output_dim"):
        model.grow({"output_dim": 9}, "net2net")
    assert_same(snapshot(model), before)
    model.grow({"intermediate_dim": 20}, "net2net", seed=1)
    assert np.isfinite(model.fit(x, Y, verbose=0).history["loss"][0])


def test_outputs_of_another_size_cannot_be_taught():
    model = make_model("MLP")
    before = snapshot(model)
    with pytest.raises(GrowthError, match="changes their size"):
        model.grow({"output_dim": 9}, "ki")
    assert_same(snapshot(model), before)


@pytest.mark.parametrize(
    "options", [{"weight": 2}, {"steps": 0}, {"temperature": 0.0}]
)
def test_bad_arguments(options):
    ((name, value),) = options.items()
    with pytest.raises(GrowthError, match=f"{name}={value}"):
        KnowledgeInheritance(**options)
