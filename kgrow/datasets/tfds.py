"""Data sets of TensorFlow Datasets, by their names.

The library is imported when it is needed.
"""

import keras

from kgrow.algebra.errors import GrowthError


def load_tfds():
    """TensorFlow and TensorFlow Datasets.

    Raises:
        ImportError: one of them is missing.
    """
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ImportError(
            "Data sets by name need TensorFlow Datasets and TensorFlow. "
            "Install them with: pip install tensorflow-datasets tensorflow"
        ) from error
    if keras.backend.backend() != "tensorflow":
        try:
            # It would take the memory of an accelerator that it has no use for.
            tf.config.set_visible_devices([], "GPU")
        except RuntimeError:
            pass  # It has begun to use them; nothing to keep it from.
    return tf, tfds


def builder_of(name, data_dir=None):
    """TFDS's builder of a data set.

    Args:
        name: string, as TFDS knows it.
        data_dir: optional string, its folder where it is not the usual one.

    Raises:
        GrowthError: there is no such data set.
        ImportError: a library is missing.
    """
    _, tfds = load_tfds()
    try:
        return tfds.builder(name, data_dir=data_dir)
    except (ValueError, tfds.core.DatasetNotFoundError) as error:
        raise GrowthError(
            "TFDS knows no such data set, and there is none in `data_dir`. "
            f"Received: name={name!r}, data_dir={data_dir!r}"
        ) from error
