"""A wrapped network behaves as the network itself, before a growth and after
one that adds nothing."""

import io

import keras
import numpy as np
import pytest
from helpers.zoo import CASES, FEATURES, OUTPUTS, Subclass

import kgrow
from kgrow import GrowableModel, GrowthError

BACKEND = keras.backend.backend()
# Where programs are compiled, those whose steps differ there.
_EVERYWHERE = ("multi_output", "own_step", "own_metrics", "regularised")
NAMES = [
    pytest.param(
        name,
        marks=[pytest.mark.slow]
        * (BACKEND != "torch" and name not in _EVERYWHERE),
    )
    for name in CASES
]


def pair(name):
    """The network itself and the wrapped one, compiled alike."""
    case = CASES[name]
    made = []
    for wrap in (False, True):
        keras.utils.clear_session(free_memory=False)
        keras.utils.set_random_seed(0)
        network = case.make()
        if wrap:
            network = GrowableModel(network, case.axes)
        made.append(case.compiled(network))
    return case, *made


def trained(case, model, epochs=2):
    """What a run reports: its history, and a last evaluation."""
    keras.utils.set_random_seed(1)
    x, y = case.batch()
    history = model.fit(
        x, y, 4, epochs, 0, None, 0.0, (x, y), False, None, None, 0
    )
    found = model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True)
    found = {f"last_{k}": [v] for k, v in found.items()}
    # What a growable model adds to a history, as its docs say.
    ours = ("growths", "parameters")
    report = {k: v for k, v in history.history.items() if k not in ours}
    return {**report, **found}


def assert_same_report(actual, expected):
    assert list(actual) == list(expected)
    for key, values in expected.items():
        np.testing.assert_array_equal(actual[key], values, err_msg=key)


@pytest.mark.sample
@pytest.mark.parametrize("name", NAMES)
def test_a_wrapped_network_trains_as_the_network(name):
    case, network, model = pair(name)
    assert_same_report(trained(case, model), trained(case, network))
    x, _ = case.batch()
    one, other = (m.predict(x, verbose=0) for m in (model, network))
    for left, right in zip(
        keras.tree.flatten(one), keras.tree.flatten(other), strict=True
    ):
        np.testing.assert_array_equal(left, right)
    assert model.metrics_names == network.metrics_names


@pytest.mark.sample
@pytest.mark.parametrize("name", NAMES)
def test_and_after_a_growth_that_adds_nothing(name):
    case, network, model = pair(name)
    trained(case, model, epochs=1)
    trained(case, network, epochs=1)
    model.grow({}, data=case.batch())
    assert_same_report(trained(case, model), trained(case, network))


@pytest.mark.parametrize("name", NAMES)
def test_what_keras_reads_off_a_model_is_the_networks(name):
    _, network, model = pair(name)
    for attribute in ("inputs", "outputs", "input_names", "output_names"):
        assert hasattr(model, attribute) == hasattr(network, attribute)
    assert [each.name for each in model.layers] == [
        each.name for each in network.layers
    ]
    assert model.get_layer(index=0).name == network.layers[0].name
    if hasattr(network, "output_names"):
        assert model.output_names == network.output_names
        assert model.input_shape == network.input_shape
        assert model.output_shape == network.output_shape
        assert model.input is model.network.input
    said = []
    for each in (model, network):
        lines = io.StringIO()
        each.summary(print_fn=lambda line, out=lines: out.write(f"{line}\n"))
        said.append(lines.getvalue().splitlines()[1:])
    assert said[0] == said[1]


def test_an_attribute_that_nobody_has_is_missing():
    _, _, model = pair("subclassed")
    assert model.units == model.network.units
    with pytest.raises(AttributeError, match="no attribute 'unknown'"):
        _ = model.unknown
    assert not hasattr(model, "output_names")


class OwnFit(Subclass):
    def fit(self, *args, **kwargs):
        raise NotImplementedError


def test_a_loop_of_its_own_is_refused_by_name():
    with pytest.raises(GrowthError, match=r"its own version of `fit\(\)`"):
        GrowableModel(OwnFit(4), CASES["subclassed"].axes)


def test_a_teacher_is_refused_where_it_would_not_be_heard():
    case, _, model = pair("own_step")
    trained(case, model, epochs=1)
    with pytest.raises(GrowthError, match="has its own `train_step"):
        model.grow({"units": 8}, "ki")
    assert model.growth_config == {"units": 6} and model.teacher is None
    trained(case, model, epochs=1)


