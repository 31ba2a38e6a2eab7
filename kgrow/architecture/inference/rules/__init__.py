"""The constraints that each traced operation puts on dimensions.

One rule an operation, or a group of like ones. What no rule is known for pins
all that goes into it: an unknown operation costs freedom, never truth.
"""

from kgrow.architecture.inference.rules import (
    arithmetic,
    contractions,
    elementwise,
    reductions,
    reshaping,
)
from kgrow.architecture.inference.rules.registry import RULES

__all__ = [
    "RULES",
    "arithmetic",
    "contractions",
    "elementwise",
    "reductions",
    "reshaping",
]
