"""Adding a strategy, a family, an optimizer's rule or a callback takes its own
file and nothing else: tried from outside the package."""

import inspect
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.toy import (
    array,
    make_inputs,
    make_model,
    make_targets,
    relative_difference,
)

import kgrow
from kgrow import GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.analysis.preservation import preservation_table
from kgrow.analysis.preservation.completion import completed
from kgrow.growth.optimizer.slot_rules import RULES
from kgrow.models.registry import forget as forget_family

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


# Files whose cases are all registered strategies or families, and the words
# by which their cases name those from outside.
LAWS = {
    "tests/strategies/test_all.py": ("mirror",),
    "tests/models/test_families.py": ("Perceptron",),
    "tests/algebra/test_spec.py": ("Perceptron",),
    "tests/algebra/test_plan.py": ("mirror", "Perceptron"),
    "tests/strategies/test_preservation.py": ("mirror", "Perceptron"),
}
# Those that are run as well.
RUN = (*LAWS,)[:3]


# In a process of its own: laws find their cases when they are imported.
_PROGRAM = """
import sys, pytest

class Some:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items):
        print(*(item.nodeid for item in items), sep="\\n")
        run = tuple(sys.argv[1].split())
        items[:] = [item for item in items if item.nodeid.startswith(run)]

options = ["-q", "-n0", "-p", "no:cacheprovider", "-m", "not slow"]
options += ["-p", "helpers.outsiders", "-p", "helpers.outsider_family"]
options += ["-k", "mirror or Mirror or Perceptron"]
sys.exit(pytest.main([*options, *sys.argv[2:]], plugins=[Some()]))
"""


@once
def test_the_laws_take_in_what_is_registered_outside():
    """All have cases of it, and those of the first files hold."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, " ".join(RUN), *LAWS],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    cases = [line for line in done.stdout.splitlines() if "::" in line]
    for file, words in LAWS.items():
        for word in words:
            found = [c for c in cases if c.startswith(file) and word in c]
            assert found, f"{file} has no case of {word}"
    assert " passed" in done.stdout


# --- a strategy --------------------------------------------------------------


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


# --- a family ----------------------------------------------------------------


@pytest.fixture(scope="module")
def perceptron():
    """The family; forgotten again afterwards."""
    from helpers.outsider_family import Perceptron

    yield Perceptron
    forget_family("Perceptron")
    sys.modules.pop("helpers.outsider_family")


@once
def test_a_family_has_the_arguments_of_its_network(perceptron):
    parameters = inspect.signature(perceptron).parameters
    assert [*parameters] == [
        "num_features",
        "num_units",
        "num_outputs",
        "name",
        "dtype",
    ]
    assert parameters["num_outputs"].default == 2
    model = perceptron(3, 4, 1, "mine")
    assert model.name == "mine" and model.network.num_outputs == 1
    for wrong, message in (
        ({"num_units": 4}, "missing a required argument: 'num_features'"),
        ({**perceptron.example.sizes, "gates": ()}, "keyword argument 'gates'"),
    ):
        with pytest.raises(TypeError, match=rf"Perceptron\(\).*{message}"):
            perceptron(**wrong)


def test_a_family_grows_saves_and_loads(perceptron, tmp_path):
    model = perceptron.small()
    x = make_inputs(model)
    before = array(model(x))
    assert model.grow(perceptron.example.exact, seed=0).exact
    assert relative_difference(array(model(x)), before) <= ROUNDING
    model.grow({"num_units": 9}, strategies.MSG(ramp=4), seed=0)
    (gate, _), *_ = model.active_gates
    assert set(gate.units) == {"units"}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded) is perceptron
    assert loaded.get_config() == model.get_config()
    np.testing.assert_array_equal(array(loaded(x)), array(model(x)))


@once
def test_golden_files_are_written_for_a_family(perceptron, tmp_path):
    from golden import check_golden, write_golden

    write_golden.write("Perceptron", tmp_path)
    check_golden.check_files("Perceptron", tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        f"Perceptron{ending}" for ending in write_golden.ENDINGS
    }


@once
def test_the_reference_takes_a_family_in(perceptron):
    from docs.tools.write_registries import FAMILIES

    assert perceptron in FAMILIES.classes()
    assert FAMILIES.entries([perceptron]) == (
        "## Vectors\n\n::: kgrow.models.Perceptron"
    )
    assert perceptron not in FAMILIES.own()


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


# --- a callback --------------------------------------------------------------


@once
def test_a_callback_finds_its_state_again(outsiders, tmp_path):
    """After a growth, in a file, and when a fit goes on."""
    model = make_model("MLP")
    model.compile("sgd", "mse")
    x = make_inputs(model)
    y = make_targets(model, x)
    callback = outsiders.SmoothedLoss()
    model.fit(x, y, callbacks=[callback], verbose=0)
    model.grow({"intermediate_dim": 20}, seed=0)
    state = dict(model.callback_state)
    assert state["smoothed_loss"] > 0
    model.save_weights(tmp_path / "some.weights.h5")
    again = make_model("MLP")
    again.compile("sgd", "mse")
    again.load_weights(tmp_path / "some.weights.h5")
    assert again.callback_state == state
    again.fit(x, y, callbacks=[callback], verbose=0)
    assert 0 < again.callback_state["smoothed_loss"] != state["smoothed_loss"]


# --- what is written from the registries --------------------------------------


@once
def test_exports_and_pages_are_as_the_registries_say():
    """`make registries` writes them."""
    from docs.tools.write_registries import REGISTRIES
    from docs.tools.write_tables import read

    for registry in REGISTRIES:
        assert registry.exports_file.read_text() == registry.exports()
        page = registry.page_file.read_text()
        assert read(page, registry.name) == registry.entries()


@once
def test_the_reference_shows_the_arguments_of_families():
    """It is made from the sources, which say them once, in the network."""
    from docs.tools.write_registries import FAMILIES

    griffe = pytest.importorskip("griffe")
    tool = griffe.load_extensions(ROOT / "docs/tools/family_signatures.py")
    sources = griffe.load("kgrow", search_paths=[ROOT], extensions=tool)
    for cls in FAMILIES.own():
        path = f"{cls.__module__}.{cls.__name__}".removeprefix("kgrow.")
        shown = [p.name for p in sources[path].parameters]
        assert shown == ["self", *inspect.signature(cls).parameters]
