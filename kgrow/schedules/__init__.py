"""Growth schedules: when a model grows, into what, and how."""

from kgrow.schedules.adaptive import Adaptive
from kgrow.schedules.bounds import Epochs, Tokens
from kgrow.schedules.learning_rate import (
    Asymmetric,
    Constant,
    Keep,
    LearningRatePolicy,
    Reset,
    Rewarm,
    Rewind,
)
from kgrow.schedules.published import get, names
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.search import search
from kgrow.schedules.search_result import Search
from kgrow.schedules.stage import Stage
from kgrow.schedules.timing import growth_tokens
from kgrow.schedules.triggers import (
    LossSlope,
    Plateau,
    Rate,
    Trigger,
    loss_slope,
)

__all__ = [
    "Adaptive",
    "Asymmetric",
    "Constant",
    "Epochs",
    "GrowthSchedule",
    "Keep",
    "LearningRatePolicy",
    "LossSlope",
    "Plateau",
    "Rate",
    "Reset",
    "Rewarm",
    "Rewind",
    "Search",
    "Stage",
    "Tokens",
    "Trigger",
    "get",
    "growth_tokens",
    "loss_slope",
    "names",
    "search",
]
