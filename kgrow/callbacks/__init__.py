"""Callbacks for `fit`."""

from kgrow.callbacks.sub_models import SubModels

__all__ = ["SubModels"]
