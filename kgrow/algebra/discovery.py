"""Finding the classes that the modules of a package register."""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def discover(package: ModuleType) -> None:
    """Imports every module of a package, so that its classes are registered.

    Args:
        package: the imported package.
    """
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def place(cls: type) -> str:
    """Where a class is defined.

    Example:

    >>> from kgrow import Plan
    >>> place(Plan)
    'kgrow.algebra.plan.Plan'
    """
    return f"{cls.__module__}.{cls.__qualname__}"
