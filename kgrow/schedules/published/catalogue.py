"""The schedules of papers, by name.

Sizes and steps are the papers', in the fields of `kgrow.models`. Make one
smaller by `scaled()` and `resized()`. Where a paper does not say something,
the docstring of the function says so, and which value is used instead.
"""

from kgrow.schedules.published import decoders, msg, stacking
from kgrow.schedules.published.registry import get, names

__all__ = ["decoders", "get", "msg", "names", "stacking"]
