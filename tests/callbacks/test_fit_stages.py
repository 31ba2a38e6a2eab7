"""`kgrow.fit`: stages with their own data, batch sizes and lengths."""

import json

import keras
import numpy as np
import pytest
from helpers.training import (
    BACKEND,
    VOCABULARY,
    assert_same_state,
    compiled,
    gpt2,
)

import kgrow
from kgrow import GrowthError
from kgrow.callbacks import Growth
from kgrow.schedules import Epochs, GrowthSchedule, Plateau, Stage, Tokens

pytestmark = pytest.mark.compiles

TOKENS = np.random.default_rng(0).integers(0, VOCABULARY, (16, 9), "int32")
X, Y = TOKENS[:, :-1], TOKENS[:, 1:]
ONE, TWO = {"num_layers": 1}, {"num_layers": 2}


class Shapes(keras.callbacks.Callback):
    """Which data came, epoch by epoch, and what Keras called the epochs."""

    def __init__(self):
        super().__init__()
        self.epochs, self.batches = [], []

    def on_epoch_begin(self, epoch, logs=None):
        self.epochs.append(epoch)
        self.batches.append(0)

    def on_train_batch_begin(self, batch, logs=None):
        self.batches[-1] += 1


# TensorFlow's compiler takes seconds for what is run a few times.
QUICK = {"jit_compile": False} if BACKEND == "tensorflow" else {}


def model_of(**sizes):
    return compiled(gpt2(dropout=0.0, **sizes), **QUICK)


def fit(schedule, *data, model=None, **arguments):
    model = model or model_of()
    seen = Shapes()
    history = kgrow.fit(
        model,
        schedule,
        *data,
        **{"shuffle": False, "verbose": 0, "callbacks": [seen], **arguments},
    )
    return model, history, seen


def test_one_call_where_the_data_stay():
    schedule = GrowthSchedule([Stage(5, ONE), Stage(8, TWO, "stack")])
    model, history, seen = fit(schedule, X, Y, batch_size=4)
    assert (seen.epochs, seen.batches) == ([0, 1], [4, 4])
    plain = model_of()
    plain.fit(
        X,
        Y,
        batch_size=4,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[Growth(schedule, verbose=0)],
    )
    assert_same_state(model, plain)
    assert history.history["loss"] == plain.history.history["loss"]


@pytest.mark.compiles
def test_batch_size_and_length_change_where_a_stage_begins():
    schedule = GrowthSchedule(
        [
            Stage(6, ONE, batch_size=4, sequence_length=4),
            Stage(8, TWO, "stack", sequence_length=8),
            Stage(11, batch_size=8),
        ]
    )
    model, history, seen = fit(schedule, X, Y)
    # An epoch ends where its data do, or where the next stage's begin.
    assert seen.batches == [4, 2, 2, 2, 1]
    assert history.epoch == seen.epochs == [0, 1, 2, 3, 4]
    assert history.history["stage"] == [1, 1, 2, 3, 3]
    assert all(len(v) == 5 for v in history.history.values())
    assert model.history is history
    tokens = 6 * 16 + 2 * 32 + 3 * 64
    assert model.callback_state["growth"]["tokens"] == tokens

    # The same by hand.
    plain = model_of()
    for begin, stop in ((0, 16), (0, 8)):
        rows = slice(begin, stop)
        plain.fit(X[rows, :4], Y[rows, :4], 4, verbose=0, shuffle=False)
    plain.grow(TWO, "stack", seed=1)
    plain.fit(X[:8], Y[:8], 4, verbose=0, shuffle=False)
    plain.fit(X, Y, 8, verbose=0, shuffle=False)
    plain.fit(X[:8], Y[:8], 8, verbose=0, shuffle=False)
    assert_same_state(model, plain)


