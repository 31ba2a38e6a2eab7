"""Growth schedules: when a model grows, into what, and how."""

from kgrow.schedules.adaptive.controller import Adaptive
from kgrow.schedules.grid_search.result import Search
from kgrow.schedules.grid_search.run_search import search
from kgrow.schedules.learning_rate.apply_policies import (
    Asymmetric,
    Constant,
    Keep,
    LearningRatePolicy,
    Reset,
    Rewarm,
    Rewind,
    Transfer,
)
from kgrow.schedules.published.catalogue import get, names
from kgrow.schedules.published.growth_timing import growth_tokens
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.stage import Stage
from kgrow.schedules.stage_bounds import Epochs, Tokens
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
    "Transfer",
    "Trigger",
    "get",
    "growth_tokens",
    "loss_slope",
    "names",
    "search",
]
