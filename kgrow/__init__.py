"""kgrow: grow Keras models into larger ones while they train.

`import kgrow` is light. The algebra, the strategies and `kgrow.hf` work without
Keras; everything else is loaded together, when a part of it is first used or
when Keras is imported, so that Keras finds the classes of saved files whichever
of the two is imported first.
"""

import importlib
from typing import TYPE_CHECKING

from kgrow.algebra.errors import FileError, GrowthError
from kgrow.algebra.import_hook import load_with
from kgrow.algebra.lazy_keras import register_serializable

if TYPE_CHECKING:  # for editors, type checkers and the API pages
    from kgrow import (
        algebra,
        callbacks,
        datasets,
        hf,
        hub,
        layers,
        models,
        schedules,
        strategies,
    )
    from kgrow.algebra.axis_map import AxisMap
    from kgrow.algebra.depth_expansion import DepthExpansion
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

__version__ = "0.2.0"

# Modules that work without Keras.
_LIGHT = ("algebra", "hf", "strategies")

# Packages that need Keras.
_KERAS_SIDE = (
    "backend",
    "layers",
    "architecture",
    "growth",
    "models",
    "hub",
    "analysis",
    "schedules",
    "callbacks",
    "datasets",
)

# Public modules inside packages, and other names with the module they are in.
_MODULES = {"lowering": "growth.lowering", "plots": "analysis.plots"}
_HOMES = {
    "AxisMap": "algebra.axis_map",
    "BlockStack": "algebra.spec",
    "DepthExpansion": "algebra.depth_expansion",
    "Dim": "algebra.spec",
    "Expansion": "algebra.expansion",
    "GrowableModel": "growth.growable_model",
    "ModelBuilder": "architecture.recipes",
    "Plan": "algebra.plan",
    "Receipt": "growth.receipt",
    "Run": "analysis.run_log",
    "advise": "schedules.advice.advisor",
    "claims": "algebra.exactness",
    "derive": "architecture.inference.derive_axes",
    "fit": "callbacks.fit_stages",
    "savings": "analysis.comparison.compare",
}

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
    "hf",
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


def __getattr__(name):
    home = _HOMES.get(name, "")
    if name in _LIGHT:
        found = importlib.import_module(f"kgrow.{name}")
    elif home.startswith("algebra."):
        found = getattr(importlib.import_module(f"kgrow.{home}"), name)
    elif name in __all__:
        _load()
        found = globals()[name]
    else:
        raise AttributeError(f"module 'kgrow' has no attribute {name!r}")
    globals()[name] = found
    return found


def _load():
    """Loads every public name, and registers all classes with Keras."""
    register_serializable()
    for module in (*_LIGHT, *_KERAS_SIDE):
        globals()[module] = importlib.import_module(f"kgrow.{module}")
    for name, home in _MODULES.items():
        globals()[name] = importlib.import_module(f"kgrow.{home}")
    for name, home in _HOMES.items():
        module = importlib.import_module(f"kgrow.{home}")
        globals()[name] = getattr(module, name)


load_with(("keras", *(f"kgrow.{name}" for name in _KERAS_SIDE)), _load)
