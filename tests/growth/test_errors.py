"""Whatever is refused: the message helps, and nothing has happened."""

import keras
import numpy as np
import pytest
from helpers.toy import (
    assert_same,
    make_model,
    snapshot,
)

import kgrow
from kgrow import AxisMap, GrowableModel, GrowthError, strategies
from kgrow.architecture import size_forecast

pytestmark = pytest.mark.compiles

X = np.random.default_rng(0).standard_normal((8, 6)).astype("float32")
Y = np.random.default_rng(1).standard_normal((8, 7)).astype("float32")


def trained(optimizer=None):
    """A model that has taken two steps and stands before the third."""
    model = make_model("MLP")
    model.compile(optimizer or keras.optimizers.Adam(0.01), "mse")
    for _ in range(2):
        model.train_on_batch(X, Y)
    return model


@pytest.fixture(scope="module")
def model():
    """One for all: a growth that is refused leaves it as it was."""
    return trained()


def refuse(model, *message, error=GrowthError, **arguments):
    """`grow()` raises and says so; nothing else has happened."""
    arguments.setdefault("target_config", {"hidden_dim": 16})
    before = snapshot(model)
    with pytest.raises(error) as caught:
        model.grow(**arguments)
    for part in message:
        assert part in str(caught.value)
    assert_same(snapshot(model), before)


def assert_goes_on(model, reference):
    """It is, and trains on as, a model that nobody tried to grow."""
    for _ in range(2):
        one, other = snapshot(model), snapshot(reference)
        assert_same(one["outputs"], other["outputs"])
        assert_same(
            list(one["weights"].values()), list(other["weights"].values())
        )
        assert_same(
            [v for _, v in one["optimizer"]], [v for _, v in other["optimizer"]]
        )
        for each in (model, reference):
            each.train_on_batch(X, Y)


# --- targets -----------------------------------------------------------------


TARGETS = {
    "shrinking": (
        {"hidden_dim": 4},
        ["`hidden_dim` cannot shrink: 8 -> 4", "build a new one"],
    ),
    "negative": ({"num_layers": -1}, ["cannot shrink: 2 -> -1"]),
    "float": (
        {"hidden_dim": 16.0},
        ["`hidden_dim` must be an integer", "16.0 (of type float)"],
    ),
    "bool": ({"num_layers": True}, ["must be an integer", "type bool"]),
    "string": ({"hidden_dim": "16"}, ["must be an integer", "type str"]),
    "none": ({"hidden_dim": None}, ["must be an integer", "NoneType"]),
    "misspelt": (
        {"hiden_dim": 16},
        ["Cannot grow `hiden_dim`", "Did you mean `hidden_dim`?", "16"],
    ),
    "unknown": (
        {"zzz": 16},
        ["Cannot grow `zzz`", "Fields that grow", "'hidden_dim': 8"],
    ),
    "fixed": ({"input_dim": 12}, ["Cannot grow `input_dim`", "Fields that"]),
    "no dict": (["hidden_dim"], ["a dict of the fields", "['hidden_dim']"]),
    "number": (16, ["a dict of the fields", "Received: 16"]),
}


@pytest.mark.parametrize("case", TARGETS)
def test_targets_that_cannot_be(model, case):
    target, message = TARGETS[case]
    refuse(model, *message, target_config=target)


# --- strategies --------------------------------------------------------------


STRATEGIES = {
    "misspelt": (
        {"strategy": "netnet"},
        ["Unknown strategy", "'netnet'", "Did you mean 'net2net'?"],
    ),
    "unknown": ({"strategy": "zzz"}, ["There are: ", *strategies.names()]),
    "number": ({"strategy": 3}, ["its name, its config", "Received: 3"]),
    "depth only": ({"strategy": "stack"}, ["from 8 to 16", "Combine it with"]),
    "multiples": (
        {"strategy": "hypercloning", "target_config": {"hidden_dim": 12}},
        ["whole multiples", "from 8 to 12", "Choose 16", "'net2net'"],
    ),
    "short list": (
        {"strategy": [0, 1], "target_config": {"num_layers": 3}},
        ["needs 3 entries", "Received: 2"],
    ),
    "policy": (
        {"optimizer_state": "keep"},
        ["`optimizer_state` must be one of", "optimizer_state='keep'"],
    ),
    "seed": ({"seed": 1.5}, ["`seed` must be an integer", "seed=1.5"]),
    "negative": ({"seed": -1}, ["an integer of at least 0", "seed=-1"]),
    "config": (
        {"strategy": {"class_name": "Foo", "config": {}}},
        ["cannot be made of its config", "'Foo'"],
    ),
}


