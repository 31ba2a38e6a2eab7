"""Networks of the user's own grow without a line about their axes."""

import sys
import types

import keras
import numpy as np
import pytest
from helpers import custom_models
from helpers.toy import array, randomize, relative_difference

import kgrow
from kgrow import GrowthError
from kgrow.algebra import tolerance
from kgrow.architecture.inference import cache

pytestmark = pytest.mark.compiles

ROUNDING = tolerance("float32", 64, 8)
IDS = keras.KerasTensor((2, 6), "int32")


@pytest.fixture(autouse=True, scope="module")
def _fresh_cache(tmp_path_factory):
    """What is derived here is derived here, and once."""
    patch = pytest.MonkeyPatch()
    patch.setenv("KERAS_HOME", str(tmp_path_factory.mktemp("keras")))
    yield
    patch.undo()


def tagger():
    network = custom_models.Tagger(2, 8, 10, 5, name="tagger")
    axes = kgrow.derive(network, inputs=IDS)
    return kgrow.GrowableModel(randomize(network), axes=axes)


def blueprint():
    plan = kgrow.ModelBuilder(custom_models.build, {"units": 6, "width": 4})
    return randomize(kgrow.GrowableModel(plan))


def test_a_class_grows_by_its_config():
    model = tagger()
    assert model.growth_config == {
        "num_layers": 2,
        "width": 8,
        "inner": 10,
        "num_tags": 5,
    }
    x = np.arange(12).reshape(2, 6)
    before = array(model(x))
    target = {"width": 11, "inner": 13, "num_layers": 4}
    receipt = model.grow(target, "lemon", probe=x, seed=0)
    assert receipt.exact and model.growth_config["num_layers"] == 4
    assert relative_difference(array(model(x)), before) <= ROUNDING


def test_new_tags_leave_the_old_ones_in_place():
    model, x = tagger(), np.arange(12).reshape(2, 6)
    before = array(model(x))
    model.grow({"num_tags": 9}, probe=x, seed=0)
    after = array(model(x))
    assert after.shape[-1] == 9
    assert relative_difference(after[..., :5], before) <= ROUNDING


@pytest.mark.compiles
def test_a_class_trains_grows_saves_and_loads(tmp_path):
    model = tagger()
    x = np.arange(24).reshape(4, 6) % 20
    model.compile("adam", "mse")
    y = np.zeros((4, 6, 5), "float32")
    model.fit(x, y, verbose=0)
    model.grow({"width": 16}, probe=x, seed=0)
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "tagger.keras")
    loaded = keras.models.load_model(tmp_path / "tagger.keras")
    np.testing.assert_array_equal(array(loaded(x)), array(model(x)))
    loaded.grow({"num_layers": 3}, "identity", probe=x, seed=0)


@pytest.mark.slow
def test_a_function_is_called_again():
    model = blueprint()
    x = np.random.default_rng(0).standard_normal((3, 8)).astype("float32")
    before = array(model(x))
    receipt = model.grow({"units": 9, "width": 7}, seed=0)
    assert receipt.exact and model.growth_config == {"units": 9, "width": 7}
    assert relative_difference(array(model(x)), before) <= ROUNDING


def test_a_function_comes_back_with_the_file(tmp_path):
    model = blueprint()
    model.grow({"units": 9}, seed=0)
    model.save(tmp_path / "built.keras")
    loaded = keras.models.load_model(tmp_path / "built.keras")
    x = np.ones((2, 8), "float32")
    np.testing.assert_array_equal(array(loaded(x)), array(model(x)))
    assert loaded.grow({"units": 12}, seed=0).exact


def test_what_is_sorted_cannot_grow_and_the_error_says_so():
    plan = kgrow.ModelBuilder(custom_models.build_sorted, {"units": 6})
    with pytest.raises(GrowthError, match="Cannot grow `units`.*it is sorted"):
        kgrow.GrowableModel(plan).grow({"units": 9})


def test_a_functional_model_has_no_fields():
    network = custom_models.build(4, 3)
    with pytest.raises(GrowthError, match="ModelBuilder"):
        kgrow.GrowableModel(network)


def test_a_config_without_sizes_is_refused():
    class Plain(keras.Model):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = keras.layers.Dense(3)
            self.dense.build((None, 2))
            self.built = True

        def call(self, x):
            return self.dense(x)

        def get_config(self):
            return {"name": self.name}

    with pytest.raises(GrowthError, match="get_config"):
        kgrow.GrowableModel(Plain())


def test_what_was_derived_is_kept(monkeypatch):
    blueprint()
    assert list(cache.folder().glob("*.json"))
    monkeypatch.setattr(
        "kgrow.architecture.inference.derive_axes._derived",
        lambda *_: pytest.fail("derived again"),
    )
    blueprint()


def test_another_computation_is_derived_anew(tmp_path, monkeypatch):
    """A module that was edited is not taken for what it was."""
    request = {"module": "edited"}
    file = tmp_path / "edited.py"
    file.write_text("units = 1")
    module = types.ModuleType("edited")
    module.__file__ = str(file)
    monkeypatch.setitem(sys.modules, "edited", module)
    before = cache.key_of(request)
    assert cache.key_of(request) == before
    file.write_text("units = 2")
    assert cache.key_of(request) != before


def test_axes_that_do_not_hold_are_refused():
    from kgrow.architecture.inference.verification import verify

    plan = kgrow.ModelBuilder(custom_models.build, {"units": 6, "width": 4})
    good = kgrow.derive(plan).get_config()
    rules = dict(good["rules"])
    path = next(p for p in rules if p.startswith("out/kernel"))
    rules[path] = "_ -> width"
    wrong = kgrow.AxisMap.from_config({**good, "rules": rules})
    with pytest.raises(GrowthError, match="do not hold"):
        verify(plan, wrong)
