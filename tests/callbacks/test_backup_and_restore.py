"""Backups within an epoch, over stages, and of files that are damaged."""

import keras
import numpy as np
import pytest
from helpers.training import BATCH, At, assert_same_state, mlp, with_optimizer

import kgrow
from kgrow import GrowthError
from kgrow.callbacks import BackupAndRestore, Growth
from kgrow.schedules import GrowthSchedule, Stage

pytestmark = pytest.mark.compiles

BACKEND = keras.backend.backend()
ROWS = 14
WIDER = {"hidden_dim": 7, "intermediate_dim": 9}


class Killed(Exception):
    """What ends a run in the middle."""


def kill(model):
    raise Killed


def arrays():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, 5)).astype("float32")
    return x, x[:, :3]


class Rows(keras.utils.PyDataset):
    """Batches that the dataset itself shuffles at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.rng, self.order = np.random.default_rng(1), np.arange(ROWS)

    def __len__(self):
        return -(-ROWS // BATCH)

    def __getitem__(self, index):
        rows = self.order[index * BATCH : (index + 1) * BATCH]
        return tuple(part[rows] for part in arrays())

    def on_epoch_end(self):
        self.rng.shuffle(self.order)


def endless():
    rng = np.random.default_rng(2)
    while True:
        x = rng.standard_normal((BATCH, 5)).astype("float32")
        yield x, x[:, :3]


def tf_dataset():
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(arrays())
    return data.shuffle(ROWS, seed=5).batch(BATCH)


# Functions that give arguments of `fit`; four batches an epoch.
DATA = {
    "arrays": lambda: dict(zip("xy", arrays(), strict=True), batch_size=BATCH),
    "PyDataset": lambda: {"x": Rows()},
    "steps_per_epoch": lambda: {"x": endless(), "steps_per_epoch": 4},
    "tf.data": lambda: {"x": tf_dataset()},
}


def fit(data, folder, places=(), save_freq=1, **arguments):
    """A run of three epochs that grows in the second."""
    model = with_optimizer(mlp(), "Adam", metrics=["mae"])
    growth = {("batch", 5): lambda m: m.grow(WIDER, seed=1)}
    options = dict(epochs=3, verbose=0, **DATA[data](), **arguments)
    options.setdefault("callbacks", [])
    callbacks = options.pop("callbacks")
    if folder is not None:
        callbacks = [*callbacks, BackupAndRestore(folder, save_freq)]
    before = At({**growth, **dict(places)})
    model.fit(callbacks=[before, *callbacks], **options)
    return model


def resumed(data, folder, batch, **arguments):
    """The same, killed before the backup of a batch was written."""
    with pytest.raises(Killed):
        fit(data, folder, {("batch", batch): kill}, **arguments)
    # It has seen so many batches already.
    at = At({("batch", 5): lambda m: m.grow(WIDER, seed=1)})
    at.seen = batch // arguments.get("save_freq", 1)
    at.seen *= arguments.get("save_freq", 1)
    model = with_optimizer(mlp(), "Adam", metrics=["mae"])
    backup = BackupAndRestore(folder, arguments.get("save_freq", 1))
    model.fit(callbacks=[at, backup], epochs=3, verbose=0, **DATA[data]())
    return model


def same_history(found, expected):
    """Of the epochs that were trained, the first one in two parts."""
    for key, values in expected.history.history.items():
        ours = found.history.history[key]
        assert ours == values[-len(ours) :], key


@pytest.mark.grid
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(data, marks=pytest.mark.compiles if compiles else [])
        for data, compiles in zip(DATA, (0, 1, 0, 1), strict=True)
    ],
)
def test_a_run_goes_on_within_an_epoch(data, tmp_path):
    if data == "arrays" and BACKEND == "tensorflow":
        pytest.skip("TensorFlow draws another order of arrays in each process")
    expected = fit(data, None)
    found = resumed(data, tmp_path, 6)
    assert len(found.growth_history) == 1
    assert_same_state(found, expected)
    same_history(found, expected)
    assert not tmp_path.exists()


def small(**arguments):
    return with_optimizer(mlp(dropout=0.0), "Adam", **arguments)


def backed_up(folder, epochs=2):
    """A model, and the backups of two epochs of its training."""
    model = small()
    backup = BackupAndRestore(folder, delete_checkpoint=False)
    x, y = arrays()
    model.fit(x, y, BATCH, epochs, verbose=0, shuffle=False, callbacks=[backup])
    return model


def damage(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_a_damaged_backup_is_passed_over(tmp_path):
    first, second = backed_up(tmp_path, 1), backed_up(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "latest.weights.h5",
        "previous.weights.h5",
    ]
    damage(tmp_path / "latest.weights.h5")
    with pytest.warns(UserWarning, match="newest backup cannot be read"):
        again = backed_up(tmp_path)
    assert again.history.epoch == [1]
    assert_same_state(again, second)
    assert first.history.epoch == [0]


def test_no_backup_that_can_be_read(tmp_path):
    backed_up(tmp_path)
    for path in tmp_path.iterdir():
        damage(path)
    with pytest.raises(GrowthError, match="No backup can be read"):
        backed_up(tmp_path)


def test_weights_are_no_backup(tmp_path):
    small().save_weights(tmp_path / "latest.weights.h5")
    with pytest.raises(GrowthError, match="not where the run stood"):
        backed_up(tmp_path)


def test_what_cannot_be_backed_up(tmp_path):
    with pytest.raises(GrowthError, match="object store"):
        BackupAndRestore("gs://bucket/folder")
    with pytest.raises(ValueError, match="Empty `backup_dir`"):
        BackupAndRestore("")
    stock = keras.Sequential([keras.Input((5,)), keras.layers.Dense(3)])
    with pytest.raises(GrowthError, match="GrowableModel"):
        BackupAndRestore(tmp_path).set_model(stock)
    with pytest.raises(GrowthError, match="how many batches"):
        small().fit(
            endless(), verbose=0, callbacks=[BackupAndRestore(tmp_path, 2)]
        )


TWO_STAGES = GrowthSchedule(
    [
        Stage(3, {"num_layers": 2}, batch_size=BATCH),
        Stage(5, {"num_layers": 3}, "net2net", batch_size=7),
    ]
)


def test_stages_need_this_callback(tmp_path):
    stock = keras.callbacks.BackupAndRestore(tmp_path)
    with pytest.raises(GrowthError, match="kgrow.callbacks.BackupAndRestore"):
        kgrow.fit(small(), TWO_STAGES, *arrays(), callbacks=[stock])


@pytest.mark.compiles
@pytest.mark.parametrize("epoch", [0, 1])
def test_a_run_of_stages_goes_on(epoch, tmp_path):
    """Killed after a stage has ended, and before its last backup is gone."""

    def run(places=()):
        model = small()
        callbacks = [BackupAndRestore(tmp_path / "backup"), At(dict(places))]
        kgrow.fit(model, TWO_STAGES, *arrays(), callbacks=callbacks, verbose=0)
        assert not (tmp_path / "backup").exists()
        return model

    keras.utils.set_random_seed(0)
    expected = run()
    with pytest.raises(Killed):
        run({("epoch", epoch): kill})
    assert_same_state(run(), expected)


@pytest.mark.compiles
@pytest.mark.parametrize("last", [False, True])
def test_a_run_that_was_over_trains_nothing_more(last, tmp_path):
    """Killed between the last backup and its removal."""
    schedule = GrowthSchedule([Stage(2, {"num_layers": 2})])

    def run(**options):
        model = small()
        backup = BackupAndRestore(tmp_path / "backup", **options)
        callbacks = [Growth(schedule, verbose=0), backup]
        x, y = arrays()
        model.fit(
            x,
            y,
            BATCH,
            epochs=9,
            verbose=0,
            shuffle=False,
            callbacks=callbacks if last else callbacks[::-1],
        )
        return model

    expected = run(delete_checkpoint=False)
    found = run()
    assert found.history.epoch == []
    assert_same_state(found, expected)
    assert not (tmp_path / "backup").exists()