@pytest.mark.parametrize("case", STRATEGIES)
def test_ways_that_cannot_be(model, case):
    arguments, message = STRATEGIES[case]
    refuse(model, *message, **arguments)


class Boaster(strategies.Random):
    """Says that it keeps the function."""

    def claims(self, plan):
        return [kgrow.algebra.Claim("hidden", True, "exact")]


@pytest.mark.each
def test_a_false_claim_is_found_out(model):
    message = ["claims to keep the function", "more than rounding explains"]
    refuse(model, *message, strategy=Boaster())


# --- data --------------------------------------------------------------------


DATA = {
    "inputs": ({"data": (X[:, :4], Y)}, ["do not fit", "(8, 4)"]),
    "probe": ({"probe": X[:, :4]}, ["do not fit", "(8, 4)"]),
    "targets": ({"data": (X, Y[:, :4])}, ["do not fit", "(8, 4)"]),
    "type": ({"data": 5}, ["`data` is a batch (x, y)", "Received: int"]),
    "empty": ({"data": iter([])}, ["`data`", "iterator"]),
    "bare": ({"data": [X]}, ["`data` must yield (x, y)", "ndarray"]),
}


@pytest.mark.parametrize("case", DATA)
def test_data_that_do_not_fit(model, case):
    arguments, message = DATA[case]
    refuse(model, *message, **arguments)


@pytest.mark.each
def test_training_goes_on_after_all_of_them():
    model = trained()
    cases = [{"target_config": target} for target, _ in TARGETS.values()]
    cases += [arguments for arguments, _ in STRATEGIES.values()]
    cases += [{"data": (X[:, :4], Y)}, {"data": (X, Y[:, :4])}]
    for arguments in cases:
        with pytest.raises(GrowthError):
            model.grow(**{"target_config": {"hidden_dim": 16}, **arguments})
    assert_goes_on(model, trained())


def test_outputs_that_are_not_finite_are_nothing_to_keep():
    model = make_model("MLP")
    model.weights[0].assign(np.full(model.weights[0].shape, np.nan))
    refuse(model, "not finite before the growth", "Go back to a checkpoint")


def with_outputs(outputs):
    network = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(3, name="a")]
    )
    rules = {"a/kernel": "_ -> classes", "a/bias": "-> classes"}
    dims = [kgrow.Dim("classes", kind="lookup")]
    return GrowableModel(network, AxisMap(rules, dims, outputs=outputs))


@pytest.mark.parametrize("outputs", [None, "_ -> clases", "-> classes"])
def test_outputs_that_grow_need_their_axes_named(outputs):
    with pytest.raises(GrowthError, match="changes the output.*outputs="):
        with_outputs(outputs).grow({"classes": 4}, probe=X)
    named = with_outputs("_ -> classes")
    assert named.grow({"classes": 4}, probe=X).exact


# --- optimizers --------------------------------------------------------------


