"""Strategies that learn: what they contain, start as, and do."""

import itertools

import keras
import numpy as np
import pytest
from helpers.toy import (
    DEPTH,
    FAN_IN,
    array,
    assert_close,
    assert_same,
    give_zeros,
    grow_offline,
    make_inputs,
    make_model,
    outputs,
    relative_difference,
    snapshot,
    values_of,
)

from kgrow import GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.architecture.architecture import relative_path
from kgrow.backend.lazy_variables import give_value
from kgrow.growth.batches import Data
from kgrow.strategies import (
    Combine,
    GradMax,
    InitializeNew,
    LiGO,
    Mango,
    Net2Net,
)
from kgrow.strategies.mango_ring import CORES

pytestmark = pytest.mark.compiles

ROUNDING = tolerance("float64", FAN_IN, DEPTH)
# Heads times their size must be the stream's width for a ring.
SQUARE = {
    "hidden_dim": 8,
    "num_heads": 2,
    "head_dim": 4,
    "intermediate_dim": 16,
}
WIDER = {"hidden_dim": 16, "num_heads": 4, "intermediate_dim": 32}
DEEPER = {"num_layers": 4}
ANY = {
    "hidden_dim": 11,
    "num_heads": 5,
    "intermediate_dim": 13,
    "num_layers": 3,
}
LEARNED = {
    "ligo": lambda **options: LiGO(verbose=0, **options),
    "mango": lambda **options: Mango(verbose=0, **options),
}


def plan_of(model, target, strategy, seed=3):
    source = model.architecture
    _, spec = source.build(source.check(target))
    return strategy.plan(source.spec, spec, seed)


def fits(model, target):
    return {f: n for f, n in target.items() if f in model.growth_config}


# --- what the families of operators contain ----------------------------------


