"""Real images: scikit-learn's digits without a download, and TFDS by name.

Both give a stream whose order depends on a seed alone. For training it is
endless: say how many batches make an epoch, and a run that was cut into other
epochs, or broken off and resumed with `first`, sees the same images in the
same order. Other splits are read once, in their order.
"""

from kgrow.datasets.images.image_dataset import ImageDataset
from kgrow.datasets.images.sklearn_digits import digits, digits_arrays
from kgrow.datasets.images.tfds_images import (
    CROPS,
    DEFAULT_SIZE,
    IMAGENET,
    STATISTICS,
    count,
    load,
    statistics,
)

__all__ = [
    "CROPS",
    "DEFAULT_SIZE",
    "IMAGENET",
    "STATISTICS",
    "ImageDataset",
    "count",
    "digits",
    "digits_arrays",
    "load",
    "statistics",
]
