"""The receipt of a growth, and the places where it can be read."""

import dataclasses
import html
import json

import keras
import numpy as np
import pytest
from helpers.training import (
    MODELS,
    TARGETS,
    At,
    Batches,
    batch,
    compiled,
    gpt2,
    mlp,
    train,
)

import kgrow
from kgrow import Receipt, schedules, strategies
from kgrow.analysis import ledger
from kgrow.strategies import Combine

pytestmark = pytest.mark.compiles

TARGET = {"hidden_dim": 7, "num_layers": 3}


@pytest.fixture
def grown():
    model = compiled(mlp())
    train(model, epochs=1)
    model.grow(TARGET, data=batch(model, 0), seed=5)
    return model


def test_receipt_states_what_happened(grown):
    (receipt,) = grown.growth_history
    small = mlp()
    assert receipt.strategy == "Net2Net(split='uneven')"
    assert receipt.source_config == small.growth_config
    assert receipt.target_config == {**small.growth_config, **TARGET}
    assert receipt.parameters_before == small.count_params()
    assert receipt.parameters_after == grown.count_params()
    assert receipt.step == 3
    assert receipt.seed == 5
    assert receipt.seconds > 0
    assert receipt.peak_bytes is None or receipt.peak_bytes >= 0


def test_receipt_shows_the_same_in_a_notebook(grown):
    (receipt,) = grown.growth_history
    shown, printed = receipt._repr_html_(), str(receipt)
    assert shown.count("<tr>") == 1 + len(receipt._rows())
    for name, before, after in receipt._rows():
        cells = f"<th>{name}</th><td>{before}</td><td>{after}</td>"
        assert cells in shown
        assert all(text in printed for text in (name, before, after))
    for line in (receipt._title(), *receipt._remarks()):
        assert html.escape(line) in shown
    assert printed.splitlines()[0] == "grown by Net2Net(split='uneven')"


def test_receipt_in_a_notebook_is_no_markup_of_the_users():
    fields = dict.fromkeys(
        field.name for field in dataclasses.fields(Receipt)
    ) | dict(
        strategy="<b>mine</b>",
        source_config={"<i>": 1},
        target_config={"<i>": 2},
        parameters_before=1,
        parameters_after=2,
        seconds=0.0,
        slots_carried=0,
        slots_fresh=0,
        exact=True,
        claims={},
        max_abs_diff=0.0,
        relative_diff=0.0,
        tolerance=0.0,
    )
    shown = Receipt(**fields)._repr_html_()
    assert "<i>" not in shown and "<b>mine" not in shown
    assert "&lt;b&gt;mine" in shown


def test_receipt_counts_slots(grown):
    (receipt,) = grown.growth_history
    # Adam has two slots a variable; the inserted block has four variables,
    # silent at first and so without a history.
    assert receipt.slots_fresh == 2 * 4
    assert receipt.slots_carried == 2 * len(mlp().trainable_variables)


def test_exact_receipt_is_within_rounding(grown):
    (receipt,) = grown.growth_history
    assert receipt.exact and set(receipt.claims.values()) == {"exact"}
    assert receipt.relative_diff <= receipt.tolerance
    loss = receipt.loss_before
    assert abs(receipt.loss_after - loss) <= receipt.tolerance * abs(loss) * 2


def test_approximate_receipt_says_why():
    model = mlp()
    for weight in model.network.weights:
        weight.assign(np.random.default_rng(0).standard_normal(weight.shape))
    receipt = model.grow({"num_layers": 4}, "stack")
    assert not receipt.exact
    assert receipt.relative_diff > receipt.tolerance
    assert "of their own" in receipt.claims["layers"]
    assert receipt.claims["layers"] in " ".join(str(receipt).split())


def test_receipt_prints_a_short_table(grown):
    text = str(grown.growth_history[0])
    assert "hidden_dim" in text and "num_layers" in text
    assert "intermediate_dim" not in text, "only what changed"
    assert "parameters" in text and "loss" in text and "slots" in text
    assert len(text.splitlines()) <= 16
    assert max(map(len, text.splitlines())) <= 79


def test_combined_strategy_prints_its_parts():
    receipt = mlp().grow(TARGET, Combine("direct", "top"))
    assert receipt.strategy.startswith("Combine(width=Direct(")
    assert "depth=Top(zero_exits=False)" in receipt.strategy


def test_receipt_survives_json(grown):
    (receipt,) = grown.growth_history
    text = json.dumps(receipt.to_dict())
    assert Receipt.from_dict(json.loads(text)) == receipt


def tf_dataset(model):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensors(batch(model, 0))


DATA = {
    "arrays": lambda model: batch(model, 0),
    "PyDataset": lambda model: Batches(model),
    "tf.data": tf_dataset,
    "weighted": lambda model: (*batch(model, 0), np.ones(4, "float32")),
    "generator": lambda model: (batch(model, i) for i in range(2)),
}


