"""Loading the part of kgrow that needs Keras when Keras is needed."""

from __future__ import annotations

import importlib.abc
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def load_with(names: Iterable[str], load: Callable[[], None]) -> None:
    """Calls `load` as soon as one of some modules has been imported.

    A saved model names its classes, and Keras finds only those registered
    with it. Importing what registers them imports Keras; waiting until Keras,
    or a part of kgrow that needs it, is imported anyway keeps `import kgrow`
    light and leaves the order of the imports free.

    Args:
        names: strings, full names of modules.
        load: function of nothing, called once, at once if one of the modules
            is there already.
    """
    waited = frozenset(names)
    if waited & set(sys.modules):
        load()
    else:
        sys.meta_path.insert(0, _Finder(waited, load))


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules as the other finders do; the first one of `names` that is
    executed takes it off the list, so that those inside are left alone."""

    def __init__(self, names: frozenset[str], load: Callable[[], None]) -> None:
        self._names, self._load = names, load

    def find_spec(
        self,
        name: str,
        path: Sequence[str] | None = None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if name not in self._names:
            return None
        for finder in sys.meta_path:
            if finder is self or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _LoaderThenCall(spec.loader, self._done)
                return spec
        return None

    def _done(self, execute: Callable[[], None]) -> None:
        first = self in sys.meta_path
        if first:
            sys.meta_path.remove(self)
        execute()
        if first:
            self._load()


class _LoaderThenCall(importlib.abc.Loader):
    """Another loader, whose execution of a module is handed to a function."""

    def __init__(
        self, loader: Any, around: Callable[[Callable[[], None]], None]
    ) -> None:
        self._loader, self._around = loader, around

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # Nothing but this call is different from the usual import.
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        module.__loader__ = self._loader
        self._around(lambda: self._loader.exec_module(module))
