"""Keras' own callbacks in a `fit` in which the model grows.

Each is tried twice: with a growth that adds nothing, after which it must do to
the bit as without one, and with one that adds units, after which it must do
its own work.
"""

import csv
import dataclasses
import json

import keras
import numpy as np
import pytest
from helpers.paths import REPOSITORY
from helpers.zoo import CASES, UNITS
from keras import callbacks

from kgrow import GrowableModel, GrowthError

pytestmark = pytest.mark.compiles

CASE = CASES["functional"]
X, Y = CASE.batch()
EPOCHS, GROWN = 4, 9


def model_of(optimizer="adam", **options):
    keras.utils.set_random_seed(0)
    network = GrowableModel(CASE.make(), CASE.axes)
    kinds = {"adam": keras.optimizers.Adam, "ema": with_average}
    network.compile(kinds[optimizer](0.01), loss="mse", **options)
    return network


def with_average(rate):
    return keras.optimizers.Adam(rate, use_ema=True, ema_momentum=0.5)


def grow_after(epoch, units=GROWN):
    """Grows the model at the end of an epoch, counted from 0."""

    def grow(now, logs):
        if now == epoch:
            target = {} if units == UNITS else {"units": units}
            grower.model.grow(target, seed=0)

    grower = callbacks.LambdaCallback(on_epoch_end=grow)
    return grower


def run(model, *own, epochs=EPOCHS, verbose=0):
    return model.fit(
        X,
        Y,
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        validation_data=(X, Y),
        callbacks=list(own),
        verbose=verbose,
    )


def score(*values):
    """Puts a number into the logs, one an epoch."""

    def put(epoch, logs):
        logs["score"] = values[epoch]

    return callbacks.LambdaCallback(on_epoch_end=put)


@dataclasses.dataclass
class Stock:
    """A callback of Keras.

    Args:
        make: function of a folder to the callback.
        check: function of `(model, history, folder, callback)` after a run
            with a growth, that asserts.
        optimizer: name of the optimizer.
    """

    make: object
    check: object
    optimizer: str = "adam"


def checkpoints(model, history, folder, callback):
    sizes = {}
    for path in sorted(folder.glob("*.keras")):
        loaded = keras.models.load_model(path)
        sizes[path.stem] = loaded.growth_config["units"]
    assert sizes == {"1": 6, "2": 6, "3": 9, "4": 9}
    np.testing.assert_array_equal(
        loaded.predict(X, verbose=0), model.predict(X, verbose=0)
    )


def lines(model, history, folder, callback):
    with open(folder / "log.csv") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == history["loss"]


def rates(model, history, folder, callback):
    found = np.float32(history["learning_rate"])
    np.testing.assert_allclose(found, np.float32([0.01, 0.02, 0.03, 0.04]))


def plateau(model, history, folder, callback):
    rate = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
    assert np.float32(rate) == np.float32(0.01 / 8)


def average(model, history, folder, callback):
    # After the last epoch the model is its own average.
    for variable, mean in zip(
        model.optimizer._trainable_variables,
        model.optimizer._model_variables_moving_average,
        strict=True,
    ):
        np.testing.assert_array_equal(*map(array, (variable, mean)))
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(
        history["val_loss"][-1], rel=1e-5
    )


def array(value):
    return keras.ops.convert_to_numpy(value)


def backed_up(model, history, folder, callback):
    assert not (folder / "backup").exists()


def board(model, history, folder, callback):
    assert list(folder.glob("board/train/*"))


def nothing_more(model, history, folder, callback):
    pass


def reported(model, history, folder, callback):
    assert len(callback.sent) == EPOCHS


class Sent(callbacks.RemoteMonitor):
    """Keeps the messages, in place of a server that takes them."""

    def on_epoch_end(self, epoch, logs=None):
        from keras.src.callbacks import remote_monitor

        requests = remote_monitor.requests
        remote_monitor.requests = self
        self.sent = getattr(self, "sent", [])
        try:
            super().on_epoch_end(epoch, logs)
        finally:
            remote_monitor.requests = requests

    def post(self, url, data, headers):
        self.sent.append(json.loads(data["data"]))

    class exceptions:
        RequestException = OSError


