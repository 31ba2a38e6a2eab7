"""The schedules of papers, by name.

Sizes and steps are the papers', in the fields of `kgrow.models`. Make one
smaller by `scaled()` and `resized()`. Where a paper does not say something,
the docstring of the function says so, and what stands there instead.
"""

from kgrow.schedules import (
    published_decoders,
    published_msg,
    published_stacking,
)
from kgrow.schedules.publishing import get, names

__all__ = [
    "get",
    "names",
    "published_decoders",
    "published_msg",
    "published_stacking",
]