@pytest.mark.grid
@pytest.mark.parametrize(
    "inner",
    [
        Combine(Net2Net("even"), "stack"),
        Combine(Net2Net("even"), "interpolate"),
        Combine(Net2Net(), "middle"),
        Combine("lemon", "stack"),
        Combine("hypercloning", "identity"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("family", ["BERT", "GPT2", "MLP"])
def test_ligo_contains_the_fixed_operators(float64, family, inner):
    """Proposition 1 of the paper, and more, under normalised tying: set to
    another operator, LiGO computes what that computes."""
    if family == "BERT" and "Identity" in repr(inner):
        inner = Combine(
            "hypercloning", "stack"
        )  # silent blocks have free norms
    model = make_model(family, dtype="float64")
    exact = "hypercloning" in repr(inner).lower()
    target = fits(model, {**WIDER, **DEEPER, "num_heads": 6} if exact else ANY)
    target["intermediate_dim"] = 20
    x = make_inputs(model)
    options = {"noise": {}} if exact else {}
    expected, _ = grow_offline(model, target, inner, **options)
    source = model.architecture
    network, spec = source.build(source.check(target))
    operator = LiGO(init=inner).operator(source.spec, spec, seed=0)
    parameters, make_plan = operator
    grown = make_plan(parameters).apply(values_of(model))
    for weight in network.weights:
        give_value(weight, grown[relative_path(network, weight)])
    found = outputs(give_zeros(network), x)
    assert relative_difference(found, outputs(expected, x)) <= ROUNDING


@pytest.mark.once
@pytest.mark.parametrize("init", ["stack", "zero", "net2net"])
def test_new_heads_are_what_the_operator_learned(init):
    """Matrices of (head, position) pairs write the entries of new heads."""
    model = make_model("GPT2")
    source = model.architecture
    heads = model.growth_config["num_heads"]
    _, spec = source.build(source.check({"num_heads": 2 * heads}))
    parameters, make_plan = LiGO(init=init).operator(source.spec, spec, seed=0)
    learned = {
        name: np.full_like(value, 0.5) if name.endswith("produce") else value
        for name, value in parameters.items()
    }
    grown = make_plan(learned).apply(values_of(model))
    for part in ("query", "key", "value"):
        kernel = grown[f"transformer_layer_0/self_attention/{part}/kernel"]
        assert np.abs(kernel[:, heads:]).min() > 0, part


def test_plain_tying_is_the_paper_s(float64):
    """Readers by `B` itself: copies are read twice, padding is not."""
    model = make_model("MLP", dtype="float64", activation="tanh")
    target = {"intermediate_dim": 20}
    before = outputs(model.network, x := make_inputs(model))
    found = {}
    for init in ("net2net", "stack"):
        strategy = LiGO(init=init, tying="plain", steps=0)
        network, _ = grow_offline(model, target, strategy)
        found[init] = relative_difference(outputs(network, x), before)
    assert found["net2net"] > 0.01 and found["stack"] <= ROUNDING


@pytest.mark.sample
@pytest.mark.parametrize("name", ["net2net", "stack", "lemon", "zero", "noisy"])
@pytest.mark.parametrize("tying", ["normalised", "plain"])
def test_every_start_of_ligo_trains_on(name, tying):
    model = compiled("MLP")
    strategy = LiGO(init=name, tying=tying, steps=2, verbose=0)
    receipt = model.grow(
        {"hidden_dim": 11, "num_layers": 3}, strategy, data=xy(model)
    )
    assert np.isfinite(receipt.learned["loss_after"])


@pytest.mark.parametrize("family", ["GPT2", "BERT", "MLP"])
def test_mango_starts_without_a_change_at_multiples(float64, family):
    model = square(family, dtype="float64")
    network, plan = grow_offline(
        model, fits(model, WIDER), Mango(noise=0.0, steps=0)
    )
    assert plan.joint
    x = make_inputs(model)
    before = outputs(model.network, x)
    assert relative_difference(outputs(network, x), before) <= ROUNDING


def test_a_ring_is_the_sum_in_its_definition(float64):
    model = square("GPT2", dtype="float64")
    strategy = Mango(rank=(2, 1, 3, 2), noise=0.5, steps=0)
    plan = plan_of(model, {**WIDER, **DEEPER}, strategy)
    (ring,) = plan.joint
    values = values_of(model)
    first = np.transpose(np.asarray(ring.layout.stacked(values)), (0, 2, 3, 1))
    cores = [np.asarray(ring.cores[name]) for name in CORES]
    formula = "pbcq,qoxr,rlms,siyp,biol->cyxm"
    expected = np.einsum(formula, *cores, first)
    grown = plan.apply(values)
    query = grown["transformer_layer_3/self_attention/query/kernel"]
    start = 0
    for template, count, _ in ring.layout.modules:
        if template.endswith("query/kernel"):
            break
        start += count
    assert_close(query.reshape(16, 16), expected[start, :, :, 3])


@pytest.mark.once
def test_a_ring_finds_blocks_that_are_counted_from_one():
    grown = []
    for first in (0, 1):
        axes = AxisMap(
            {
                "in": "hidden -> hidden",
                "up_{layers}": "hidden -> ffn",
                "down_{layers}": "ffn -> hidden | residual_out",
            },
            dims=[Dim("hidden", kind="stream")],
            stacks=[BlockStack("layers", norm="pre", first=first)],
        )
        ends = [f"{end}_{i + first}" for i in (0, 1) for end in ("up", "down")]
        source, target = (
            axes.spec([(path, (n, n)) for path in ("in", *ends)], {})
            for n in (3, 6)
        )
        values = {path: np.full((3, 3), 1.0 + i) for i, path in enumerate(ends)}
        plan = Mango().plan(source, target, seed=1)
        grown.append(plan.apply({"in": np.eye(3), **values}))
    assert_same([*grown[1].values()], [*grown[0].values()])


# --- the learned phase -------------------------------------------------------


def square(family, **options):
    options = {**SQUARE, **options}
    if family == "MLP":
        options = {
            k: v
            for k, v in options.items()
            if k not in ("num_heads", "head_dim")
        }
    return make_model(family, **options)


def compiled(family, **options):
    model = square(family, **options)
    loss = "mse"
    if family != "MLP":
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.01), loss)
    return model


def xy(model, batch=16):
    x = make_inputs(model, batch)
    if "vocabulary_size" in model.growth_config:
        return x, x
    return x, np.random.default_rng(0).standard_normal((batch, 7))


@pytest.mark.compiles
@pytest.mark.parametrize("family", ["GPT2", "BERT"])
@pytest.mark.parametrize("name", LEARNED)
def test_an_operator_is_fitted_and_applied(name, family):
    model = compiled(family, dropout=0.1, num_layers=1)
    x, y = xy(model)
    model.fit(x, y, epochs=1, verbose=0)
    strategy = LEARNED[name](steps=12, learning_rate=0.01, batch_size=8)
    target = {**WIDER, "num_layers": 2}
    receipt = model.grow(target, strategy, data=(x, y), seed=0)
    learned = receipt.learned
    assert learned["steps"] == 12 and len(learned["losses"]) == 12
    assert learned["loss_after"] < learned["loss_before"]
    assert min(learned["moved"].values()) >= 0
    assert max(learned["moved"].values()) > 1e-3
    # What the receipt measured on the grown model is what was learned.
    assert abs(receipt.loss_after - learned["loss_after"]) < 1e-3
    assert not receipt.exact
    assert receipt.slots_carried > 0
    assert "in 12 steps; moved by" in " ".join(str(receipt).split())
    history = model.fit(x, y, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    restored = type(receipt).from_dict(receipt.to_dict())
    assert restored == receipt


@pytest.mark.parametrize("name", LEARNED)
def test_small_weights_rest_or_train_along(name):
    ends = []
    for tune in (False, True):
        model = compiled("MLP")
        strategy = LEARNED[name](steps=5, tune_small=tune, learning_rate=1e-12)
        model.grow(fits(model, WIDER), strategy, data=xy(model), seed=0)
        ends.append(array(model.network.weights[0]))
        strategy = LEARNED[name](steps=5, tune_small=tune, learning_rate=0.1)
        other = compiled("MLP")
        other.grow(fits(model, WIDER), strategy, data=xy(model), seed=0)
        ends.append(array(other.network.output_dense.bias))
    # The last bias belongs to no dimension: only tuning changes it.
    assert_same(ends[1], values_of(compiled("MLP"))["output_dense/bias"])
    assert np.abs(ends[3] - ends[1]).max() > 1e-3


def test_a_fit_stops_when_it_is_told_to():
    model = compiled("MLP")
    strategy = LiGO(steps=40, patience=1, learning_rate=1e-20, verbose=0)
    x, y = xy(model)
    receipt = model.grow({"hidden_dim": 11}, strategy, data=[(x, y)])
    assert receipt.learned["steps"] == 8  # the second tenth is no better


def test_callbacks_see_the_fit():
    seen = []

    class See(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(logs["loss"])

    model = compiled("MLP")
    strategy = LiGO(steps=13, callbacks=[See()], verbose=0)
    receipt = model.grow({"hidden_dim": 11}, strategy, data=xy(model))
    assert len(seen) == receipt.learned["steps"] == 13


@pytest.mark.each
def test_inside_a_running_fit():
    model = compiled("MLP")
    x, y = xy(model)

    class Grow(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0:
                strategy = LiGO(steps=3, verbose=0)
                self.model.grow({"hidden_dim": 16}, strategy, data=(x, y))

    history = model.fit(x, y, epochs=3, verbose=0, callbacks=[Grow()])
    assert len(history.history["loss"]) == 3
    assert model.growth_config["hidden_dim"] == 16


# --- combinations ------------------------------------------------------------


@pytest.mark.parametrize(
    "entries", ["net2net", "random", LiGO(steps=2, verbose=0)]
)
def test_rules_of_one_values_of_another(entries):
    """Silent units and blocks keep the function, whoever makes them."""
    model = compiled("MLP")
    target = {"hidden_dim": 11, "intermediate_dim": 20, "num_layers": 3}
    receipt = model.grow(
        target, InitializeNew("direct", entries), data=xy(model), seed=0
    )
    assert receipt.exact
    kernel = values_of(model)["input_dense/kernel"]
    if entries == "net2net":
        for column in range(8, 11):
            assert np.any(np.all(kernel[:, :8] == kernel[:, [column]], axis=0))


def test_learned_strategies_are_no_part_of_a_copy():
    with pytest.raises(GrowthError, match=r"LiGO\(init=Combine"):
        Combine("ligo", "stack")


# --- GradMax -----------------------------------------------------------------


@pytest.mark.each
def test_gradmax_follows_the_largest_singular_vectors(float64):
    """`M` by its formula, for a network that can be written down."""
    model = make_model("MLP", dtype="float64", num_layers=1, activation="tanh")
    model.compile("sgd", "mse")
    x, y = make_inputs(model, 32), np.ones((32, 7))
    v = values_of(model)
    hidden = x @ v["input_dense/kernel"] + v["input_dense/bias"]
    inner = v["layer_0/intermediate_dense/kernel"]
    inner = np.tanh(hidden @ inner + v["layer_0/intermediate_dense/bias"])
    stream = hidden + inner @ v["layer_0/output_dense/kernel"]
    stream = stream + v["layer_0/output_dense/bias"]
    error = stream @ v["output_dense/kernel"] + v["output_dense/bias"] - y
    delta = 2 * error / error.size @ v["output_dense/kernel"].T
    _, _, rows = np.linalg.svd(hidden.T @ delta)
    model.grow({"intermediate_dim": 13}, GradMax(), data=(x, y), seed=0)
    kernel = values_of(model)["layer_0/output_dense/kernel"]
    length = np.linalg.norm(kernel[:10], axis=1).mean()
    found = np.abs(kernel[10:] @ rows[:3].T)
    # Keras takes the loss in float32.
    assert_close(found, 0.5 * length * np.eye(3), "float32")
    made = values_of(model)["layer_0/intermediate_dense/kernel"]
    assert not made[:, 10:].any()


def test_gradmax_has_directions_for_any_number_of_units():
    model = compiled("MLP", activation="gelu")
    receipt = model.grow({"intermediate_dim": 40}, "gradmax", data=xy(model))
    assert receipt.exact
    rows = values_of(model)["layer_0/output_dense/kernel"][16:]
    assert len(np.unique(np.abs(rows).round(9), axis=0)) == 24


# --- what is refused ---------------------------------------------------------


@pytest.mark.parametrize("name", ["ligo", "mango", "gradmax"])
def test_learning_needs_data_and_a_loss(name):
    model = square("MLP")
    target = {"hidden_dim": 16, "intermediate_dim": 32}
    for data, message in ((None, "needs data"), (xy(model), "needs a loss")):
        before = snapshot(model)
        with pytest.raises(GrowthError, match=message):
            model.grow(target, name, data=data)
        assert_same(snapshot(model), before)


@pytest.mark.parametrize("name", LEARNED)
def test_a_loss_that_is_no_number_ends_it(name):
    model = compiled("MLP")
    x, y = xy(model)
    model.fit(x, y, epochs=1, verbose=0)
    before = snapshot(model)
    bad = np.where(np.arange(16)[:, None] == 9, np.nan, y)
    with pytest.raises(GrowthError, match="no number any more at step 2"):
        model.grow(
            {"hidden_dim": 16, "intermediate_dim": 32},
            LEARNED[name](steps=4),
            data=[(x[:8], y[:8]), (x[8:], bad[8:])],
        )
    assert_same(snapshot(model), before)
    model.fit(x, y, epochs=1, verbose=0)


def test_data_that_end_too_soon():
    model = compiled("MLP")
    x, y = xy(model)
    before = snapshot(model)
    with pytest.raises(Exception, match="end before the last step"):
        model.grow(
            {"hidden_dim": 11},
            LiGO(steps=9, verbose=0),
            data=iter([(x, y)] * 3),
        )
    assert_same(snapshot(model), before)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Mango(rank=0), "Received: rank=0"),
        (lambda: Mango(rank=(1, 1, 0, 1)), "rank"),
        (lambda: Mango(noise=-1), "noise=-1"),
        (lambda: LiGO(init="stak"), "Did you mean 'stack'?"),
        (lambda: LiGO(tying="loose"), "tying='loose'"),
        (lambda: LiGO(steps=-1), "steps=-1"),
        (lambda: LiGO(optimizer="adam", learning_rate=1.0), "one of the two"),
        (lambda: GradMax(scale=0), "scale=0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(GrowthError) as error:
        make()
    assert message in str(error.value)


@pytest.mark.parametrize(
    "strategy, target, message",
    [
        ("aki", {"hidden_dim": 12}, "Use 'fpi'"),
        ("staged", {"hidden_dim": 12}, "whole multiples"),
        (
            "staged",
            {"hidden_dim": 16, "intermediate_dim": 48},
            "one factor",
        ),
        ("mango", {"hidden_dim": 12}, "'ligo', which has no such"),
        (
            LiGO(init="aki"),
            {"hidden_dim": 12},
            "whose depth|has 2. Choose another",
        ),
        (LiGO(init="direct"), {"num_layers": 3}, "depth copies blocks"),
        (LiGO(init="ki"), {"hidden_dim": 12}, "has 0. Choose another `init`"),
        (InitializeNew("net2net"), {"hidden_dim": 16}, "work of 'net2net'"),
    ],
)
def test_growths_that_cannot_be(strategy, target, message):
    layers = 1 if strategy == "aki" else 2
    model = compiled("MLP", num_layers=layers)
    if getattr(strategy, "init", None) is not None and "AKI" in repr(strategy):
        target = {"hidden_dim": 12}
    before = snapshot(model)
    with pytest.raises(GrowthError, match=message):
        model.grow(target, strategy, data=xy(model))
    assert_same(snapshot(model), before)


def test_gradmax_says_where_there_is_no_slope():
    model = compiled("MLP", activation="relu")
    with pytest.raises(GrowthError, match="no slope"):
        model.grow({"intermediate_dim": 20}, "gradmax", data=xy(model))


# --- data --------------------------------------------------------------------


def test_arrays_are_read_in_shuffled_rounds():
    x = np.arange(7)
    data = Data((x, x))
    found = [b for b, _ in itertools.islice(data.batches(3, seed=1), 4)]
    assert [len(b) for b in found] == [3] * 4
    assert len(set(np.concatenate(found[:2]))) == 6
    again = [b for b, _ in itertools.islice(data.batches(3, seed=1), 4)]
    assert_same(found, again)


def test_iterables_are_read_again_and_iterators_once():
    batches = [(np.full(2, i), np.full(2, i)) for i in range(3)]
    endless = Data(batches).batches(9)
    assert [int(x[0]) for x, _ in itertools.islice(endless, 5)] == [
        0,
        1,
        2,
        0,
        1,
    ]
    data = Data(iter(batches))
    assert int(data.first[0][0]) == 0
    once = data.batches(9)
    assert [int(x[0]) for x, _ in itertools.islice(once, 3)] == [0, 1, 2]
    with pytest.raises(GrowthError, match="read again"):
        next(once)


@pytest.mark.parametrize("data", [3, [], [(1,)], ["ab"]])
def test_what_is_no_data(data):
    with pytest.raises(GrowthError, match="`data`"):
        Data(data)


def test_strategies_that_learn_survive_their_config():
    for strategy in (
        LiGO(init=Combine("lemon", "middle"), steps=3, patience=2),
        LiGO(optimizer=keras.optimizers.SGD(0.5), tune_small=True),
        LiGO(learning_rate=keras.optimizers.schedules.CosineDecay(0.1, 10)),
        Mango(rank=2, noise=0.1, batch_size=7),
        GradMax(base="lemon", scale=2.0),
        InitializeNew("lemon", "mango"),
    ):
        again = strategies.get(strategies.serialize(strategy))
        assert strategies.serialize(again) == strategies.serialize(strategy)
