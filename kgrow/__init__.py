"""kgrow: grow Keras models into larger ones while they train."""

from kgrow import callbacks, hub, layers, models, schedules, strategies
from kgrow.advice import Advice, advise
from kgrow.axes import Axes
from kgrow.axis_map import AxisMap
from kgrow.derivation import derive
from kgrow.errors import FileError, GrowthError
from kgrow.expansion import Expansion
from kgrow.fitting import fit
from kgrow.growth_log import GrowthLog
from kgrow.laws import Claim, claims
from kgrow.maps import Dense, Gather
from kgrow.mixing import Mixing
from kgrow.model import GrowableModel
from kgrow.opening import Opening
from kgrow.plan import Plan
from kgrow.ramps import Ramp
from kgrow.receipt import Receipt
from kgrow.recipes import Blueprint
from kgrow.run_file import Run
from kgrow.savings import savings
from kgrow.savings_result import Savings
from kgrow.spec import Dim, ModelSpec, Stack, VariableSpec
from kgrow.term import Fresh, Term
from kgrow.tolerance import tolerance

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