@pytest.mark.parametrize("strategy", ["lemon", "gradmax", "ligo"])
def test_penalties_are_those_of_the_network_that_is_measured(strategy):
    case, _, model = pair("regularised")
    if strategy == "ligo":
        strategy = kgrow.strategies.LiGO(steps=2)
    receipt = model.grow({"units": 9}, strategy, data=case.batch())
    x, y = case.batch()
    measured = model.evaluate(x, y, verbose=0)
    np.testing.assert_allclose(receipt.loss_after, measured, rtol=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="Keras needs torch_xla there")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["functional", "subclassed", "sequential"])
@pytest.mark.parametrize("grown", [False, True])
def test_it_exports(name, grown, tmp_path):
    import tensorflow as tf

    case, _, model = pair(name)
    if grown:
        model.grow({"units": 9})
    x, _ = case.batch()
    model.export(str(tmp_path / "saved"), verbose=False)
    # It holds the variables, which are gone with it.
    loaded = tf.saved_model.load(str(tmp_path / "saved"))
    served = loaded.serve(x)
    expected = model.predict(x, verbose=0)
    assert expected.shape == (len(x), OUTPUTS) and x.shape[1] == FEATURES
    bound = kgrow.algebra.tolerance("float32", 9, 2)
    assert np.abs(served - expected).max() <= bound * np.abs(expected).max()


def test_exports_need_to_know_the_inputs(tmp_path):
    class Called(keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = keras.layers.Dense(2, name="inner")
            self.inner.build((None, 3))
            self.built = True

        def call(self, x):
            return self.inner(x)

    model = GrowableModel(
        Called(), {"inner/kernel": "_ -> _", "inner/bias": "-> _"}
    )
    with pytest.raises(GrowthError, match="what inputs it takes"):
        model.export(str(tmp_path / "saved"))


def test_statistics_that_adapt_finalised_go_on():
    case, network, model = pair("adapted")
    receipt = model.grow({"units": 9}, data=case.batch())
    assert receipt.exact
    np.testing.assert_allclose(receipt.loss_after, receipt.loss_before, 1e-5)
    assert model.get_layer("adapted").mean.shape == (1, FEATURES)


@keras.saving.register_keras_serializable("kgrow_tests")
class Table(keras.layers.Layer):
    """Adds numbers that are no weights, which its hooks write down."""

    numbers = (0.0, 0.0, 0.0)

    def build(self, input_shape):
        self.gain = self.add_weight(
            shape=(input_shape[-1],), initializer="ones", name="gain"
        )

    def call(self, x):
        return x * self.gain + sum(self.numbers)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        store["numbers"] = np.array(self.numbers)

    def load_own_variables(self, store):
        self.numbers = tuple(float(n) for n in store["numbers"])
        self.gain.assign(store["0"])


def table(place, gain):
    layers = [
        keras.layers.Dense(6, "relu", name="inner"),
        keras.layers.Dense(2, name="outer"),
    ]
    layers.insert(place, Table(name="table"))
    network = keras.Sequential([keras.Input((FEATURES,)), *layers])
    network.get_layer("table").numbers = (1.0, 2.0, 4.0)
    axes = {
        "inner/kernel": "_ -> units",
        "inner/bias": "-> units",
        "table/gain": gain,
        "outer/kernel": "units -> _",
        "outer/bias": "-> _",
    }
    return GrowableModel(network, axes)


def test_what_a_layers_hooks_for_files_hold_goes_on():
    model = table(2, "-> _")
    assert model.grow({"units": 9}).exact
    assert model.get_layer("table").numbers == (1.0, 2.0, 4.0)


def test_hooks_of_a_layer_whose_sizes_grow_are_refused_by_name():
    model = table(1, "-> units | scale")
    with pytest.raises(GrowthError, match="'table' keeps state of its own"):
        model.grow({"units": 9})
    assert model.growth_config == {"units": 6}


def test_it_is_a_layer_of_another_model():
    case, network, model = pair("functional")
    x, _ = case.batch()
    inputs = keras.Input((FEATURES,))
    outer = keras.Model(inputs, 2 * model(inputs))
    np.testing.assert_array_equal(
        outer.predict(x, verbose=0), 2 * network.predict(x, verbose=0)
    )
    assert model.compute_output_shape((None, FEATURES)) == (None, OUTPUTS)


def test_takes_the_optimizer_of_a_compiled_network():
    """TensorFlow sets no attribute that has the value already, were it that of
    the network."""
    case = CASES["functional"]
    network = case.make()
    network.compile("sgd", "mse")
    optimizer = network.optimizer
    model = GrowableModel(network, case.axes)
    model.compile(optimizer, "mse")
    network.optimizer = None
    assert model.optimizer is optimizer
