"""DeiT's recipe, made of Keras' layers."""

import keras
import numpy as np
import pytest

from kgrow.algebra.errors import GrowthError
from kgrow.datasets.images.deit_augmentation import (
    IMAGENET,
    DeiTRandAugment,
    MixUpOrCutMix,
    deit_augmentation,
    deit_recipe,
)

# Mostly compilation; `test_families` runs each family on every backend.
pytestmark = pytest.mark.compiles

# RandAugment has its own tests: on JAX it takes half a minute to trace.
QUICK = {"rand_augment": 0}


def _batch(count=6, size=8, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 255, (count, size, size, channels)).astype("float32")
    return x, np.eye(10, dtype="float32")[np.arange(count) % 10]


@pytest.mark.parametrize("channels", [1, 3])
def test_shapes_sums_and_ranges(channels):
    augment = deit_augmentation(10, 8, **QUICK)
    x, y = augment(*_batch(channels=channels))
    assert x.shape == (6, 8, 8, channels) and x.dtype == np.float32
    assert y.shape == (6, 10) and y.min() >= 0
    np.testing.assert_allclose(y.sum(axis=-1), 1, rtol=1e-5)
    # Black and white, normalised by ImageNet's mean and deviation.
    assert x.min() > -2.2 and x.max() < 2.7


def test_a_number_decides_and_a_seed_does():
    batch = _batch()
    augment = deit_augmentation(10, 8, seed=1, **QUICK)
    first, second = augment(*batch, 4), augment(*batch, 5)
    for again in (augment, deit_augmentation(10, 8, seed=1, **QUICK)):
        for one, other in zip(first, again(*batch, 4), strict=True):
            np.testing.assert_array_equal(one, other)
    assert (first[0] != second[0]).any()
    stranger = deit_augmentation(10, 8, seed=2, **QUICK)(*batch, 4)
    assert (first[0] != stranger[0]).any()
    # Without a number, calls go on.
    assert (augment(*batch)[0] != augment(*batch)[0]).any()


def test_nothing_on_only_normalises():
    augment = deit_augmentation(
        10, 8, padding=0, flip=False, erasing=0, mixup=0, cutmix=0, **QUICK
    )
    x, y = _batch()
    u, v = augment(x, y)
    mean, std = (np.array(s) for s in IMAGENET)
    np.testing.assert_allclose(u, (x / 255 - mean) / std, atol=1e-5)
    np.testing.assert_array_equal(v, y)


def test_small_images_are_padded_and_large_ones_are_not():
    assert deit_augmentation(10, 32).padding == 4
    assert deit_augmentation(10, 224).padding == 0


def test_erasing_is_as_often_as_said():
    augment = deit_augmentation(
        10, 8, padding=0, flip=False, mixup=0, cutmix=0, **QUICK
    )
    x = np.full((200, 8, 8, 3), 255.0)
    erased = augment(x, np.eye(10)[np.arange(200) % 10])[0]
    share = np.mean((erased != erased[:, :1, :1]).any(axis=(1, 2, 3)))
    assert 0.12 < share < 0.36


def test_mixing_is_one_kind_a_batch_and_labels_follow():
    layer = MixUpOrCutMix(seed=3)
    x = np.arange(8, dtype="float32")[:, None, None, None] * np.ones(
        (1, 8, 8, 1), "float32"
    )
    y = np.eye(8, dtype="float32")
    kinds = set()
    for _ in range(12):
        mixed = layer({"images": x, "labels": y}, training=True)
        u, v = (
            keras.ops.convert_to_numpy(mixed[k]) for k in ("images", "labels")
        )
        np.testing.assert_allclose(v.sum(axis=-1), 1, rtol=1e-5)
        pasted = np.isclose(u, np.round(u)).all()
        kinds.add("cut" if pasted else "mix")
        if not pasted:
            # Every pixel is the mean that the labels tell of.
            np.testing.assert_allclose(
                u[:, 0, 0, 0], v @ np.arange(8.0), atol=1e-4
            )
    assert kinds == {"cut", "mix"}


@pytest.mark.parametrize("mixup, cutmix", [(0.8, 0), (0, 1.0)])
def test_one_kind_alone(mixup, cutmix):
    layer = MixUpOrCutMix(mixup, cutmix, seed=0)
    x = np.arange(4, dtype="float32")[:, None, None, None] * np.ones(
        (1, 8, 8, 1), "float32"
    )
    for _ in range(4):
        mixed = layer({"images": x, "labels": np.eye(4)}, training=True)
        u = keras.ops.convert_to_numpy(mixed["images"])
        assert (u == u[:, :1, :1]).all() == bool(mixup) or cutmix


def test_labels_must_be_rows():
    x, _ = _batch()
    with pytest.raises(GrowthError, match="one_hot=True"):
        deit_augmentation(10, 8, **QUICK).mix(x, np.arange(6))


