"""Callbacks for `fit`."""

from kgrow.callbacks.growth import Growth
from kgrow.callbacks.sub_models import SubModels

__all__ = ["Growth", "SubModels"]
