"""Scikit-learn's digits: 1,797 handwritten digits of 8 x 8 pixels, which come
inside its own package, without a download.

scikit-learn is imported when it is needed.
"""

import functools

import numpy as np

from kgrow.datasets.images.image_dataset import ImageDataset
from kgrow.layers import argument_checks

_TEST_SHARE = 0.2
_SPLIT_SEED = 0


@functools.cache
def digits_arrays(split="train", image_size=8):
    """Scikit-learn's digits as two read-only arrays.

    A fifth of each class is the test split, the same one in every process. The
    values have mean zero and variance one over the training split. Larger
    images are interpolated, the same to the last bit on every backend.

    Args:
        split: `"train"` (1,438 images) or `"test"` (359).
        image_size: int, at least 8.

    Returns:
        `float32` images of shape `(images, image_size, image_size, 1)` and
        `int32` labels of shape `(images,)`.

    Raises:
        GrowthError: there is no such split, or the size is below 8.
        ImportError: scikit-learn is missing.

    Example:

    >>> x, y = digits_arrays("test", image_size=16)
    >>> x.shape, y.shape, int(y.max())
    ((359, 16, 16, 1), (359,), 9)
    """
    argument_checks.one_of("split", split, ("train", "test"))
    argument_checks.integer("image_size", image_size, 8)
    images, labels = _scikit_digits()
    train, test = _stratified(labels)
    mean, std = images[train].mean(), images[train].std()
    rows = train if split == "train" else test
    chosen = (images[rows] - mean) / std
    scale = _interpolation(images.shape[1], image_size)
    chosen = scale @ chosen @ scale.T
    x = chosen[..., None].astype("float32")
    y = labels[rows].astype("int32")
    x.flags.writeable = y.flags.writeable = False
    return x, y


def digits(
    batch_size,
    image_size=8,
    split="train",
    *,
    one_hot=False,
    channels=1,
    steps=None,
    seed=0,
    first=0,
    augmentation=None,
    **kwargs,
):
    """Scikit-learn's digits for `fit`, as an `ImageDataset`.

    Args:
        batch_size: int, images in a batch.
        image_size: int, at least 8.
        split: `"train"` or `"test"`.
        one_hot: bool, whether labels are rows of ten numbers.
        channels: int, by which the one channel of grey is repeated.
        steps: see `ImageDataset`.
        seed: see `ImageDataset`.
        first: see `ImageDataset`.
        augmentation: see `ImageDataset`. It is given the normalised images.
        **kwargs: passed to `keras.utils.PyDataset`.

    Raises:
        GrowthError: an argument is none of what it may be.
        ImportError: scikit-learn is missing.

    Example:

    >>> train, test = digits(32), digits(64, split="test")
    >>> train.steps_per_epoch, len(test), train[0][0].shape
    (44, 6, (32, 8, 8, 1))

    `model.fit(train, steps_per_epoch=train.steps_per_epoch, epochs=30,
    shuffle=False, validation_data=test)` trains on it.
    """
    argument_checks.integer("channels", channels)
    x, y = digits_arrays(split, image_size)
    if channels > 1:
        x = np.repeat(x, channels, axis=-1)
    return ImageDataset(
        x,
        np.eye(10, dtype="float32")[y] if one_hot else y,
        batch_size,
        training=split == "train",
        steps=steps,
        seed=seed,
        first=first,
        augmentation=augmentation,
        **kwargs,
    )


def _scikit_digits():
    """Images from 0 to 1, and labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn. Install it with: "
            "pip install scikit-learn"
        ) from error
    found = load_digits()
    return found.images / 16.0, found.target


def _stratified(labels):
    """Rows of the training and of the test split, the same share a class."""
    rng = np.random.default_rng(_SPLIT_SEED)
    test = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        test.extend(rows[: round(_TEST_SHARE * len(rows))])
    test = np.sort(np.array(test))
    return np.setdiff1d(np.arange(len(labels)), test), test


def _interpolation(source, target):
    """The matrix of bilinear interpolation with half-pixel centres."""
    places = (np.arange(target) + 0.5) * source / target - 0.5
    places = np.clip(places, 0, source - 1)
    distance = np.abs(places[:, None] - np.arange(source))
    return np.maximum(0.0, 1.0 - distance)
