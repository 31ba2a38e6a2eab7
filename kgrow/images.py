"""Real images: scikit-learn's digits without a download, and TFDS by name.

`digits()` needs no network: 1,797 handwritten digits of 8 x 8 pixels come
inside scikit-learn's own package. `load()` reads ImageNet, CIFAR, Flowers,
Cars and any other data set of TensorFlow Datasets that has images and labels,
on every backend.

Both give a stream whose order depends on a seed alone. For training it is
endless: say how many batches make an epoch, and a run that was cut into other
epochs, or broken off and resumed with `first`, sees the same images in the
same order. Other splits are read once, in their order.

scikit-learn and TensorFlow Datasets are imported when they are needed.
"""

import functools

import keras
import numpy as np

from kgrow.errors import GrowthError
from kgrow.named_data import builder_of, load_tfds

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Means and standard deviations of the channels, of values from 0 to 1.
STATISTICS = {
    "imagenet2012": IMAGENET,
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
CROPS = ("resize", "center", "random")
DEFAULT_SIZE = 224

_TEST_SHARE = 0.2
_SPLIT_SEED = 0


def statistics(name):
    """Means and standard deviations by which a data set is normalised.

    Args:
        name: string, a data set of TFDS. One that is not listed in
            `STATISTICS` has ImageNet's, as is usual where a network that was
            trained on ImageNet is tuned further.

    Returns:
        `(means, deviations)`, one number a channel, of values from 0 to 1.

    Example:

    >>> statistics("cars196") == statistics("imagenet2012")
    True
    """
    # A config or a version may follow: "imagenet2012:5.1.0".
    return STATISTICS.get(name.split(":")[0].split("/")[0], IMAGENET)


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
    if split not in ("train", "test"):
        raise GrowthError(
            "Argument `split` must be 'train' or 'test'. "
            f"Received: split={split!r}"
        )
    _check_count("image_size", image_size, least=8)
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
    _check_count("channels", channels)
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


class ImageDataset(keras.utils.PyDataset):
    """Arrays of images and labels in a seeded order, for `fit`.

    For training, pass after pass goes over all images, each in another order;
    what does not fill a batch is left out of that pass. Batch `i` depends on
    `seed` and `i` alone, so that the same run cut into other epochs has the
    same data. Without `steps` it is endless: give `fit` a `steps_per_epoch`,
    such as the attribute of this name.

    For anything else the images are read once, in their order, and the last
    batch may be smaller.

    Args:
        images: array of shape `(images, height, width, channels)`.
        labels: array whose first axis is as long.
        batch_size: int, images in a batch.
        training: bool, see above.
        steps: optional int, number of batches.
        seed: int, which order.
        first: int, batches of the stream to skip, those already seen.
        augmentation: optional function of a batch's images, its labels and
            its number, such as `kgrow.augmentation.deit_augmentation()` gives.
        **kwargs: passed to `keras.utils.PyDataset`.

    Raises:
        GrowthError: the arrays do not go together, or a number is none of
            what it may be.

    Example:

    >>> images = np.zeros((10, 2, 2, 1))
    >>> train = ImageDataset(images, np.arange(10), batch_size=4)
    >>> sorted(int(y) for i in range(2) for y in train[i][1])[:3] != [0, 1, 2]
    True
    >>> len(ImageDataset(images, np.arange(10), 4, training=False))
    3
    """

    def __init__(
        self,
        images,
        labels,
        batch_size,
        training=True,
        steps=None,
        seed=0,
        first=0,
        augmentation=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if np.ndim(images) != 4 or len(images) != len(labels):
            raise GrowthError(
                "`images` is an array of shape (images, height, width, "
                "channels) with as many `labels`. Received: images of shape "
                f"{np.shape(images)}, labels of shape {np.shape(labels)}"
            )
        _check_count("batch_size", batch_size)
        _check_count("first", first, least=0)
        if steps is not None:
            _check_count("steps", steps)
        if training and batch_size > len(images):
            raise GrowthError(
                f"There are {len(images)} images; a batch cannot hold more. "
                f"Received: batch_size={batch_size}"
            )
        self.images = images
        self.labels = labels
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.first = first
        self.augmentation = augmentation
        whole = self.steps_per_epoch
        if not training:
            left = max(0, whole - first)
            steps = left if steps is None else min(steps, left)
        self.steps = steps

    @property
    def steps_per_epoch(self):
        """Batches in one pass over all images."""
        size = len(self.images)
        if self.training:
            return size // self.batch_size
        return -(-size // self.batch_size)

    @property
    def num_batches(self):
        return self.steps

    def __len__(self):
        if self.steps is None:
            raise TypeError(
                "An endless `ImageDataset` has no length. One pass has "
                "`steps_per_epoch` batches."
            )
        return self.steps

    def __getitem__(self, index):
        number = self.first + index
        turn, place = divmod(number, self.steps_per_epoch)
        start = place * self.batch_size
        rows = slice(start, start + self.batch_size)
        if self.training:
            order = np.random.default_rng((self.seed, turn))
            rows = order.permutation(len(self.images))[rows]
        images, labels = self.images[rows], self.labels[rows]
        if self.augmentation is None:
            return images, labels
        return self.augmentation(images, labels, number)


def load(
    name,
    batch_size,
    split="train",
    image_size=None,
    data_dir=None,
    *,
    training=None,
    crop=None,
    crop_ratio=0.875,
    normalize=True,
    one_hot=False,
    augmentation=None,
    steps=None,
    seed=0,
    first=0,
    shuffle_buffer=10_000,
    deterministic=True,
    download=False,
):
    """A data set of TensorFlow Datasets, as batches for `fit`.

    `imagenet2012`, `cifar10`, `cifar100`, `oxford_flowers102`, `cars196`, and
    any other with an image and a class label. On other backends than
    TensorFlow, Keras turns the batches into arrays, and TensorFlow is kept off
    the accelerators.

    Args:
        name: string, as `tfds.builder()` takes it.
        batch_size: int, images in a batch.
        split: string, TFDS's name of a split or a slice of one.
        image_size: optional int, pixels of a side; the data set's own if all
            its images have one shape, else 224.
        data_dir: optional string, where the data set is, a folder or
            `"gs://..."`; TFDS's own folder if left out.
        training: optional bool: shuffled, endless, in full batches only. By
            default true of splits whose name begins with "train".
        crop: optional string. `"resize"` squeezes the whole image into the
            square, `"center"` cuts the middle, `"random"` cuts a random part
            of 8 to 100 % of the area at an aspect ratio of 3/4 to 4/3. By
            default `"resize"` where all images have one shape, else
            `"random"` for training and `"center"` otherwise.
        crop_ratio: float, the share of the shorter side that `"center"` keeps.
        normalize: bool, whether values are scaled by `statistics(name)`; from
            0 to 255 if not. An augmentation normalises by itself.
        one_hot: bool, whether labels are rows of numbers; they are if there
            is an augmentation.
        augmentation: optional `kgrow.augmentation.DeiTAugmentation`.
        steps: optional int, number of batches.
        seed: int, of the order, and of random crops.
        first: int, batches of the stream to skip, those already seen. Skipped
            images are read and not decoded.
        shuffle_buffer: int, images among which the next one is drawn.
        deterministic: bool, whether augmentation, which draws one random
            number after another, is kept to one thread. Order and crops are
            the same at any time.
        download: bool, whether what is missing is downloaded and prepared.

    Returns:
        `tf.data.Dataset` of `(images, labels)`: `float32` images of shape
        `(batch_size, image_size, image_size, channels)`, and `int32` labels
        or `float32` rows.

    Raises:
        GrowthError: the data set is not there, has no images with labels, or
            an argument is none of what it may be.
        ImportError: TensorFlow Datasets is missing.

    Example:

    `load("imagenet2012", 256, data_dir="gs://my-bucket/tensorflow_datasets")`,
    and `load("cifar10", 128, "test", download=True)`.
    """
    tf, tfds = load_tfds()
    _check_count("batch_size", batch_size)
    _check_count("first", first, least=0)
    _check_count("shuffle_buffer", shuffle_buffer)
    if steps is not None:
        _check_count("steps", steps)
    if crop is not None and crop not in CROPS:
        raise GrowthError(
            f"Argument `crop` must be one of {CROPS}. Received: crop={crop!r}"
        )
    if not 0 < crop_ratio <= 1:
        raise GrowthError(
            "Argument `crop_ratio` must be in (0, 1]. "
            f"Received: crop_ratio={crop_ratio}"
        )
    builder = builder_of(name, data_dir)
    if download:
        builder.download_and_prepare()
    image_key, label_key = _keys(tfds, builder.info.features, name)
    feature = builder.info.features[image_key]
    classes = builder.info.features[label_key].num_classes
    if training is None:
        training = split.startswith("train")
    height, width, channels = feature.shape
    is_fixed = height is not None and width is not None
    if image_size is None:
        image_size = height if is_fixed else DEFAULT_SIZE
    _check_count("image_size", image_size)
    if crop is None:
        crop = "random" if training else "center"
        crop = "resize" if is_fixed else crop
    means, deviations = statistics(name)
    if channels == 1:
        means, deviations = np.mean(means), np.mean(deviations)
    plain = normalize and augmentation is None

    def prepare(number, example):
        image = tf.cast(feature.decode_example(example[image_key]), tf.float32)
        image = _cut(tf, image, crop, crop_ratio, (seed, number))
        image = tf.image.resize(image, (image_size, image_size), antialias=True)
        image = tf.ensure_shape(image, (image_size, image_size, channels))
        if plain:
            image = (image / 255.0 - means) / deviations
        label = tf.cast(example[label_key], tf.int32)
        if one_hot or augmentation is not None:
            label = tf.one_hot(label, classes)
        return image, label

    order = seed if training else None
    examples = _examples(tfds, builder, split, image_key, order)
    examples = examples.map(lambda e: {k: e[k] for k in (image_key, label_key)})
    if training:
        examples = examples.shuffle(shuffle_buffer, seed=seed).repeat()
    examples = examples.enumerate().skip(first * batch_size)
    # A number of its own for every image: whatever runs beside what, each is
    # cut in the same way.
    data = examples.map(prepare, tf.data.AUTOTUNE, deterministic=True)
    threads = None if deterministic else tf.data.AUTOTUNE
    if augmentation is not None:
        data = data.map(
            lambda image, label: (augmentation.image(image), label), threads
        )
    data = data.batch(batch_size, drop_remainder=training)
    if augmentation is not None:
        data = data.map(augmentation.mix, threads)
    if steps is not None:
        data = data.take(steps)
    return data.prefetch(tf.data.AUTOTUNE)


def count(name, split="train", data_dir=None):
    """How many images a split has, to say what an epoch is.

    Args:
        name: string, as in `load()`.
        split: string, as in `load()`.
        data_dir: optional string, as in `load()`.

    Raises:
        GrowthError: the data set or the split is not there.
        ImportError: TensorFlow Datasets is missing.

    Example:

    `count("imagenet2012") // 256` batches of 256 are an epoch.
    """
    builder = builder_of(name, data_dir)
    try:
        return builder.info.splits[split].num_examples
    except (KeyError, ValueError) as error:
        raise _no_split(builder, split) from error


def _scikit_digits():
    """Images from 0 to 1, and labels."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "The digits come with scikit-learn. Install it with: "
            "pip install 'kgrow[tfds]'"
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


def _keys(tfds, features, name):
    """The names of the image and of the label."""
    found = []
    for key, kind in (
        ("image", tfds.features.Image),
        ("label", tfds.features.ClassLabel),
    ):
        names = [k for k in features.keys() if isinstance(features[k], kind)]
        if key not in names and len(names) != 1:
            raise GrowthError(
                f"{name!r} must have one {kind.__name__} feature, or one "
                f"called {key!r}. Received: {sorted(features.keys())}"
            )
        found.append(key if key in names else names[0])
    return found


def _examples(tfds, builder, split, image_key, seed):
    """Examples as they are stored, images not decoded."""
    config = tfds.ReadConfig(shuffle_seed=seed, try_autocache=False)
    try:
        return builder.as_dataset(
            split=split,
            shuffle_files=seed is not None,
            read_config=config,
            decoders={image_key: tfds.decode.SkipDecoding()},
        )
    except AssertionError as error:
        raise GrowthError(
            f"{builder.name!r} is not prepared in {builder.data_dir}. Give the "
            "`data_dir` it is in, or `download=True`."
        ) from error
    except ValueError as error:
        raise _no_split(builder, split) from error


def _no_split(builder, split):
    return GrowthError(
        f"{builder.name!r} has the splits {sorted(builder.info.splits)}. "
        f"Received: split={split!r}"
    )


def _cut(tf, image, crop, ratio, seed):
    if crop == "resize":
        return image
    shape = tf.shape(image)
    if crop == "center":
        side = tf.cast(tf.minimum(shape[0], shape[1]), tf.float32) * ratio
        size = tf.maximum(1, tf.cast(tf.round(side), tf.int32))
        top, left = (shape[0] - size) // 2, (shape[1] - size) // 2
        return image[top : top + size, left : left + size]
    begin, size, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.zeros((1, 0, 4)),
        seed=tf.stack([tf.cast(part, tf.int64) for part in seed]),
        area_range=(0.08, 1.0),
        aspect_ratio_range=(3 / 4, 4 / 3),
        min_object_covered=0.0,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.slice(image, begin, size)


def _check_count(name, value, least=1):
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise GrowthError(
            f"`{name}` must be an integer of at least {least}. "
            f"Received: {name}={value!r}"
        )
