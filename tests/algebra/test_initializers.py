"""NewEntryInit weights are drawn as Keras draws them, by numpy."""

import math

import keras
import numpy as np
import pytest
from keras import initializers, ops

from kgrow.algebra.initializers import sample

pytestmark = pytest.mark.once

CONSTANTS = [
    initializers.Zeros(),
    initializers.Ones(),
    initializers.Constant(0.25),
]
DRAWN = [
    initializers.RandomNormal(0.5, 0.1),
    initializers.TruncatedNormal(0.5, 0.1),
    initializers.RandomUniform(-1.0, 3.0),
    initializers.GlorotNormal(),
    initializers.GlorotUniform(),
    initializers.HeNormal(),
    initializers.HeUniform(),
    initializers.LecunNormal(),
    initializers.LecunUniform(),
    initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal"),
]
OTHERS = [initializers.Identity(), initializers.Orthogonal(seed=1)]
SHAPES = [(120, 80), (3, 3, 24, 48), (9000,)]


def name(value):
    return type(value).__name__


def draw(initializer, shape, seed=0, **options):
    rng = np.random.default_rng(seed)
    return sample(initializer, shape, "float32", rng, **options)


def distance(one, other):
    """Kolmogorov and Smirnov's: the largest gap of distribution functions."""
    one, other = np.sort(one.ravel()), np.sort(other.ravel())
    points = np.concatenate([one, other])
    below = [np.searchsorted(s, points, "right") / s.size for s in (one, other)]
    return np.abs(below[0] - below[1]).max()


def chance(size, probability=1e-6):
    """The distance that two samples of one distribution exceed so rarely."""
    return math.sqrt(-math.log(probability / 2) / size)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("initializer", DRAWN, ids=name)
def test_the_distribution_is_that_of_keras(initializer, shape):
    ours = draw(initializer, shape)
    theirs = ops.convert_to_numpy(initializer(shape, "float32"))
    assert ours.shape == shape and ours.dtype == "float32"
    assert distance(ours, theirs) < chance(ours.size)


@pytest.mark.parametrize("initializer", DRAWN, ids=name)
def test_a_part_has_the_spread_of_the_whole(initializer):
    part = draw(initializer, (120, 80), count=5000)
    assert part.shape == (5000,)
    whole = draw(initializer, (120, 80), seed=1)
    assert distance(part, whole) < chance(part.size)


def test_another_distribution_is_told_apart():
    one = draw(initializers.RandomNormal(0.0, 0.10), SHAPES[0])
    other = draw(initializers.RandomNormal(0.0, 0.12), SHAPES[0])
    assert distance(one, other) > chance(one.size)


@pytest.mark.parametrize("initializer", CONSTANTS + DRAWN, ids=name)
def test_the_seed_decides(initializer):
    one, again, other = (draw(initializer, (7, 5), seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.array_equal(one, other) == (initializer in CONSTANTS)


@pytest.mark.each
def test_the_backend_s_own_generator_is_left_alone():
    keras.utils.set_random_seed(3)
    expected = ops.convert_to_numpy(initializers.RandomNormal()((4,)))
    keras.utils.set_random_seed(3)
    for initializer in DRAWN:
        draw(initializer, (7, 5))
    actual = ops.convert_to_numpy(initializers.RandomNormal()((4,)))
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("initializer", CONSTANTS + OTHERS, ids=name)
def test_what_is_not_drawn_is_what_keras_gives(initializer):
    theirs = ops.convert_to_numpy(initializer((6, 6), "float32"))
    np.testing.assert_array_equal(draw(initializer, (6, 6)), theirs)
    part = draw(initializer, (6, 6), count=7)
    np.testing.assert_array_equal(part, theirs.ravel()[:7])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("initializer", CONSTANTS + DRAWN, ids=name)
def test_the_dtype_is_the_one_asked_for(initializer, dtype):
    rng = np.random.default_rng(0)
    assert sample(initializer, (2, 3), dtype, rng).dtype == dtype


@pytest.mark.parametrize("identifier", ["zeros", "glorot_uniform"])
def test_initializers_have_names(identifier):
    expected = draw(initializers.get(identifier), (3, 4))
    np.testing.assert_array_equal(draw(identifier, (3, 4)), expected)
