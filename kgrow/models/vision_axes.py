"""The axes of what vision transformers have besides their blocks.

The table of positions has rows and columns, and one dimension stands for both:
larger images have more of each. Colours and the pixels of a patch never grow.
"""

from kgrow.algebra.spec import Dim
from kgrow.models.transformer_axes import stream_dims

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
