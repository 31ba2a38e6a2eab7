"""Images: digits without a download, and TFDS by its own offline means."""

import sys

import keras
import numpy as np
import pytest

from kgrow.algebra.errors import GrowthError
from kgrow.datasets import images
from kgrow.datasets.images import deit_augmentation, sklearn_digits, tfds_images

pytestmark = pytest.mark.once


def test_splits_are_stratified_and_apart():
    x, y = images.digits_arrays("train")
    u, v = images.digits_arrays("test")
    assert len(x) + len(u) == 1797
    for label in range(10):
        share = np.mean(v == label)
        assert abs(share - np.mean(y == label)) < 0.01
    # No two digits are equal, so that equal images would be one in both.
    assert not {i.tobytes() for i in x} & {i.tobytes() for i in u}


def test_digits_are_scaled_by_the_training_split():
    x, y = images.digits_arrays("train")
    assert x.dtype == np.float32 and y.dtype == np.int32
    assert abs(x.mean()) < 1e-6 and abs(x.std() - 1) < 1e-6
    with pytest.raises(ValueError, match="read-only"):
        x[0] = 0


@pytest.mark.parametrize("size", [8, 16, 20])
def test_larger_digits_look_like_the_small_ones(size):
    small, _ = images.digits_arrays("test")
    large, _ = images.digits_arrays("test", size)
    assert large.shape == (359, size, size, 1)
    assert large.min() >= small.min() and large.max() <= small.max()
    if size == 16:
        # Half-pixel centres: means of pairs are means of neighbours.
        mean = large.reshape(359, 8, 2, 8, 2).mean(axis=(2, 4))
        inner = slice(1, -1)
        difference = (mean - small[..., 0])[:, inner, inner]
        assert np.abs(difference).mean() < 0.35 * np.abs(small).mean()


def test_interpolation_keeps_what_is_linear():
    ramp = np.arange(8.0)
    wide = sklearn_digits._interpolation(8, 16) @ ramp
    np.testing.assert_allclose(np.diff(wide)[1:-1], 0.5)
    np.testing.assert_array_equal(
        sklearn_digits._interpolation(8, 8), np.eye(8)
    )


def test_batches_depend_on_seed_and_number():
    one, other = images.digits(32, seed=3), images.digits(32, seed=3, first=5)
    np.testing.assert_array_equal(one[7][0], other[2][0])
    np.testing.assert_array_equal(one[7][1], other[2][1])
    assert (one[7][1] != images.digits(32, seed=4)[7][1]).any()
    assert (one[0][1] != one[one.steps_per_epoch][1]).any()


def test_a_pass_has_every_image_at_most_once():
    data = images.ImageDataset(
        np.zeros((10, 1, 1, 1)), np.arange(10), batch_size=3
    )
    assert data.steps_per_epoch == 3 and data.num_batches is None
    for turn in range(3):
        labels = np.concatenate([data[3 * turn + i][1] for i in range(3)])
        assert len(set(labels.tolist())) == 9
    with pytest.raises(TypeError, match="endless"):
        len(data)


def test_the_test_split_is_read_once_in_its_order():
    data = images.digits(100, split="test")
    assert [len(data[i][1]) for i in range(len(data))] == [100, 100, 100, 59]
    labels = np.concatenate([data[i][1] for i in range(len(data))])
    np.testing.assert_array_equal(labels, images.digits_arrays("test")[1])
    assert len(images.digits(100, split="test", first=3)) == 1
    assert len(images.digits(100, split="test", steps=2)) == 2