@pytest.mark.grid
@pytest.mark.parametrize("kind", DATA)
def test_loss_is_read_off_any_data(kind):
    model = compiled(mlp())
    expected = model.evaluate(*batch(model, 0), verbose=0)
    receipt = model.grow(TARGET, data=DATA[kind](model))
    assert receipt.loss_before == pytest.approx(expected)
    assert receipt.loss_after == pytest.approx(expected)


def test_without_data_there_is_no_loss():
    receipt = compiled(mlp()).grow(TARGET)
    assert receipt.loss_before is None and receipt.loss_after is None


def test_measuring_the_loss_leaves_metrics_alone():
    model = compiled(gpt2(), metrics=["accuracy"])
    train(model, epochs=1)
    before = model.get_metrics_result()
    model.grow(TARGETS["gpt2"], data=batch(model, 0))
    assert model.get_metrics_result() == before


def grow_once(model):
    model.grow(TARGETS["mlp"], seed=0)


def test_history_counts_growths_and_parameters():
    model = compiled(mlp())
    small = model.count_params()
    history = train(model, {("epoch", 1): grow_once}, epochs=3).history
    large = model.count_params()
    assert history["growths"] == [0, 1, 1]
    assert history["parameters"] == [small, large, large]


def ready_made(model, *callbacks):
    """Callbacks as `fit` takes them, with a history and a bar of their own."""
    return keras.callbacks.CallbackList(
        list(callbacks),
        add_history=True,
        add_progbar=True,
        model=model,
        verbose=2,
        epochs=1,
        steps=1,
    )


@pytest.mark.parametrize("make", [lambda model, *c: list(c), ready_made])
def test_a_progress_bar_says_nothing_before_something_grew(make, capsys):
    model = compiled(mlp())
    at_the_end = At({("epoch", 0): grow_once})
    bars, histories = [], []
    for own in ([], [at_the_end], []):
        run = model.fit(
            *batch(model, 0), callbacks=make(model, *own), verbose=2
        )
        bars.append(capsys.readouterr().out)
        histories.append(run.history)
    assert ["growths" in bar for bar in bars] == [False, True, True]
    assert ["parameters" in bar for bar in bars] == [False, True, True]
    assert all("loss" in bar for bar in bars)
    assert [h["growths"] for h in histories] == [[0], [1], [1]]


@pytest.mark.parametrize("as_list", [True, False])
def test_fit_leaves_the_callers_callbacks_alone(as_list):
    model = compiled(mlp())
    callbacks = [keras.callbacks.TerminateOnNaN()]
    given = (
        callbacks
        if as_list
        else keras.callbacks.CallbackList(
            callbacks, add_history=True, model=model
        )
    )
    model.fit(*batch(model, 0), callbacks=given, verbose=0)
    if as_list:
        assert len(given) == 1


def test_tensorboard_shows_the_growth(tmp_path):
    tf = pytest.importorskip("tensorflow")
    model = compiled(mlp())
    board = keras.callbacks.TensorBoard(tmp_path, update_freq="epoch")
    train(model, {("epoch", 0): grow_once}, callbacks=[board])
    tags = {}
    for file in tmp_path.rglob("events*"):
        for event in tf.compat.v1.train.summary_iterator(str(file)):
            for value in event.summary.value:
                tags[value.tag] = event.step
    assert tags["growth/receipt"] == 3
    assert {"growth/parameters_after", "growth/max_abs_diff"} <= set(tags)


@pytest.mark.grid
@pytest.mark.parametrize("family", MODELS)
def test_same_seed_same_receipt(family):
    first, second = MODELS[family](), MODELS[family]()
    for model in (first, second):
        model.grow(TARGETS[family], seed=3)
    (one,), (two,) = first.growth_history, second.growth_history
    assert one.max_abs_diff == two.max_abs_diff
    for a, b in zip(first.weights, second.weights, strict=True):
        assert np.array_equal(
            keras.ops.convert_to_numpy(a), keras.ops.convert_to_numpy(b)
        )


def test_strategy_in_the_receipt_is_the_one_asked_for():
    for name in strategies.names(aliases=False):
        model = mlp()
        if strategies.get(name).needs_data:
            continue  # without data it cannot
        target = {"hidden_dim": 8, "num_layers": 3}
        try:
            receipt = model.grow(target, name)
        except ValueError as error:
            assert "Combine(" in str(error), name
            continue
        assert receipt.strategy == repr(strategies.get(name))


def test_what_prints_is_shown_once_in_a_notebook(grown, monkeypatch):
    """Rich takes a notebook for a terminal of its own, and shows there what
    is only to become text."""
    found = [
        grown.growth_history[0],
        schedules.get("Sch1-B"),
        ledger.CostRecord("run", [ledger.StageCost("small", flops=5)]),
        kgrow.advise({"num_layers": 2}, {"num_layers": 4}, tokens=1e9),
    ]
    texts = [str(thing) for thing in found]
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    monkeypatch.setattr("rich.jupyter.display", pytest.fail)
    assert [str(thing) for thing in found] == texts
    assert all(texts)
