"""ImageNet, CIFAR, Flowers, Cars and any other data set of TensorFlow Datasets
that has images and labels, as batches for `fit` on every backend.
"""

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.datasets.tfds import builder_of, load_tfds
from kgrow.layers import argument_checks

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# Means and standard deviations of the channels, of values from 0 to 1.
STATISTICS = {
    "imagenet2012": IMAGENET,
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
CROPS = ("resize", "center", "random")
DEFAULT_SIZE = 224


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
        augmentation: optional
            `kgrow.datasets.images.deit_augmentation.DeiTAugmentation`.
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
    argument_checks.integer("batch_size", batch_size)
    argument_checks.integer("first", first, 0)
    argument_checks.integer("shuffle_buffer", shuffle_buffer)
    if steps is not None:
        argument_checks.integer("steps", steps)
    if crop is not None:
        argument_checks.one_of("crop", crop, CROPS)
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
    argument_checks.integer("image_size", image_size)
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
    # A number per image, so that crops do not depend on the order in which
    # threads run.
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
    """Number of images in a split.

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
