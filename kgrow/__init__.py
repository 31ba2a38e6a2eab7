"""kgrow: grow Keras models into larger ones while they train."""

from kgrow import callbacks, hub, layers, models, schedules, strategies
from kgrow.algebra.axes import Axes
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.depth_expansion import Mixing
from kgrow.algebra.errors import FileError, GrowthError
from kgrow.algebra.exactness import Claim, claims
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.gate import Opening
from kgrow.algebra.linear_maps import Dense, Gather
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import Fresh, Term
from kgrow.algebra.ramp import Ramp
from kgrow.algebra.rounding import tolerance
from kgrow.algebra.spec import Dim, ModelSpec, Stack, VariableSpec
from kgrow.analysis.comparison.compare import savings
from kgrow.analysis.comparison.report import Savings
from kgrow.analysis.run_log import Run
from kgrow.architecture.inference.derive_axes import derive
from kgrow.architecture.recipes import Blueprint
from kgrow.callbacks.fit_stages import fit
from kgrow.growth.growable_model import GrowableModel
from kgrow.growth.log_callback import GrowthLog
from kgrow.growth.receipt import Receipt
from kgrow.schedules.advice.advisor import Advice, advise

__version__ = "0.1.0"

__all__ = [
    "Advice",
    "Axes",
    "AxisMap",
    "Blueprint",
    "Claim",
    "Dense",
    "Dim",
    "Expansion",
    "FileError",
    "Fresh",
    "Gather",
    "GrowableModel",
    "GrowthError",
    "GrowthLog",
    "Mixing",
    "ModelSpec",
    "Opening",
    "Plan",
    "Ramp",
    "Receipt",
    "Run",
    "Savings",
    "Stack",
    "Term",
    "VariableSpec",
    "advise",
    "callbacks",
    "claims",
    "derive",
    "fit",
    "hub",
    "layers",
    "models",
    "savings",
    "schedules",
    "strategies",
    "tolerance",
]