def test_data_by_name_and_by_function():
    schedule = GrowthSchedule(
        [
            Stage(4, ONE, data="first", batch_size=4),
            Stage(6, TWO, "stack", data="second"),
        ]
    )
    data = {"first": (X, Y), "second": (X[::-1], Y[::-1])}
    named, _, _ = fit(schedule, data=data)
    asked = []

    def make(stage):
        asked.append((stage.data, stage.batch_size, dict(stage.config)))
        return data[stage.data]

    made, _, _ = fit(schedule, data=make)
    assert_same_state(named, made)
    assert asked == [("first", 4, ONE), ("second", 4, TWO)]


class Dataset(keras.utils.PyDataset):
    def __init__(self, size, length):
        super().__init__()
        self.size, self.length = size, length

    def __len__(self):
        return len(X) // self.size

    def __getitem__(self, index):
        rows = slice(index * self.size, (index + 1) * self.size)
        return X[rows, : self.length], Y[rows, : self.length]


def test_a_function_may_make_datasets():
    schedule = GrowthSchedule(
        [
            Stage(6, ONE, batch_size=4, sequence_length=4),
            Stage(9, TWO, "stack", sequence_length=8),
        ]
    )
    made, history, seen = fit(
        schedule, data=lambda s: Dataset(s.batch_size, s.sequence_length)
    )
    cut, _, _ = fit(schedule, X, Y)
    assert_same_state(made, cut)
    assert seen.batches == [4, 2, 3]


def test_what_is_cut_is_what_is_as_long_as_the_inputs():
    from kgrow.callbacks.stage_data import StageData

    x = {"token_ids": np.ones((4, 8)), "places": np.ones((4, 3))}
    y, weights = np.ones((4, 8, 2)), np.ones(4)
    schedule = GrowthSchedule([Stage(6, ONE, sequence_length=5)])
    data = StageData(schedule, None, None, {"a": (x, y, weights)})
    found = data.arguments(0)
    shapes = keras.tree.map_structure(np.shape, found["x"])
    assert shapes == {"token_ids": (4, 5), "places": (4, 3)}
    assert found["y"].shape == (4, 5, 2)
    assert found["sample_weight"].shape == (4,)


def test_called_again_it_goes_on(tmp_path):
    schedule = GrowthSchedule(
        [
            Stage(6, ONE, batch_size=4, sequence_length=4),
            Stage(9, TWO, "stack", sequence_length=8),
            Stage(12, batch_size=8),
        ]
    )
    once, whole, _ = fit(schedule, X, Y)
    model, first, _ = fit(schedule, X, Y, epochs=1)
    # In another process.
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    other = model_of(seed=7)
    other.optimizer.build(other.trainable_variables)
    other.load_weights(path)
    _, rest, _ = fit(schedule, X, Y, model=other)
    assert_same_state(once, other)
    assert [*first.epoch, *rest.epoch] == whole.epoch
    losses = [*first.history["loss"], *rest.history["loss"]]
    assert losses == whole.history["loss"]
    # At its end it trains nothing.
    _, nothing, seen = fit(schedule, X, Y, model=other)
    assert nothing.epoch == [] and seen.epochs == []
    assert_same_state(once, other)


def test_epochs_and_tokens():
    schedule = GrowthSchedule(
        [
            Stage(Epochs(1), ONE, batch_size=4, sequence_length=4),
            Stage(Tokens(64 + 100), TWO, "stack", sequence_length=8),
            Stage(Epochs(4), batch_size=8),
        ]
    )
    model, history, seen = fit(schedule, X, Y)
    assert seen.batches == [4, 4, 2, 2]
    assert history.history["stage"] == [1, 2, 3, 3]


def test_a_trigger_ends_an_epoch_too():
    rule = Plateau(3, min_delta=99.0, every=1)
    schedule = GrowthSchedule(
        [
            Stage(rule, ONE, batch_size=4),
            Stage(Plateau(3, at_most=4), batch_size=8),
        ]
    )
    model, history, seen = fit(schedule, X, Y)
    # Read first behind batch 1, it fires behind batch 4, for batch 5.
    assert seen.batches == [4, 2, 2] and history.epoch == [0, 1, 2]


