"""Vision transformers: the axes around their blocks, and their base class.

The table of positions has rows and columns, and one dimension is used for both:
larger images have more of each. Colours and the pixels of a patch never grow.
"""

import keras
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import Dim
from kgrow.layers import MaskedDense, argument_checks
from kgrow.layers.embeddings.class_token import ClassToken
from kgrow.layers.embeddings.grid_position_embedding import (
    GridPositionEmbedding,
)
from kgrow.layers.embeddings.patch_embedding import PatchEmbedding
from kgrow.models.image_classifier import ImageClassifier
from kgrow.models.transformer import TransformerNetwork, stream_dims

IMAGE_RULES = {
    "patch_embedding/kernel": "_ _ _ -> hidden",
    "patch_embedding/bias": "-> hidden",
    "position_embedding/embeddings": "grid grid -> hidden",
    "class_token/token": "_ _ -> hidden",
    "layer_norm/gamma": "-> hidden | scale",
    "layer_norm/beta": "-> hidden | offset",
    "predictions/kernel": "hidden -> classes",
    "predictions/bias": "-> classes",
}


def image_dims(hidden):
    """The dims of a vision transformer; `hidden` is the kind of its stream."""
    return [
        *stream_dims(hidden),
        Dim("grid", "image_size", kind="lookup"),
        Dim("classes", "num_classes", kind="lookup"),
    ]


class VisionNetwork(ImageClassifier, TransformerNetwork):
    """Base class of vision transformers: patches with positions, a head.

    Images may be smaller than `image_size`: they take the positions of the
    upper left part of the grid.

    Args:
        **kwargs: of `keras.Model`, such as `name` and `dtype`.

    Example:

    >>> from kgrow.models.vit import ViTNetwork
    >>> issubclass(ViTNetwork, VisionNetwork)
    True
    """

    def _set_image_fields(self, head_dim, **fields):
        """Sets the fields that all vision transformers have."""
        self._set_fields(**fields)
        self.head_dim = argument_checks.head_size(
            self.hidden_dim, self.num_heads, head_dim
        )
        if self.image_size % self.patch_size:
            raise GrowthError(
                "`image_size` must be a multiple of `patch_size`. Received: "
                f"image_size={self.image_size}, patch_size={self.patch_size}"
            )

    def _initializer(self):
        return keras.initializers.TruncatedNormal(stddev=0.02)

    def _make_embeddings(self):
        self.patch_embedding = PatchEmbedding(
            self.hidden_dim,
            self.patch_size,
            kernel_initializer=self._initializer(),
            dtype=self.dtype_policy,
            name="patch_embedding",
        )
        self.position_embedding = GridPositionEmbedding(
            self.image_size // self.patch_size,
            embeddings_initializer=self._initializer(),
            dtype=self.dtype_policy,
            name="position_embedding",
        )

    def _build_embeddings(self):
        side = self.image_size
        self.patch_embedding.build((None, side, side, self.num_channels))
        self.position_embedding.build((None, None, None, self.hidden_dim))

    def _token(self, name, has_position):
        return ClassToken(
            has_position,
            initializer=self._initializer(),
            dtype=self.dtype_policy,
            name=name,
        )

    def _head(self, name):
        return MaskedDense(
            self.num_classes,
            kernel_initializer=self._initializer(),
            dtype=self.dtype_policy,
            name=name,
        )

    def _embed(self, images, gate):
        """Patches with their positions, `(batch, patches, features)`."""
        if len(images.shape) != 4 or images.shape[-1] != self.num_channels:
            raise GrowthError(
                "The inputs must be images of shape (batch, height, width, "
                f"{self.num_channels}), channels last. Received: inputs of "
                f"shape {tuple(images.shape)}"
            )
        x = self.patch_embedding(
            ops.cast(images, self.compute_dtype), gate=gate
        )
        x = x + self.position_embedding(x, gate=gate)
        _, rows, columns, features = x.shape
        return ops.reshape(x, (-1, rows * columns, features))