def test_labels_and_channels():
    x, y = images.digits(4, 16, channels=3, one_hot=True)[0]
    assert x.shape == (4, 16, 16, 3) and y.shape == (4, 10)
    np.testing.assert_array_equal(x[..., 0], x[..., 2])
    np.testing.assert_array_equal(y.sum(axis=-1), 1)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"split": "validation"}, "split='validation'"),
        ({"image_size": 4}, "image_size=4"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 2000}, "1438 images"),
        ({"first": -1}, "first=-1"),
        ({"steps": 0}, "steps=0"),
        ({"channels": 0}, "channels=0"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(GrowthError, match=message):
        images.digits(**{"batch_size": 8, **arguments})


def test_arrays_must_go_together():
    with pytest.raises(GrowthError, match="as many"):
        images.ImageDataset(np.zeros((3, 2, 2, 1)), np.zeros(2), 1)


class _Recorder(keras.layers.Layer):
    """Adds up what it sees, so that fitting shows which data came."""

    def build(self, shape):
        self.seen = self.add_weight(shape=shape[1:], initializer="zeros")

    def call(self, x):
        return self.seen + x


@pytest.mark.parametrize("epochs", [[(0, 4, 1)], [(0, 2, 2)], [(3, 1, 1)]])
def test_epochs_do_not_change_the_data(epochs):
    layer = _Recorder()
    layer.build((4, 8, 8, 1))
    model = keras.Sequential([layer])
    model.compile(
        keras.optimizers.SGD(1.0),
        lambda y, z: keras.ops.mean(
            z * keras.ops.cast(keras.ops.reshape(y, (-1, 1, 1, 1)), z.dtype)
        ),
    )
    seen = 0.0
    for first, steps, count in epochs:
        data = images.digits(4, first=first)
        model.fit(
            data, shuffle=False, steps_per_epoch=steps, epochs=count, verbose=0
        )
        seen -= sum(data[i][1].mean() / 64 for i in range(steps * count))
    found = keras.ops.convert_to_numpy(layer.seen)
    np.testing.assert_allclose(found, seen, rtol=1e-5)


def test_a_model_learns_digits():
    x, y = images.digits_arrays("train")
    model = keras.Sequential(
        [keras.layers.Flatten(), keras.layers.Dense(10, activation="softmax")]
    )
    model.compile(
        keras.optimizers.Adam(0.03),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    train, test = images.digits(32), images.digits(359, split="test")
    model.fit(
        train, steps_per_epoch=train.steps_per_epoch, shuffle=False, verbose=0
    )
    assert model.evaluate(test, verbose=0)[1] > 0.85


# What TFDS's data sets look like, without any of them.


@pytest.fixture(scope="module")
def tfds():
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture(scope="module")
def prepared(tfds, tmp_path_factory):
    """A folder with a data set made of digits, as TFDS stores them."""

    class KgrowTestDigits(tfds.core.GeneratorBasedBuilder):
        """Digits of two shapes, with a class label beside another number."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {
                        "image": tfds.features.Image(shape=(None, None, 1)),
                        "label": tfds.features.ClassLabel(num_classes=10),
                        "id": np.int64,
                    }
                ),
            )

        def _split_generators(self, manager):
            del manager
            return {s: self._generate_examples(s) for s in ("train", "test")}

        def _generate_examples(self, split):
            x, y = images.digits_arrays(split)
            x = 255 * (x - x.min()) / (x.max() - x.min())
            for index, (image, label) in enumerate(zip(x, y, strict=True)):
                image = image[: 8 - index % 2].astype("uint8")
                yield index, {"image": image, "label": label, "id": index}

    folder = tmp_path_factory.mktemp("tfds")
    builder = KgrowTestDigits(data_dir=folder)
    builder.download_and_prepare()
    return str(folder)


NAME = "kgrow_test_digits"


def _batches(data, number):
    return list(data.take(number).as_numpy_iterator())


def test_a_prepared_data_set(prepared):
    data = images.load(NAME, 16, "test", 12, data_dir=prepared)
    found = _batches(data, -1)
    assert [len(y) for _, y in found] == [16] * 22 + [7]
    x, y = found[0]
    assert x.shape == (16, 12, 12, 1) and x.dtype == np.float32
    labels = np.concatenate([y for _, y in found])
    # TFDS stores examples in an order of its own.
    expected = images.digits_arrays("test")[1]
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(expected))
    assert images.count(NAME, "test", prepared) == 359
    assert images.count(NAME, "train[:50%]", prepared) == 719


def test_training_is_endless_seeded_and_resumed(prepared):
    def labels(number=100, **arguments):
        data = images.load(NAME, 16, "train", 8, data_dir=prepared, **arguments)
        return [y for _, y in _batches(data, number)]

    whole = labels()
    assert {len(y) for y in whole} == {16} and len(whole) == 100
    np.testing.assert_array_equal(labels(95, first=5), whole[5:])
    assert not np.array_equal(labels(1, seed=1), whole[:1])
    assert len(labels(-1, steps=3)) == 3


def test_random_crops_are_resumed_too(prepared):
    def pixels(first):
        data = images.load(
            NAME, 8, "train", 8, data_dir=prepared, crop="random", first=first
        )
        return _batches(data, 3 - first)[-1][0]

    np.testing.assert_array_equal(pixels(0), pixels(2))


@pytest.mark.parametrize("crop", images.CROPS)
def test_every_crop_has_the_size(prepared, crop):
    data = images.load(NAME, 4, "test", 6, prepared, crop=crop)
    (x, _), *_ = _batches(data, 1)
    assert x.shape == (4, 6, 6, 1) and np.isfinite(x).all()


def test_normalised_as_said(prepared):
    arguments = dict(crop="resize", one_hot=True)
    scaled = images.load(NAME, 359, "test", 8, prepared, **arguments)
    plain = images.load(
        NAME, 359, "test", 8, prepared, normalize=False, **arguments
    )
    (x, _), *_ = _batches(plain, 1)
    (z, y), *_ = _batches(scaled, 1)
    assert x.min() >= 0 and 200 < x.max() <= 255
    mean, std = map(np.mean, images.statistics(NAME))
    np.testing.assert_allclose(z, (x / 255 - mean) / std, atol=1e-5)
    assert y.shape == (359, 10)
    np.testing.assert_array_equal(y.sum(axis=-1), 1)


@pytest.mark.each
def test_fit_reads_it_on_every_backend(prepared):
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile(
        keras.optimizers.Adam(0.03),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    arguments = dict(image_size=8, data_dir=prepared, crop="resize")
    model.fit(
        images.load(NAME, 32, "train", **arguments),
        steps_per_epoch=80,
        shuffle=False,
        verbose=0,
    )
    test = images.load(NAME, 100, "test", **arguments)
    assert model.evaluate(test, verbose=0)[1] > 0.75


@pytest.mark.slow
def test_augmented_in_the_pipeline(prepared):
    def batch():
        augment = deit_augmentation.deit_augmentation(
            10, 8, rand_augment=0, seed=2
        )
        data = images.load(NAME, 16, "train", 8, prepared, augmentation=augment)
        return _batches(data, 2)

    for (x, y), (u, v) in zip(batch(), batch(), strict=True):
        assert x.shape == (16, 8, 8, 1) and y.shape == (16, 10)
        np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(x, u)
        np.testing.assert_array_equal(y, v)


@pytest.mark.parametrize(
    "name, size, classes",
    [
        ("imagenet2012", 224, 1000),
        ("cifar10", 32, 10),
        ("cifar100", 32, 100),
        ("oxford_flowers102", 224, 102),
    ],
)
def test_named_sets_as_tfds_imitates_them(tfds, tmp_path, name, size, classes):
    with tfds.testing.mock_data(num_examples=4):
        data = images.load(name, 2, data_dir=str(tmp_path), one_hot=True)
        (x, y), *_ = _batches(data, 1)
    assert x.shape == (2, size, size, 3) and y.shape == (2, classes)
    assert np.isfinite(x).all() and np.abs(x).max() < 3.5


def test_cars_have_an_image_and_a_label(tfds, tmp_path):
    """TFDS cannot imitate this one: its boxes come out invalid."""
    builder = tfds.builder("cars196", data_dir=str(tmp_path))
    keys = tfds_images._keys(tfds, builder.info.features, "cars196")
    assert keys == ["image", "label"]
    assert builder.info.features["label"].num_classes == 196


def test_statistics_of_versions_and_of_strangers():
    assert images.statistics("cifar10:3.0.2") == images.statistics("cifar10")
    assert images.statistics("oxford_flowers102") == images.IMAGENET


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"name": "no_such_set"}, "no_such_set"),
        ({"split": "middle"}, "splits \\['test', 'train'\\]"),
        ({"crop": "round"}, "crop='round'"),
        ({"crop_ratio": 0}, "crop_ratio=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"image_size": 0}, "image_size=0"),
    ],
)
def test_bad_data_sets_are_refused(prepared, arguments, message):
    arguments = {"name": NAME, "batch_size": 4, **arguments}
    with pytest.raises(GrowthError, match=message):
        images.load(data_dir=prepared, **arguments)


def test_what_is_not_prepared_says_so(prepared, tmp_path):
    del prepared
    with pytest.raises(GrowthError, match="download=True"):
        images.load(NAME, 4, data_dir=str(tmp_path))


def test_sets_without_images_are_refused(tfds, tmp_path):
    with pytest.raises(GrowthError, match="one Image feature"):
        images.load("imdb_reviews", 4, data_dir=str(tmp_path))


@pytest.mark.parametrize(
    "missing, call, extra",
    [
        (
            "tensorflow_datasets",
            lambda: images.load("cifar10", 4),
            "tensorflow-datasets tensorflow",
        ),
        ("sklearn.datasets", images.digits_arrays.__wrapped__, "scikit-learn"),
    ],
)
def test_missing_packages_are_named(missing, call, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=f"pip install {extra}"):
        call()
