"""kgrow: grow Keras models into larger ones while they train."""

from kgrow import (
    algebra,
    callbacks,
    datasets,
    hub,
    layers,
    models,
    schedules,
    strategies,
)
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import FileError, GrowthError
from kgrow.algebra.exactness import claims
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.analysis import plots
from kgrow.analysis.comparison.compare import savings
from kgrow.analysis.run_log import Run
from kgrow.architecture.inference.derive_axes import derive
from kgrow.architecture.recipes import ModelBuilder
from kgrow.callbacks.fit_stages import fit
from kgrow.growth import lowering
from kgrow.growth.growable_model import GrowableModel
from kgrow.growth.receipt import Receipt
from kgrow.schedules.advice.advisor import advise

__version__ = "0.1.0"

__all__ = [
    "AxisMap",
    "BlockStack",
    "DepthExpansion",
    "Dim",
    "Expansion",
    "FileError",
    "GrowableModel",
    "GrowthError",
    "ModelBuilder",
    "Plan",
    "Receipt",
    "Run",
    "advise",
    "algebra",
    "callbacks",
    "claims",
    "datasets",
    "derive",
    "fit",
    "hub",
    "layers",
    "lowering",
    "models",
    "plots",
    "savings",
    "schedules",
    "strategies",
]


def __dir__():
    return [*__all__, "__version__"]
