"""Images to train on: digits without a download, and TFDS by name.

- `digits`: scikit-learn's, 1,797 of 8 x 8 pixels.
- `tfds:NAME@SPLIT`: `tfds:imagenet2012@train`, with `--data-dir gs://...`.

Each host reads its own images.
"""

import numpy as np

from common.token_data import Rows
from kgrow.algebra.errors import GrowthError
from kgrow.datasets import images
from kgrow.datasets.images import deit_augmentation

AUGMENTATIONS = ("none", "deit")


class ImageSource:
    """Images and labels of one source, labels as rows of numbers.

    Args:
        name: string, see above.
        image_size: int, pixels of a side.
        channels: int, of `digits`.
        augment: `"none"` or `"deit"`, for training.
        data_dir: optional string, TFDS's folder.
        seed: int.
        shard: `(number, of how many)`, which part this host reads.

    Raises:
        GrowthError: there is no such source.
    """

    def __init__(
        self,
        name,
        image_size,
        channels=3,
        augment="none",
        data_dir=None,
        seed=0,
        shard=(0, 1),
    ):
        if name != "digits" and not str(name).startswith("tfds:"):
            raise GrowthError(
                "Data are one of digits, tfds:NAME@SPLIT. Received: "
                f"data={name!r}"
            )
        if name == "digits" and augment != "none":
            raise GrowthError(
                "Digits are not augmented as ImageNet is. Received: "
                f"augment={augment!r}"
            )
        self.name = name
        self.image_size = image_size
        self.channels = channels
        self.augment = augment
        self.data_dir = data_dir
        self.seed = seed
        self.shard = shard

    def batches(
        self,
        batch_size,
        length=None,
        training=True,
        first=0,
        steps=None,
        turn=0,
    ):
        """Batches of this host's part; see `TokenSource.batches()`."""
        del length
        if self.name == "digits":
            data = images.digits(
                batch_size,
                self.image_size,
                one_hot=True,
                channels=self.channels,
                split="train" if training else "test",
                steps=steps,
                seed=self.seed + turn,
                first=first,
            )
            if not training:
                # The last batch would not be whole.
                data.steps = min(
                    steps or len(data), len(data.images) // batch_size
                )
            return Rows(data, batch_size, self.shard)
        name, split = self._split(training)
        number, count = self.shard
        here = batch_size // count
        if not training:
            whole = images.count(name, split, self.data_dir) // here
            steps = min(steps or whole, whole)
        return images.load(
            name,
            here,
            split,
            self.image_size,
            self.data_dir,
            training=training,
            one_hot=True,
            augmentation=self._augmentation(name) if training else None,
            steps=steps,
            seed=self.seed + turn + 1000 * number,
            first=first,
        )

    def _split(self, training):
        """The data set, and the part of its split that is this host's."""
        name, _, split = self.name.removeprefix("tfds:").partition("@")
        split = split or ("train" if training else "validation")
        number, count = self.shard
        if count > 1:
            total = images.count(name, split, self.data_dir)
            if "[" in split:
                raise GrowthError(
                    "Several hosts share a whole split out, not a slice of "
                    f"one. Received: data={self.name!r}"
                )
            ends = np.linspace(0, total, count + 1).astype(int)
            split = f"{split}[{ends[number]}:{ends[number + 1]}]"
        return name, split

    def _augmentation(self, name):
        if self.augment == "none":
            return None
        import tensorflow_datasets as tfds

        info = tfds.builder(name, data_dir=self.data_dir).info
        return deit_augmentation.deit_augmentation(
            info.features["label"].num_classes, self.image_size, seed=self.seed
        )
