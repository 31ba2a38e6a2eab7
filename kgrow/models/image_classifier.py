"""Networks from images to logits: their inputs and outputs."""

import keras
import numpy as np

from kgrow.models.network import Network


class ImageClassifier(Network):
    """Base class of networks from images to the logits of classes.

    A subclass has the attributes `image_size`, `num_channels` and
    `num_classes`.

    Args:
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Example:

    >>> import kgrow
    >>> network = kgrow.models.ResNet.small().network
    >>> network.example_inputs(2).shape, network(keras.Input((6, 6, 3))).shape
    ((2, 6, 6, 3), (None, 7))
    """

    def example_inputs(self, batch_size, seed=0):
        """Random images, `(batch_size, image_size, image_size,
        num_channels)`, for comparing outputs."""
        side = self.image_size
        shape = (batch_size, side, side, self.num_channels)
        rng = np.random.default_rng(seed)
        return rng.standard_normal(shape).astype("float32")

    def compute_output_spec(self, inputs, training=None):
        return keras.KerasTensor(
            (inputs.shape[0], self.num_classes), dtype=self.compute_dtype
        )