@pytest.mark.slow
def test_tf_data_and_eager_both_work_with_one_object():
    """Whichever comes first, and the seed decides in both."""
    tf = pytest.importorskip("tensorflow")
    x, y = _batch(8)

    def batches(augment):
        data = tf.data.Dataset.from_tensor_slices((x, y))
        return list(augment.apply(data, 4).as_numpy_iterator())

    one = deit_augmentation(10, 8, seed=5, **QUICK)
    found = batches(one)
    assert len(found) == 2
    for u, v in found:
        assert u.shape == (4, 8, 8, 3)
        np.testing.assert_allclose(v.sum(axis=-1), 1, rtol=1e-5)
    one(x, y)
    again = batches(deit_augmentation(10, 8, seed=5, **QUICK))
    for (u, v), (s, t) in zip(found, again, strict=True):
        np.testing.assert_array_equal(u, s)
        np.testing.assert_array_equal(v, t)


@pytest.mark.slow
@pytest.mark.compiles
def test_rand_augment_in_tf_data_and_then_eagerly():
    tf = pytest.importorskip("tensorflow")
    augment = deit_augmentation(10, 8, seed=1)
    x, y = _batch(4)
    data = tf.data.Dataset.from_tensor_slices((x, y))
    for u, v in (
        *augment.apply(data, 4).as_numpy_iterator(),
        augment(x, y),
    ):
        assert u.shape == (4, 8, 8, 3)
        assert np.isfinite(u).all() and u.min() > -2.2 and u.max() < 2.7
        np.testing.assert_allclose(v.sum(axis=-1), 1, rtol=1e-5)


@pytest.mark.compiles
def test_rand_augment_keeps_the_range_and_grey():
    augment = deit_augmentation(
        10, 8, padding=0, flip=False, erasing=0, mixup=0, cutmix=0
    )
    x, y = _batch(6, channels=1)
    u, _ = augment(x, y)
    mean, std = (np.mean(s) for s in IMAGENET)
    values = u * std + mean
    assert values.min() > -1e-5 and values.max() < 1 + 1e-5
    assert (np.abs(values - x / 255) > 1e-3).any()


@pytest.mark.compiles
def test_rate_zero_leaves_images_alone():
    x, _ = _batch()
    layer = DeiTRandAugment(rate=0.0, seed=0)
    out = keras.ops.convert_to_numpy(layer(x, training=True))
    np.testing.assert_allclose(out, x, rtol=1e-6)


def test_rand_augment_has_deit_s_ranges():
    layer = DeiTRandAugment(magnitude=9)
    assert 360 * layer.random_rotation.factor[1] == pytest.approx(27)
    assert layer.random_shear.x_factor == pytest.approx((-0.27, 0.27))
    low, high = layer.random_contrast.factor
    assert 1 - low == pytest.approx(0.19) and 1 + high == pytest.approx(1.81)
    assert layer.random_posterization.factor == (1, 1)


@pytest.mark.parametrize("cls", [DeiTRandAugment, MixUpOrCutMix])
def test_layers_are_saved(cls):
    layer = cls(rate=0.25, seed=3)
    again = cls.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.rate == 0.25


@pytest.mark.parametrize(
    "arguments",
    [{"rand_augment": 11}, {"erasing": 2}, {"cutmix": -1}, {"padding": -1}],
)
def test_bad_settings_are_refused(arguments):
    (name,) = arguments
    with pytest.raises(GrowthError, match=f"{name}={arguments[name]}"):
        deit_augmentation(10, 8, **arguments)


def test_recipe_is_the_paper_s():
    recipe = deit_recipe(1024, steps_per_epoch=10, epochs=300)["compile"]
    optimizer = recipe["optimizer"]
    rate = optimizer._learning_rate

    def at(step):
        return float(keras.ops.convert_to_numpy(rate(step)))

    assert at(50) == pytest.approx(1e-3, rel=1e-5)
    assert at(0) == pytest.approx(1e-6, rel=1e-3)
    assert at(3000) == pytest.approx(1e-5, rel=1e-3)
    assert at(25) == pytest.approx(5e-4, rel=1e-2)
    assert optimizer.weight_decay == 0.05
    assert recipe["loss"].label_smoothing == 0.1


def test_only_kernels_are_decayed():
    recipe = deit_recipe(8, steps_per_epoch=2, epochs=6)
    optimizer = recipe["compile"]["optimizer"]
    names = ("kernel", "bias", "gamma", "beta", "token", "embeddings")
    variables = [keras.Variable(np.ones((2, 2)), name=name) for name in names]
    decayed = [v.name for v in variables if optimizer._use_weight_decay(v)]
    assert decayed == ["kernel"]


@pytest.mark.parametrize("name", ["batch_size", "steps_per_epoch", "epochs"])
def test_recipe_refuses(name):
    arguments = {"batch_size": 8, "steps_per_epoch": 2, "epochs": 6, name: 0}
    with pytest.raises(GrowthError, match=f"{name}=0"):
        deit_recipe(**arguments)
