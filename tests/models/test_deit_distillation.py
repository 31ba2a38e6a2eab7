"""A teacher's decisions as a second set of labels."""

import keras
import numpy as np
import pytest

from kgrow.algebra.errors import GrowthError
from kgrow.datasets import images
from kgrow.models.deit_distillation import HARD, TaughtDataset


def _teacher():
    """Knows nothing, and always says the same of the same image."""
    return keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])


def test_decisions_are_the_teacher_s():
    teacher, data = _teacher(), images.digits(6)
    taught = TaughtDataset(data, teacher)
    for index in (0, 3):
        x, y = taught[index]
        np.testing.assert_array_equal(x, data[index][0])
        np.testing.assert_array_equal(y["class"], data[index][1])
        scores = keras.ops.convert_to_numpy(teacher(x))
        np.testing.assert_array_equal(y["distillation"], scores.argmax(axis=-1))
    rows = TaughtDataset(data, teacher, num_classes=10)[0][1]["distillation"]
    np.testing.assert_array_equal(
        rows.argmax(axis=-1), taught[0][1]["distillation"]
    )
    assert rows.shape == (6, 10)


def test_as_long_as_the_data():
    test = TaughtDataset(images.digits(100, split="test"), _teacher())
    assert len(test) == 4 and [len(x) for x, _ in test][-1] == 59
    endless = TaughtDataset(images.digits(4), _teacher())
    assert endless.num_batches is None
    with pytest.raises(TypeError, match="endless"):
        len(endless)


def test_of_tf_data():
    tf = pytest.importorskip("tensorflow")
    x, y = images.digits_arrays("test")
    data = tf.data.Dataset.from_tensor_slices((x[:6], y[:6])).batch(3)
    taught = TaughtDataset(data, _teacher())
    assert len(taught) == 2
    for index in range(3):
        start = index % 2 * 3
        np.testing.assert_array_equal(taught[index][0], x[start : start + 3])


def test_two_heads_learn_from_two_sets_of_labels():
    """The class head learns classes, the other one its teacher's mistakes."""
    teacher = _teacher()
    inputs = keras.Input((8, 8, 1))
    flat = keras.layers.Flatten()(inputs)
    model = keras.Model(
        inputs,
        {n: keras.layers.Dense(10, name=n)(flat) for n in HARD},
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(
        keras.optimizers.Adam(0.03),
        dict.fromkeys(HARD, loss),
        loss_weights=HARD,
    )
    train = TaughtDataset(images.digits(32), teacher)
    model.fit(train, steps_per_epoch=60, shuffle=False, verbose=0)
    x, y = TaughtDataset(images.digits(359, split="test"), teacher)[0]
    outputs = model.predict_on_batch(x)
    for name in HARD:
        right = outputs[name].argmax(axis=-1) == y[name]
        assert right.mean() > 0.75, name


def test_what_is_no_data_and_no_teacher():
    x, y = images.digits_arrays("test")
    with pytest.raises(GrowthError, match="Received: list"):
        TaughtDataset([(x, y)], _teacher())
    teacher = keras.Sequential([keras.layers.Identity()])
    with pytest.raises(GrowthError, match="Received: \\(4, 8, 8, 1\\)"):
        TaughtDataset(images.digits(4), teacher)[0]
