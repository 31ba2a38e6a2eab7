"""Networks that are defined in a script or a notebook are read as text."""

import json
import linecache
import os
import subprocess
import sys
import textwrap

import keras
import pytest
from helpers.paths import REPOSITORY

from kgrow import GrowableModel, GrowthError, ModelBuilder
from kgrow.architecture.inference.main_source import definition, module_of

pytestmark = pytest.mark.once

CELL = """
import keras
from keras.layers import Dense
from math import prod as product

RATIO = 2
handle = object()

def activation(x):
    return keras.ops.tanh(x)

@keras.saving.register_keras_serializable("main_source")
def build(units, drop=0.0):
    return keras.Sequential([
        keras.Input((4,)),
        Dense(product([units, RATIO]), activation, name="inner"),
        keras.layers.Dropout(drop, name="drop"),
        keras.layers.Dense(3, name="outer"),
    ])

class Network(keras.Model):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.inner = build(units)

def stuck():
    return handle
"""


@pytest.fixture
def cell():
    """The variables of a module that a cell was run in."""
    name = "<cell 1>"
    linecache.cache[name] = (len(CELL), None, CELL.splitlines(True), name)
    scope = {"__name__": "__main__of_a_notebook"}
    exec(compile(CELL, name, "exec"), scope)
    yield scope
    del linecache.cache[name]


def test_the_text_makes_the_same_network(cell):
    module = module_of(definition("build", cell))
    made, own = module.build(3), cell["build"](3)
    assert [w.shape for w in made.weights] == [w.shape for w in own.weights]
    assert not hasattr(module, "handle")
    assert module_of(definition("Network", cell)).Network(3).inner.built


def test_what_text_cannot_tell_of_is_named(cell):
    with pytest.raises(GrowthError, match="'handle' is used by what builds"):
        definition("stuck", cell)
    lost = {"__name__": "here", "f": eval("lambda: 0", {"__name__": "here"})}
    with pytest.raises(GrowthError, match="The text of 'f' cannot be found"):
        definition("f", lost)


SCRIPT = """
import keras
import kgrow

WIDTH = 4

def build(units, drop, activation):
    return keras.Sequential([
        keras.Input((WIDTH,)),
        keras.layers.Dense(units, activation, name="inner"),
        keras.layers.Dropout(drop, name="drop"),
        keras.layers.Dense(3, name="outer"),
    ])

if __name__ == "__main__":
    builder = kgrow.ModelBuilder(
        build, {"units": 6, "drop": 0.5, "activation": "relu"}
    )
    model = kgrow.GrowableModel(builder)
    receipt = model.grow({"units": 9})
    print(receipt.exact, model.growth_config)
"""


@pytest.mark.slow
def test_a_script_on_another_backend_than_jax(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    done = subprocess.run(
        [sys.executable, script],
        env={
            **os.environ,
            "KERAS_BACKEND": keras.backend.backend(),
            "KERAS_HOME": str(tmp_path),
            "PYTHONPATH": str(REPOSITORY),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.endswith("True {'units': 9}\n"), done.stderr


@keras.saving.register_keras_serializable("main_source")
def with_options(units, drop, activation, shape, names):
    layers = [
        keras.Input(tuple(shape)),
        keras.layers.Dense(units, activation, name=names["inner"]),
        keras.layers.Dropout(drop, name="drop"),
        keras.layers.Dense(3, name="outer"),
    ]
    return keras.Sequential(layers)


AXES = {
    "inner/kernel": "_ -> units",
    "inner/bias": "-> units",
    "outer/kernel": "units -> _",
    "outer/bias": "-> _",
}
FIXED = {"drop": 0.1, "shape": (4,), "names": {"inner": "inner"}}


def test_arguments_that_are_no_sizes_are_fixed(tmp_path):
    builder = ModelBuilder(
        with_options, {"units": 6, "activation": "relu", **FIXED}
    )
    model = GrowableModel(builder, AXES)
    assert model.grow({"units": 9}).exact
    assert model.growth_config == {"units": 9}
    with pytest.raises(GrowthError, match="Cannot grow `drop`"):
        model.grow({"drop": 0.2})
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("drop").rate == 0.1
    json.dumps(builder.source())


def test_an_argument_that_no_file_holds_is_refused_when_saving(tmp_path):
    builder = ModelBuilder(
        with_options, {"units": 6, "activation": keras.ops.tanh, **FIXED}
    )
    model = GrowableModel(builder, AXES)
    assert model.grow({"units": 9}).exact
    with pytest.raises(GrowthError, match=r"config\['activation'\]"):
        model.save(tmp_path / "model.keras")
    assert not (tmp_path / "model.keras").exists()
