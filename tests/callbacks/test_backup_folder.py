"""A folder of backups: whose files go, whose run it is of, who may write."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.training import At, assert_same_state, mlp, with_optimizer

import kgrow
from kgrow import GrowthError
from kgrow.callbacks import BackupAndRestore, Growth
from kgrow.callbacks.backup_folder import BackupFolder
from kgrow.schedules import GrowthSchedule, Stage


class Killed(Exception):
    """What ends a run in the middle."""


def kill(model):
    raise Killed


def arrays():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((14, 5)).astype("float32")
    return x, x[:, :3]


def small():
    return with_optimizer(mlp(dropout=0.0), "Adam")


def fit(model, folder, callbacks=(), epochs=2, **options):
    x, y = arrays()
    backup = BackupAndRestore(folder, **options)
    return model.fit(
        x,
        y,
        4,
        epochs,
        verbose=0,
        shuffle=False,
        callbacks=[*callbacks, backup],
    )


def unchanged(model, config, weights):
    assert model.growth_config == config
    for value, weight in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(value, weight)


def test_files_of_others_stay(tmp_path):
    others = ["best.keras", "run.jsonl", "log.csv", ".unfinished.mine"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "sub").mkdir()
    fit(small(), tmp_path)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "sub"])


def test_a_folder_of_nothing_else_goes(tmp_path):
    fit(small(), tmp_path / "backup")
    assert not (tmp_path / "backup").exists()


def test_a_link_to_a_folder_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    history = fit(small(), tmp_path / "link")
    assert history.epoch == [0, 1]
    assert (tmp_path / "link").is_symlink()
    assert os.listdir(tmp_path / "real") == []


OTHER = {
    "another optimizer of the same slots": (
        lambda: keras.optimizers.Lamb(0.01),
        {},
        "the optimizer is 'Lamb', and in the backup 'Adam'",
    ),
    "another rate": (
        lambda: keras.optimizers.Adam(0.5),
        {},
        "'learning_rate' of Adam is 0.5",
    ),
    "another setting": (
        lambda: keras.optimizers.Adam(0.01, beta_2=0.5),
        {},
        "'beta_2' of Adam is 0.5",
    ),
    "other sizes": (
        lambda: keras.optimizers.Adam(0.01),
        {"hidden_dim": 5},
        "'hidden_dim' of sizes is 5",
    ),
}


@pytest.mark.compiles
@pytest.mark.parametrize("case", OTHER)
def test_a_backup_of_a_run_started_otherwise_is_refused(case, tmp_path):
    def made(optimizer, **sizes):
        fields = {**small().growth_config, **sizes}
        keras.utils.set_random_seed(0)
        model = kgrow.models.MLP(input_dim=5, **fields)
        model.compile(optimizer, "mse")
        return model

    first = made(keras.optimizers.Adam(0.01))
    fit(first, tmp_path, delete_checkpoint=False)
    optimizer, sizes, message = OTHER[case]
    model = made(optimizer(), **sizes)
    config, weights = model.growth_config, model.get_weights()
    with pytest.raises(GrowthError, match="started otherwise") as caught:
        fit(model, tmp_path, epochs=3)
    assert message in str(caught.value)
    unchanged(model, config, weights)
    # The run itself goes on.
    again = made(keras.optimizers.Adam(0.01))
    assert fit(again, tmp_path, epochs=3).epoch == [2]


def test_a_run_goes_on_in_the_model_that_it_has_trained(tmp_path):
    model = small()
    fit(model, tmp_path, delete_checkpoint=False)
    model.optimizer.learning_rate.assign(1e-4)
    assert fit(model, tmp_path, epochs=3).epoch == [2]


def schedule(layers=3, until=12, steps=5, width=None):
    sizes = {"num_layers": layers} if width is None else {"hidden_dim": width}
    return GrowthSchedule(
        [Stage(steps, {"num_layers": 2}), Stage(until, sizes, "net2net")]
    )


FOREIGN = {
    "other sizes": (lambda: schedule(layers=4), "num_layers"),
    "another width": (lambda: schedule(width=9), "config"),
    "the first stage was shorter": (lambda: schedule(steps=4), "until=5"),
    "fewer stages": (
        lambda: GrowthSchedule([Stage(99, {"num_layers": 2})]),
        "this one has 1 stage",
    ),
}


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("first", [True, False], ids=["Growth", "Backup"])
@pytest.mark.parametrize("case", FOREIGN)
def test_the_backup_of_another_schedule_is_refused(case, first, tmp_path):
    def run(plan, places=()):
        model = small()
        growth = Growth(plan, verbose=0)
        backup = BackupAndRestore(tmp_path)
        callbacks = [growth, backup] if first else [backup, growth]
        x, y = arrays()
        model.fit(
            x,
            y,
            4,
            9,
            verbose=0,
            shuffle=False,
            callbacks=[*callbacks, At(dict(places))],
        )
        return model

    with pytest.raises(Killed):
        run(schedule(), {("epoch", 1): kill})
    change, message = FOREIGN[case]
    with pytest.raises(GrowthError, match="another schedule") as caught:
        run(change())
    assert message in str(caught.value)
    # Its own goes on, a longer one too.
    assert run(schedule(until=14)).growth_config["num_layers"] == 3


@pytest.mark.compiles
def test_either_order_ends_with_the_same_weights(tmp_path):
    def run(first, places=()):
        model = small()
        growth, backup = (
            Growth(schedule(), verbose=0),
            BackupAndRestore(tmp_path),
        )
        callbacks = [growth, backup] if first else [backup, growth]
        x, y = arrays()
        model.fit(
            x,
            y,
            4,
            9,
            verbose=0,
            shuffle=False,
            callbacks=[*callbacks, At(dict(places))],
        )
        return model

    expected = run(True)
    for first in (True, False):
        with pytest.raises(Killed):
            run(first, {("epoch", 1): kill})
        assert_same_state(run(first), expected)


HOLDER = """
import sys, time
from kgrow.callbacks.backup_folder import BackupFolder
BackupFolder(sys.argv[1]).lock()
print("held", flush=True)
sys.stdin.readline()
"""


def test_two_processes_on_one_folder(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(GrowthError, match=f"process {holder.pid}"):
            fit(small(), tmp_path)
        holder.kill()
    # A process that was killed holds nothing.
    assert fit(small(), tmp_path).epoch == [0, 1]


def test_a_process_may_come_back_to_its_own_folder(tmp_path):
    folders = BackupFolder(tmp_path), BackupFolder(tmp_path)
    folders[0].lock(), folders[1].lock()
    folders[1].unlock(), folders[0].unlock()
    assert os.listdir(tmp_path) == []
