"""Whoever adds a strategy or an optimizer's rule writes it and nothing else:
tried from outside the package."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.toy import array, make_inputs, make_model, relative_difference

import kgrow
from kgrow import GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.analysis.preservation import preservation_table
from kgrow.analysis.preservation.completion import completed
from kgrow.growth.optimizer.slot_rules import RULES

ROOT = pathlib.Path(__file__).parents[2]
ROUNDING = tolerance("float32", 64, 16)

once = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)


@pytest.fixture(scope="module")
def outsiders():
    """The module that registers them; forgotten again afterwards."""
    from helpers import outsiders

    from kgrow.strategies.registry import forget

    yield outsiders
    forget("mirror")
    del RULES["Rooted.pull"]
    sys.modules.pop("helpers.outsiders")


# --- a strategy --------------------------------------------------------------

# Two of the files whose cases are all registered strategies.
LAWS = (
    "tests/strategies/test_all.py",
    "tests/strategies/test_preservation.py",
)


# In a process of its own: laws find their cases when they are imported.
_PROGRAM = """
import sys, pytest
options = ["-q", "-n0", "-p", "helpers.outsiders", "-p", "no:cacheprovider"]
options += ["-k", "mirror or Mirror", "-m", "not slow"]
laws = sys.argv[1:]
code = pytest.main([*options, "--collect-only", *laws])
sys.exit(code or pytest.main([*options, laws[0]]))
"""


@once
def test_the_laws_take_a_strategy_in():
    """All have cases of it, and those of the first file hold."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *LAWS],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    for file in LAWS:
        assert f"{file}::" in done.stdout, f"{file} has no case of it"
    assert " passed" in done.stdout


def test_a_strategy_is_found(outsiders):
    assert {"mirror", "looking_glass"} <= set(strategies.names())
    one = strategies.get("looking_glass")
    assert one == outsiders.Mirror() and one.name == "mirror"
    config = strategies.serialize(outsiders.Mirror(0.5))
    assert strategies.get(config) == outsiders.Mirror(0.5)


@once
def test_the_table_takes_a_strategy_in(outsiders):
    table = preservation_table(
        ["mirror", outsiders.Mirror(0.5)],
        ["pre-LN"],
        ["ffn", "depth"],
        ["multiple"],
        ["float64"],
    )
    assert [(row.strategy, row.verdict) for row in table.rows] == [
        ("mirror", "exact"),
        ("Mirror(share=0.5)", "exact"),
        ("mirror", "refuses"),
        ("Mirror(share=0.5)", "refuses"),
    ]


def test_a_strategy_is_completed_by_what_it_says(outsiders):
    model = make_model("MLP")
    wider = {**model.growth_config, "num_layers": 3, "intermediate_dim": 20}
    spec = model.architecture.build(wider)[1]
    both = completed("mirror", model.architecture.spec, spec)
    assert both == strategies.Combine("mirror", "stack")
    assert both.grows == {"width", "depth"}


def test_a_model_grows_saves_and_loads_by_it(outsiders, tmp_path):
    model = make_model("MLP")
    x = make_inputs(model)
    before = array(model(x))
    receipt = model.grow({"intermediate_dim": 20}, "mirror", seed=0)
    assert receipt.exact
    assert relative_difference(array(model(x)), before) <= ROUNDING
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.growth_history == model.growth_history
    np.testing.assert_array_equal(array(loaded(x)), array(model(x)))


# --- a rule for an optimizer's slot -------------------------------------------


def grown_with(optimizer):
    model = make_model("MLP")
    model.compile(optimizer, "mse")
    x = make_inputs(model)
    y = np.zeros(array(model(x)).shape, "float32")
    model.train_on_batch(x, y)
    model.grow({"intermediate_dim": 20}, seed=0)
    model.train_on_batch(x, y)
    return model


def test_a_slot_grows_by_its_rule(outsiders):
    model = grown_with(outsiders.Rooted(0.01))
    shapes = [v.shape for v in model.trainable_variables]
    assert [v.shape for v in model.optimizer.pull] == shapes
    assert int(model.optimizer.iterations) == 2


def test_a_slot_without_a_rule_says_how_to_write_one(outsiders, monkeypatch):
    monkeypatch.delitem(RULES, "Rooted.pull")
    with pytest.raises(GrowthError, match="register_slot_rule"):
        grown_with(outsiders.Rooted(0.01))


@pytest.mark.parametrize(
    "slot, rule", [("pull", RULES["_m"]), ("Rooted.pull", 1)]
)
def test_a_rule_is_checked(slot, rule):
    with pytest.raises(GrowthError, match="Received"):
        kgrow.growth.optimizer.slot_rules.register_slot_rule(slot, rule)


# --- what is written from the registries --------------------------------------


@once
def test_exports_and_pages_are_as_the_registries_say():
    """`make registries` writes them."""
    from docs.tools import write_registries as tool
    from docs.tools.write_tables import read

    assert tool.EXPORTS.read_text() == tool.exports()
    assert read(tool.PAGE.read_text(), "strategies") == tool.entries()
