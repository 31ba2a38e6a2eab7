"""Each backend implements the whole contract, and nothing beside it."""

import ast
import importlib
import inspect
import sys
import types

import keras
import pytest

from kgrow import backend
from kgrow.backend.contract import Backend

CONTRACT = {
    name: member
    for name, member in vars(Backend).items()
    if not name.startswith("_")
}


@pytest.fixture(params=backend.BACKENDS)
def kind(request):
    pytest.importorskip(request.param)
    module = importlib.import_module(f"kgrow.backend.{request.param}")
    return getattr(module, backend.BACKENDS[request.param])


def test_a_backend_implements_the_contract(kind):
    assert issubclass(kind, Backend)
    assert not kind.__abstractmethods__


def test_a_backend_has_no_other_public_names(kind):
    assert {n for n in dir(kind) if not n.startswith("_")} == set(CONTRACT)


def test_a_backend_takes_the_arguments_of_the_contract(kind):
    for name, member in CONTRACT.items():
        if callable(member):
            wanted = inspect.signature(member).parameters
            found = inspect.signature(getattr(kind, name)).parameters
            assert list(found) == list(wanted), name


def test_every_method_says_what_it_does():
    for name, member in CONTRACT.items():
        assert not callable(member) or member.__doc__, name


def test_the_package_has_every_name_of_the_contract():
    for name in CONTRACT:
        assert getattr(backend, name) == getattr(backend.current, name)
    tree = ast.parse(inspect.getsource(backend))
    bound = {
        node.targets[0].id
        for node in tree.body
        if isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Attribute)
    }
    assert bound == set(CONTRACT)


def test_the_backend_in_use_is_the_one_of_keras():
    wanted = backend.BACKENDS[keras.backend.backend()]
    assert type(backend.current).__name__ == wanted


def test_another_backend_is_refused():
    with pytest.raises(ImportError, match="Received: 'openvino'"):
        backend.load("openvino")


def test_an_incomplete_backend_names_what_is_missing():
    class Partial(Backend):
        def sync(self, model):
            del model

    with pytest.raises(TypeError, match="abstract.*forward.*gradient"):
        Partial()


def test_an_added_backend_is_one_file_and_one_line(monkeypatch):
    """A copy of the present one under another name is found by its line."""
    module = types.ModuleType("kgrow.backend.mirrored")
    module.MirroredBackend = type(
        "MirroredBackend", (type(backend.current),), {}
    )
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(backend.BACKENDS, "mirrored", "MirroredBackend")
    assert isinstance(backend.load("mirrored"), Backend)