STOCK = {
    "BackupAndRestore": Stock(
        lambda folder: callbacks.BackupAndRestore(folder / "backup"), backed_up
    ),
    "CSVLogger": Stock(
        lambda folder: callbacks.CSVLogger(folder / "log.csv"), lines
    ),
    "EarlyStopping": Stock(
        lambda folder: callbacks.EarlyStopping(
            "loss", patience=9, restore_best_weights=True
        ),
        nothing_more,
    ),
    "History": Stock(lambda folder: callbacks.History(), nothing_more),
    "LambdaCallback": Stock(
        lambda folder: callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: None
        ),
        nothing_more,
    ),
    "LearningRateScheduler": Stock(
        lambda folder: callbacks.LearningRateScheduler(
            lambda epoch: 0.01 * (epoch + 1)
        ),
        rates,
    ),
    "ModelCheckpoint": Stock(
        lambda folder: callbacks.ModelCheckpoint(folder / "{epoch}.keras"),
        checkpoints,
    ),
    "OrbaxCheckpoint": Stock(
        lambda folder: callbacks.OrbaxCheckpoint(folder / "orbax"), nothing_more
    ),
    "ProgbarLogger": Stock(
        lambda folder: callbacks.ProgbarLogger(), nothing_more
    ),
    "ReduceLROnPlateau": Stock(
        lambda folder: callbacks.ReduceLROnPlateau(
            "loss", 0.5, patience=1, min_delta=99.0
        ),
        plateau,
    ),
    "RemoteMonitor": Stock(lambda folder: Sent(), reported),
    "SwapEMAWeights": Stock(
        lambda folder: callbacks.SwapEMAWeights(swap_on_epoch=True),
        average,
        "ema",
    ),
    "TensorBoard": Stock(
        lambda folder: callbacks.TensorBoard(folder / "board", 1), board
    ),
    "TerminateOnNaN": Stock(
        lambda folder: callbacks.TerminateOnNaN(), nothing_more
    ),
}
NAMES = [
    pytest.param(
        name,
        marks=pytest.mark.slow
        if name in ("TensorBoard", "OrbaxCheckpoint")
        else (),
    )
    for name in STOCK
]


def available(name):
    if name == "OrbaxCheckpoint":
        pytest.importorskip("orbax.checkpoint")
    if name == "RemoteMonitor":
        pytest.importorskip("requests")
    return STOCK[name]


def test_every_callback_of_keras_is_tried_and_on_the_page():
    bases = {"Callback", "CallbackList", "MonitorCallback"}
    known = {n for n in dir(callbacks) if n[0].isupper()} - bases
    assert set(STOCK) == known
    page = (REPOSITORY / "docs" / "stock_callbacks.md").read_text()
    rows = [line.split("`")[1] for line in page.splitlines() if "| `" in line]
    assert rows == sorted(known)


