"""Writes what follows from the registries of strategies and of families: what
their packages export, and the entries of the reference.

python -m docs.tools.write_registries
"""

import pathlib
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from docs.tools.write_tables import replace
from kgrow.models import registry as families
from kgrow.strategies import registry as strategies

ROOT = pathlib.Path(__file__).parents[2]
_HEAD = '''"""{summary}

The imports are written by `make registries`.
"""

import sys

'''
_TAIL = """
# A file that is not listed above yet registers what it holds as well.
discover(sys.modules[__name__])
"""


@dataclass(frozen=True)
class Registry:
    """A registry, and what is written of it.

    Args:
        name: string, its package and the marker of its entries.
        page: string, the page of the reference.
        summary: string, the package's docstring.
        tools: dict from modules to the names that the package exports beside
            the registered classes.
        classes: function without arguments to the registered classes.
        title: function of a class to the title that it is listed under.
        titles: tuple of the titles in their order; others come behind them.
    """

    name: str
    page: str
    summary: str
    tools: dict
    classes: Callable
    title: Callable
    titles: tuple

    @property
    def exports_file(self):
        return ROOT / "kgrow" / self.name / "__init__.py"

    @property
    def page_file(self):
        return ROOT / "docs" / "api" / f"{self.page}.md"

    def own(self):
        """The package's own classes, sorted by name."""
        place = f"kgrow.{self.name}."
        inside = [c for c in self.classes() if c.__module__.startswith(place)]
        return sorted(inside, key=lambda cls: cls.__name__.lower())

    def exports(self):
        """The text of the package's `__init__.py`."""
        names = {module: list(found) for module, found in self.tools.items()}
        for cls in self.own():
            names.setdefault(cls.__module__, []).append(cls.__name__)
        every = sum(names.values(), [])
        # Modules are not listed: `configurations as configurations`.
        public = sorted(name for name in every if " as " not in name)
        names["kgrow.algebra.discovery"] = ["discover"]
        lines = [
            f"from {module} import {', '.join(sorted(found))}"
            for module, found in sorted(names.items())
        ]
        listed = "".join(f"    {name!r},\n" for name in public)
        return formatted(
            _HEAD.format(summary=self.summary)
            + "\n".join(lines)
            + f"\n\n__all__ = [\n{listed}]\n{_TAIL}"
        )

    def entries(self, classes=None):
        """The entries of the reference, by title.

        Args:
            classes: optional list of classes; by default the package's own.
        """
        groups = {title: [] for title in self.titles}
        for cls in self.own() if classes is None else classes:
            entry = f"::: kgrow.{self.name}.{cls.__name__}"
            groups.setdefault(self.title(cls), []).append(entry)
        return "\n\n".join(
            "\n\n".join([f"## {title}", *found])
            for title, found in groups.items()
            if found
        )

    def write(self):
        self.exports_file.write_text(self.exports())
        page = replace(self.page_file.read_text(), self.name, self.entries())
        self.page_file.write_text(page)


def _title_of_strategy(cls):
    if cls.registered_name is None or "registered_name" not in vars(cls):
        return "With arguments"
    if cls.needs_data:
        return "Learned"
    if set(cls.grows) == {"width", "depth"}:
        return "Width and depth"
    return "".join(cls.grows).capitalize()


STRATEGIES = Registry(
    "strategies",
    "strategies",
    "Growth strategies: each chooses the matrices of a growth.",
    {
        "kgrow.strategies.base": ["Strategy"],
        "kgrow.strategies.depth_maps": ["DepthMap"],
        "kgrow.strategies.registry": ["get", "names", "register", "serialize"],
        "kgrow.strategies.task": ["Task"],
    },
    strategies.classes,
    _title_of_strategy,
    ("Width", "Depth", "Width and depth", "Learned", "With arguments"),
)
FAMILIES = Registry(
    "models",
    "families",
    "Model families that can be grown.",
    {
        "kgrow.models": ["configurations as configurations"],
        "kgrow.models.example": ["Example"],
        "kgrow.models.family": ["Family"],
        "kgrow.models.network": ["Network"],
        "kgrow.models.registry": ["register", "registered"],
    },
    lambda: families.registered().values(),
    lambda cls: cls.kind.capitalize(),
    ("Text", "Images", "Vectors"),
)
REGISTRIES = (STRATEGIES, FAMILIES)


def formatted(source):
    """A module's text as ruff sorts and breaks it."""
    for command in (["check", "--select", "I", "--fix", "-q"], ["format"]):
        source = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "-"],
            input=source,
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        ).stdout
    return source


def main():
    for registry in REGISTRIES:
        registry.write()


if __name__ == "__main__":
    main()