def test_somebody_else_may_stop_it():
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    schedule = GrowthSchedule(
        [Stage(6, ONE, batch_size=4), Stage(9, TWO, "stack", batch_size=8)]
    )
    # Where the stage ends as well.
    model, history, _ = fit(schedule, X, Y, callbacks=[Stop()])
    assert history.epoch == [0, 1] and not model.growth_history
    _, history, _ = fit(schedule, X, Y, model=model)
    assert history.epoch == [2, 3] and len(model.growth_history) == 1


def test_validation_and_a_history_of_one_s_own():
    schedule = GrowthSchedule(
        [
            Stage(4, ONE, batch_size=4, sequence_length=4),
            Stage(8, TWO, "stack", sequence_length=8),
        ]
    )
    own = keras.callbacks.History()
    _, history, _ = fit(schedule, X, Y, validation_data=(X, Y), callbacks=[own])
    assert len(history.history["val_loss"]) == 2
    assert own.history == history.history and own.epoch == history.epoch


@pytest.mark.compiles
def test_growth_callback_of_one_s_own():
    schedule = GrowthSchedule(
        [Stage(2, ONE), Stage(4, {"intermediate_dim": 14}, "gradmax")]
    )
    with pytest.raises(GrowthError, match="data=None"):
        fit(schedule, X, Y)
    growth = Growth(schedule, data=(X, Y), verbose=0)
    model, _, _ = fit(schedule, X, Y, callbacks=[growth])
    assert model.growth_history[0].loss_before is not None
    assert not growth.driven


def staged(**second):
    return GrowthSchedule([Stage(4, ONE), Stage(8, TWO, "stack", **second)])


@pytest.mark.parametrize(
    "schedule, arguments, message",
    [
        (staged(), dict(), "Give either `x`"),
        (staged(), dict(x=X, data={"a": X}), "Give either `x`"),
        (staged(), dict(data=[X]), "dict of data by name"),
        (staged(data="b"), dict(data={"a": (X, Y), "c": X}), "data=None"),
        (
            staged(data="b"),
            dict(data={"a": (X, Y)}),
            "Stage 2 is to be trained on data='b'",
        ),
        (
            staged(sequence_length=9),
            dict(x=X, y=Y),
            "Stage 2 has sequence_length=9, and the inputs are only 8",
        ),
        (
            staged(sequence_length=2),
            dict(x=Dataset(4, 8)),
            "Stage 2 has sequence_length=2, and the batches of a dataset",
        ),
        (staged(batch_size=2), dict(x=Dataset(4, 8)), "batch_size=2"),
        (
            GrowthSchedule([Stage(Plateau(9, "val_loss"), ONE)]),
            dict(x=X, y=Y),
            "Stage 1 watches validation",
        ),
        (
            staged(sequence_length=2),
            dict(x=np.zeros(4), y=Y),
            "no axis 1 to be cut",
        ),
    ],
)
def test_data_that_cannot_be_used(schedule, arguments, message):
    model = model_of()
    with pytest.raises(GrowthError, match=message):
        fit(schedule, model=model, **arguments)
    assert not model.optimizer.built


def test_stock_fit_refuses_what_it_cannot_do():
    model = model_of()
    with pytest.raises(GrowthError, match="Stage 2 has other data.*kgrow.fit"):
        model.fit(
            X,
            Y,
            verbose=0,
            callbacks=[Growth(staged(batch_size=2), verbose=0)],
        )


def test_another_schedule_s_callback_is_refused():
    with pytest.raises(GrowthError, match="one schedule"):
        fit(
            staged(),
            X,
            Y,
            callbacks=[Growth(GrowthSchedule([Stage(4, ONE)]))],
        )


def test_what_is_kept_in_the_model_is_plain_data():
    schedule = GrowthSchedule(
        [Stage(Plateau(1, every=1), ONE), Stage(Plateau(1, at_most=2), TWO)]
    )
    model, _, _ = fit(schedule, X, Y)
    json.dumps(model.callback_state)