class Hidden(keras.optimizers.SGD):
    """Keeps its slots where nobody finds them."""

    def __init__(self, place="dict", **kwargs):
        super().__init__(**kwargs)
        self.place = place

    def build(self, variables):
        if self.built:
            return
        super().build(variables)
        slots = [
            self.add_variable_from_reference(v, "memory") for v in variables
        ]
        if self.place == "dict":
            self.memory = {slot.path: slot for slot in slots}
        elif self.place == "pairs":
            self.memory = [[slot] for slot in slots]
        elif self.place == "half":
            self.memory = slots[: len(slots) // 2]


@pytest.mark.grid
@pytest.mark.parametrize("place", ["dict", "pairs", "half", "nowhere"])
def test_optimizers_that_hide_their_variables(place):
    model = trained(Hidden(place, learning_rate=0.01))
    message = ["Cannot tell what", "memory", "'Hidden'", "one entry (or None)"]
    refuse(model, *message)
    assert_goes_on(model, trained(Hidden(place, learning_rate=0.01)))


class Broken(BaseException):
    """Like Ctrl-C: no error that anybody would catch."""


@pytest.mark.parametrize(
    "place",
    [
        "kgrow.growth.transaction.fill_weights",
        "kgrow.growth.transaction.carry_layer_state",
        "kgrow.growth.transaction.compare",
        "kgrow.growth.optimizer.grow_state.OptimizerState.rebuild",
        "kgrow.growth.optimizer.grow_state._Transfer.fill",
        "kgrow.growth.growable_model.GrowableModel._refresh_functions",
    ],
)
def test_a_growth_broken_off_anywhere_has_not_been(monkeypatch, place):
    model, reference = trained(), trained()

    def broken(*args, **kwargs):
        raise Broken("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(place, broken)
        with pytest.raises(Broken):
            model.grow({"hidden_dim": 16})
    assert_goes_on(model, reference)


# --- construction ------------------------------------------------------------


@pytest.mark.parametrize("family", ["BERT", "GPT2"])
def test_heads_divide_the_width_or_have_a_size(family):
    with pytest.raises(GrowthError) as caught:
        make_model(family, num_heads=3, head_dim=None)
    for part in ("divisible", "`head_dim`", "hidden_dim=8, num_heads=3"):
        assert part in str(caught.value)


@pytest.mark.parametrize("size", [0, -1, 2.0, "8", None, True])
def test_sizes_are_positive_integers(size):
    with pytest.raises(GrowthError, match="must be an integer.*hidden_dim"):
        make_model("MLP", hidden_dim=size)


def test_a_network_without_weights_has_nothing_to_grow():
    network = keras.Sequential([keras.layers.Dense(3, name="a")])
    with pytest.raises(GrowthError, match="no weights yet.*Call it on data"):
        GrowableModel(network, {"a/kernel": "_ -> units"})


@pytest.mark.parametrize("network", [None, "gpt2", keras.Model])
def test_a_network_is_a_model(network):
    with pytest.raises(GrowthError, match="`network` must be a built"):
        GrowableModel(network, {"a": "-> b"})


@keras.saving.register_keras_serializable("tests")
class Bare(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.a = keras.layers.Dense(3, name="a")

    def call(self, x):
        return self.a(x)

    def get_config(self):
        return super().get_config()


def test_a_network_of_unknown_inputs_needs_a_probe():
    network = Bare()
    network(X)
    axes = {"a/kernel": "_ -> _", "a/bias": "-> _"}
    model = GrowableModel(network, axes)
    with pytest.raises(GrowthError, match=r"grow\(..., probe=inputs\)"):
        model.grow({})
    assert model.grow({}, probe=X).max_abs_diff == 0.0


# --- no blocks at all --------------------------------------------------------


@pytest.mark.parametrize("strategy", strategies.names(aliases=False))
@pytest.mark.parametrize("family", ["GPT2", "MLP"])
def test_from_no_blocks_nothing_is_copied(family, strategy):
    """NewEntryInit blocks are the only ones that there can be."""
    model = make_model(family, num_layers=0)
    target = {"num_layers": 1, "intermediate_dim": 11}
    if strategy in ("direct", "msg", "random", "ki"):
        exact = strategy in ("direct", "msg")
        assert model.grow(target, strategy).exact == exact
        assert model.growth_config == {**model.growth_config, **target}
        assert "intermediate_dim" in str(model.growth_history[0])
    else:
        with pytest.raises(GrowthError, match="`num_layers` is to grow from 0"):
            model.grow(target, strategy)


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden_dim": 10**9},
        {"num_layers": 10**9},
        {"hidden_dim": 10**7, "intermediate_dim": 10**7},
        {"hidden_dim": 2**53},
        {"hidden_dim": 10**400},
    ],
    ids=str,
)
def test_absurd_sizes_are_refused_before_any_work(sizes, monkeypatch):
    model = kgrow.models.MLP(
        input_dim=64,
        output_dim=64,
        hidden_dim=64,
        intermediate_dim=64,
        num_layers=1,
    )
    # As on a machine of a usual size.
    monkeypatch.setattr(size_forecast, "_memory", lambda: 2**36)

    def build(*args):
        raise AssertionError("a network is built")

    monkeypatch.setattr(type(model.architecture), "build", build)
    with pytest.raises(GrowthError, match="GiB|2\\*\\*53"):
        model.grow(sizes)
