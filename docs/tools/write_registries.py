"""Writes what follows from the registry of strategies: what
`kgrow.strategies` exports, and the entries of the reference.

python -m docs.tools.write_registries
"""

import pathlib
import subprocess
import sys

from docs.tools.write_tables import replace
from kgrow.strategies import registry

ROOT = pathlib.Path(__file__).parents[2]
EXPORTS = ROOT / "kgrow" / "strategies" / "__init__.py"
PAGE = ROOT / "docs" / "api" / "strategies.md"

# What the package exports besides the strategies.
_TOOLS = {
    "kgrow.strategies.base": ["Strategy"],
    "kgrow.strategies.depth_maps": ["DepthMap"],
    "kgrow.strategies.registry": ["get", "names", "register", "serialize"],
    "kgrow.strategies.task": ["Task"],
}
_HEAD = '''"""Growth strategies: each chooses the matrices of a growth.

The imports are written by `make registries`.
"""

'''
_TAIL = """
# A file that is not listed above yet registers what it holds as well.
discover(sys.modules[__name__])
"""
_GROUPS = ("Width", "Depth", "Width and depth", "Learned", "With arguments")


def strategies():
    """The package's own strategies, sorted by name."""
    inside = [c for c in registry.classes() if _is_inside(c)]
    return sorted(inside, key=lambda cls: cls.__name__.lower())


def _is_inside(cls):
    return cls.__module__.startswith("kgrow.strategies.")


def exports():
    """The text of `kgrow/strategies/__init__.py`."""
    names = {module: list(found) for module, found in _TOOLS.items()}
    for cls in strategies():
        names.setdefault(cls.__module__, []).append(cls.__name__)
    public = sorted(sum(names.values(), []))
    names["kgrow.strategies.registry"].append("discover")
    lines = [
        f"from {module} import {', '.join(sorted(found))}"
        for module, found in sorted(names.items())
    ]
    listed = "".join(f"    {name!r},\n" for name in public)
    return formatted(
        f"{_HEAD}import sys\n\n" + "\n".join(lines) + "\n\n"
        f"__all__ = [\n{listed}]\n{_TAIL}"
    )


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


def entries():
    """The entries of the reference, under what each strategy grows."""
    groups = {title: [] for title in _GROUPS}
    for cls in strategies():
        groups[_group(cls)].append(f"::: kgrow.strategies.{cls.__name__}")
    return "\n\n".join(
        "\n\n".join([f"## {title}", *found])
        for title, found in groups.items()
        if found
    )


def _group(cls):
    if cls.registered_name is None or "registered_name" not in vars(cls):
        return "With arguments"
    if cls.needs_data:
        return "Learned"
    if set(cls.grows) == {"width", "depth"}:
        return "Width and depth"
    return "".join(cls.grows).capitalize()


def main():
    EXPORTS.write_text(exports())
    PAGE.write_text(replace(PAGE.read_text(), "strategies", entries()))


if __name__ == "__main__":
    main()
