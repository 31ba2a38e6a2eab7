"""What the package promises as a whole: light, public, layered."""

import ast
import functools
import importlib
import json
import pathlib
import re
import subprocess
import sys
import tomllib

import keras
import pytest

import kgrow

pytestmark = pytest.mark.once

ROOT = pathlib.Path(kgrow.__file__).parent

# A package imports from itself and from those before it.
ORDER = (
    "algebra < backend < layers < strategies < hf < architecture < growth "
    "< models < hub < analysis < schedules < callbacks < datasets"
).split(" < ")

# They meet in `growth`, and nowhere else.
STRANGERS = (("strategies", "models"), ("models", "strategies"))

HEAVY = {
    "jax",
    "keras_hub",
    "matplotlib",
    "pandas",
    "sklearn",
    "tensorflow",
    "tensorflow_datasets",
    "torch",
}


def _modules():
    """Every module's name below `kgrow.`, with its file."""
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        if name:
            yield name, path


MODULES = dict(_modules())


@functools.cache
def _imports(path):
    """Names below `kgrow.` that a file imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "kgrow":
                module = rest if rest in MODULES else rest.rpartition(".")[0]
                found.append(module)
    return tuple(found)


def _package(name):
    return name.partition(".")[0]


def test_every_package_has_its_place():
    assert {_package(name) for name in MODULES} == set(ORDER)
    assert [p.name for p in ROOT.glob("*.py")] == ["__init__.py"]


def test_the_design_page_has_the_same_packages_in_the_same_order():
    page = (ROOT.parent / "docs" / "design.md").read_text()
    section = page.partition("## 4. The house")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)/` \|", section, re.M) == list(ORDER)


def test_imports_run_one_way():
    against = []
    for name, path in MODULES.items():
        here = ORDER.index(_package(name))
        for imported in _imports(path):
            if imported not in MODULES:
                against.append(f"{name} imports `{imported}`: no such module")
            elif ORDER.index(_package(imported)) > here:
                against.append(f"{name} imports {imported}")
    assert not against, "\n".join(against)


def test_strategies_and_models_do_not_know_each_other():
    acquainted = [
        f"{name} imports {imported}"
        for name, path in MODULES.items()
        for imported in _imports(path)
        if (_package(name), _package(imported)) in STRANGERS
    ]
    assert not acquainted, "\n".join(acquainted)


def test_what_keras_does_not_promise_is_used_in_one_place():
    """`keras.src` of a backend in its own file, the rest in one."""
    found = set()
    for name, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = [alias.name for alias in node.names]
                names.append(getattr(node, "module", None) or "")
                if any(n.startswith("keras.src") for n in names):
                    found.add(name)
    assert found == {"backend.keras_internals", "backend.torch"}


def _writes_past_setattr(node):
    """Whether a node changes `vars(...)` of something."""
    if isinstance(node, ast.Subscript):
        changed = isinstance(node.ctx, ast.Store | ast.Del)
    elif isinstance(node, ast.Attribute):
        changed = node.attr in ("clear", "pop", "setdefault", "update")
    else:
        return False
    call = node.value
    name = getattr(getattr(call, "func", None), "id", None)
    return changed and name == "vars"


def test_attributes_are_written_past_keras_in_one_place():
    found = {
        name
        for name, path in MODULES.items()
        if any(map(_writes_past_setattr, ast.walk(ast.parse(path.read_text()))))
    }
    assert found == {"backend.keras_internals"}


def test_public_names_can_be_imported():
    assert kgrow.__all__ == sorted(set(kgrow.__all__), key=kgrow.__all__.index)
    for name in kgrow.__all__:
        assert hasattr(kgrow, name), name


@pytest.mark.each
def test_listed_names_exist():
    missing = []
    for name in MODULES:
        module = importlib.import_module(f"kgrow.{name}")
        listed = getattr(module, "__all__", ())
        missing += [f"{name}.{n}" for n in listed if not hasattr(module, n)]
    assert not missing, "\n".join(missing)


def test_version_is_the_package_s():
    pyproject = tomllib.loads((ROOT.parent / "pyproject.toml").read_text())
    assert kgrow.__version__ == pyproject["project"]["version"]


@pytest.fixture(scope="module")
def imported():
    """Modules that a process has after importing Keras, and after kgrow."""
    code = (
        "import json, sys, keras; before = sorted(sys.modules); import kgrow; "
        "print(json.dumps([before, sorted(sys.modules)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT.parent,
    )
    return map(set, json.loads(done.stdout))


@pytest.mark.each
def test_importing_brings_nothing_heavy(imported):
    """Nothing beyond what Keras itself imports on this backend, and on JAX and
    torch never TensorFlow, and so on."""
    before, after = imported
    new = {name.partition(".")[0] for name in after - before}
    backend = keras.backend.backend()
    assert "kgrow" in new
    assert not new & (HEAVY - {backend})
    assert not after & ({"tensorflow", "torch"} - {backend})
