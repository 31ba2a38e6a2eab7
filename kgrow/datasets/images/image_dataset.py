"""Arrays of images in an order that depends on a seed alone."""

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.layers import argument_checks


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
            its number, such as
            `kgrow.datasets.images.deit_augmentation.deit_augmentation()` gives.
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
        argument_checks.integer("batch_size", batch_size)
        argument_checks.integer("first", first, 0)
        if steps is not None:
            argument_checks.integer("steps", steps)
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
