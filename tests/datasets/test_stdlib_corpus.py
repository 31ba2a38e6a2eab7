import keras
import numpy as np
import pytest

from kgrow.algebra.rounding import tolerance
from kgrow.datasets.text import stdlib_corpus

pytestmark = pytest.mark.once


def test_files_are_sorted_and_leave_out_tests():
    root = stdlib_corpus._root()
    names = [
        p.relative_to(root).as_posix() for p in stdlib_corpus.stdlib_files()
    ]
    assert names == sorted(names)
    assert "typing.py" in names
    folders = {part for name in names for part in name.split("/")[:-1]}
    assert not folders & {"test", "tests", "idlelib", "site-packages"}


def test_every_file_is_in_one_split():
    root = stdlib_corpus._root()
    sizes = {"train": 0, "validation": 0}
    for path in stdlib_corpus.stdlib_files():
        split = stdlib_corpus.split_of(path.relative_to(root).as_posix())
        sizes[split] += path.stat().st_size
    assert {name: len(stdlib_corpus.load(name)) for name in sizes} == sizes


def test_validation_is_about_a_twentieth():
    train, validation = map(
        len, map(stdlib_corpus.load, ("train", "validation"))
    )
    assert 0.03 < validation / (train + validation) < 0.08


def test_text_cannot_be_overwritten():
    with pytest.raises(ValueError, match="read-only"):
        stdlib_corpus.load("train")[0] = 0


def test_fingerprint_is_of_the_text(monkeypatch):
    before = stdlib_corpus.fingerprint()
    monkeypatch.setattr(
        stdlib_corpus, "load", lambda split: np.zeros(3, np.uint8)
    )
    assert stdlib_corpus.fingerprint.__wrapped__() != before
    assert stdlib_corpus.fingerprint() == before


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="Received: split='test'"):
        stdlib_corpus.load("test")


def test_targets_are_the_next_bytes():
    text = np.arange(100, dtype=np.uint8)
    x, y = stdlib_corpus.windows(text, length=9, batch_size=50, seed=1, index=2)
    assert x.dtype == y.dtype == np.int32
    np.testing.assert_array_equal(y, x + 1)


def test_the_whole_text_is_drawn():
    text = np.arange(5, dtype=np.uint8)
    x, y = stdlib_corpus.windows(text, length=3, batch_size=64, seed=0, index=0)
    assert set(x[:, 0]) == {0, 1}
    assert y.max() == 4


def test_window_must_fit():
    text = np.arange(5, dtype=np.uint8)
    stdlib_corpus.windows(text, length=4, batch_size=1, seed=0, index=0)
    with pytest.raises(ValueError, match="Received: length=5"):
        stdlib_corpus.windows(text, length=5, batch_size=1, seed=0, index=0)


def test_batches_differ_by_index_and_seed():
    text = stdlib_corpus.load("train")
    first = stdlib_corpus.windows(text, 32, 4, seed=0, index=0)[0]
    assert (
        first != stdlib_corpus.windows(text, 32, 4, seed=0, index=1)[0]
    ).any()
    assert (
        first != stdlib_corpus.windows(text, 32, 4, seed=1, index=0)[0]
    ).any()
    again = stdlib_corpus.windows(text, 32, 4, seed=0, index=0)[0]
    np.testing.assert_array_equal(first, again)


def test_stacked_batches_are_those_of_the_dataset():
    dataset = stdlib_corpus.ByteDataset("validation", 16, batch_size=3, steps=2)
    x, y = stdlib_corpus.batches("validation", 16, batch_size=3, steps=2)
    np.testing.assert_array_equal(x[3:], dataset[1][0])
    np.testing.assert_array_equal(y[:3], dataset[0][1])


class _Recorder(keras.layers.Layer):
    """Adds up what it sees, so that fitting shows which data came."""

    def build(self, shape):
        self.seen = self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return self.seen + keras.ops.cast(x, "float32")


@pytest.mark.parametrize(
    "epochs", [[(0, 4, 1)], [(0, 2, 2)], [(0, 1, 1), (1, 3, 1)]]
)
def test_epochs_and_interruptions_do_not_change_the_data(epochs):
    """Runs of `(first, steps_per_epoch, epochs)` all see batches 0 to 3."""
    layer = _Recorder()
    layer.build((2, 8))
    model = keras.Sequential([layer])
    model.compile(keras.optimizers.SGD(1.0), lambda y, z: keras.ops.mean(z * y))
    for first, steps, count in epochs:
        data = stdlib_corpus.ByteDataset("train", 8, batch_size=2, first=first)
        model.fit(
            data, shuffle=False, steps_per_epoch=steps, epochs=count, verbose=0
        )
    batches = [stdlib_corpus.ByteDataset("train", 8, 2)[i][1] for i in range(4)]
    expected = -sum(np.sum(y, axis=0) / y.size for y in batches)
    seen = keras.ops.convert_to_numpy(layer.seen)
    close = tolerance("float32", fan_in=2, depth=4)
    np.testing.assert_allclose(seen, expected, rtol=close)


def test_endless_dataset_has_no_length():
    with pytest.raises(TypeError, match="endless"):
        len(stdlib_corpus.ByteDataset("train", 8, 2))