@pytest.mark.parametrize("name", NAMES)
def test_a_growth_that_adds_nothing_changes_nothing(name, tmp_path):
    stock, found = available(name), []
    for folder, growths in (("plain", []), ("grown", [grow_after(1, UNITS)])):
        model = model_of(stock.optimizer)
        (tmp_path / folder).mkdir()
        own = stock.make(tmp_path / folder)
        history = run(model, own, *growths).history
        found.append((history, *map(array, model.weights)))
        found[-1][0].pop("growths")
    plain, grown = found
    assert plain[0] == grown[0]
    for one, other in zip(plain[1:], grown[1:], strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_it_does_its_work_across_a_growth(name, tmp_path):
    stock = available(name)
    model, own = model_of(stock.optimizer), stock.make(tmp_path)
    history = run(model, own, grow_after(1)).history
    # Written before the callback that is to see it, here before the growth.
    assert history["growths"] == [0, int(name != "History"), 1, 1]
    assert len(history["loss"]) == EPOCHS
    assert model.growth_config == {"units": GROWN}
    stock.check(model, history, tmp_path, own)


# --- back to the best epoch --------------------------------------------------


def stopping(**options):
    return callbacks.EarlyStopping(
        "score", patience=2, mode="min", restore_best_weights=True, **options
    )


@pytest.mark.each
def test_the_best_epoch_before_a_growth_comes_back():
    model, seen = model_of(), {}
    keep = callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: seen.update(
            {epoch: [np.array(w) for w in model.get_weights()]}
        )
    )
    scores = score(3.0, 1.0, 2.0, 2.0)
    history = run(model, scores, keep, stopping(), grow_after(2))
    assert history.history["score"] == [3.0, 1.0, 2.0, 2.0]
    assert model.growth_config == {"units": UNITS}
    assert not model.growth_history
    for value, best in zip(model.get_weights(), seen[1], strict=True):
        np.testing.assert_array_equal(value, best)
    # It trains on, evaluates and grows as any other.
    before = model.evaluate(X, Y, verbose=0)
    assert run(model, epochs=3).history["loss"][-1] < before
    assert model.grow({"units": GROWN}).exact


def test_the_best_epoch_after_a_growth_comes_back():
    model = model_of()
    scores = score(3.0, 2.0, 1.0, 2.0)
    run(model, scores, stopping(), grow_after(1))
    assert model.growth_config == {"units": GROWN}
    assert len(model.growth_history) == 1


def test_weights_take_a_model_back_with_all_that_is_of_a_growth():
    model = model_of()
    run(model, epochs=1)
    model.grow({"units": 7}, seed=0, trainable="new")
    weights = model.get_weights()
    frozen = {p: m.sum() for p, m in model.architecture.frozen.items()}
    model.unfreeze()
    model.grow({"units": 8}, seed=0)
    model.set_weights(weights)
    assert model.growth_config == {"units": 7}
    assert len(model.growth_history) == 1
    now = {p: m.sum() for p, m in model.architecture.frozen.items()}
    assert now == frozen
    run(model, epochs=1)


def test_arrays_that_do_not_know_their_sizes_are_refused():
    model = model_of()
    arrays = [np.array(w) for w in model.get_weights()]
    model.grow({"units": GROWN})
    before = model.get_weights()
    with pytest.raises(GrowthError, match="a list made of its arrays does not"):
        model.set_weights(arrays)
    broken = model.get_weights()
    broken[0] = np.zeros((4, 5), "float32")
    with pytest.raises(ValueError):
        model.set_weights(broken)
    for value, same in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, same)


# --- resuming ----------------------------------------------------------------


class Broken(Exception):
    pass


def test_a_backup_of_a_grown_model_goes_on(tmp_path):
    whole = model_of()
    run(whole, grow_after(1))

    def breaks(epoch, logs):
        if epoch == 2:
            raise Broken

    def backup():
        return callbacks.BackupAndRestore(tmp_path / "backup")

    model = model_of()
    with pytest.raises(Broken):
        stop = callbacks.LambdaCallback(on_epoch_begin=breaks)
        # A backup is of what comes before it in the list.
        run(model, grow_after(1), backup(), stop)
    again = model_of()
    history = run(again, grow_after(1), backup()).history
    assert len(history["loss"]) == 2
    assert again.growth_config == {"units": GROWN}
    for one, other in zip(again.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(array(one), array(other))


def test_training_stops_where_a_growth_leaves_no_numbers():
    model = model_of()

    def poison(epoch, logs):
        if epoch == 1:
            model.grow({"units": GROWN}, seed=0)
            bias = model.get_layer("outer").bias
            bias.assign(np.nan * array(bias))

    bad = callbacks.LambdaCallback(on_epoch_end=poison)
    history = run(model, bad, callbacks.TerminateOnNaN()).history
    assert len(history["loss"]) == 3
