"""Runs that die, at any moment and of anything, and what becomes of them.

Killed and started again by the same command, a run ends as an undisturbed one:
the same weights, optimizer, history and growths, by hash.
"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

import keras
import pytest
from helpers.paths import PROGRAMS, REPOSITORY

BACKEND = keras.backend.backend()
PROGRAM = PROGRAMS / "crash_run.py"
# TensorFlow is no part of these runs on other backends, and slow to import.
START = (
    "import sys, runpy;"
    "sys.modules.update({} if 'tensorflow' in sys.argv[1] else "
    "{'tensorflow': None});"
    "del sys.argv[:2];"
    "runpy.run_path(sys.argv[0], run_name='__main__')"
)
LIFETIME = 900


class Run:
    """One run, of as many processes as it takes.

    Args:
        folder: path.
        mode: string, one of the program's.
        cache: folder of compiled programs, which only undisturbed runs fill.
    """

    def __init__(self, folder, mode, cache):
        self.folder, self.mode, self.cache = folder, mode, cache
        folder.mkdir(exist_ok=True)

    def start(self, *arguments, fills_cache=False):
        environment = {
            **os.environ,
            "KERAS_BACKEND": BACKEND,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "JAX_COMPILATION_CACHE_DIR": str(self.cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": (
                "0" if fills_cache else "1e9"
            ),
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
        begin = [sys.executable, "-W", "ignore", "-c", START, BACKEND]
        return subprocess.Popen(
            [*begin, PROGRAM, self.folder, self.mode, *arguments],
            env=environment,
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def dies(self, *arguments, number=signal.SIGKILL):
        """One life, which ends by a signal that the program sends itself, or
        with the run.

        Returns:
            bool, whether it was the signal.
        """
        process = self.start(*arguments)
        _, errors = process.communicate(timeout=LIFETIME)
        ends = {-number}
        if number == signal.SIGINT:
            # Python's own way with a `KeyboardInterrupt`.
            ends |= {1, 130}
            assert "KeyboardInterrupt" in errors
        assert process.returncode in {0, *ends}, errors[-2000:]
        assert self.is_over == (process.returncode == 0)
        return process.returncode != 0

    def dies_within(self, seconds):
        """One life, killed so many seconds after training began, unless it
        has come to its end by then.

        Returns:
            bool, whether it was killed.
        """
        process = self.start()
        killer = threading.Timer(seconds, process.kill)
        process.stdout.readline()
        killer.start()
        _, errors = process.communicate(timeout=LIFETIME)
        killer.cancel()
        assert process.returncode in (0, -signal.SIGKILL), errors[-2000:]
        return process.returncode != 0

    def live(self, **options):
        """A life that nothing ends; what the run has come to."""
        process = self.start(**options)
        _, errors = process.communicate(timeout=LIFETIME)
        assert process.returncode == 0, errors[-2000:]
        return self.result()

    def result(self):
        assert not (self.folder / "backup").exists()
        return json.loads((self.folder / "result.json").read_text())

    @property
    def is_over(self):
        return (self.folder / "result.json").exists()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache):
    """A function of a mode: what it comes to if nothing happens."""
    known = {}

    def find(mode):
        if mode not in known:
            run = Run(tmp_path_factory.mktemp("calm"), mode, cache)
            known[mode] = run.live(fills_cache=True)
        return known[mode]

    return find


BATCH_BEGINS = "kgrow.callbacks:Growth.on_train_batch_begin"
RENAMES = "kgrow.callbacks.backup_folder:os.replace"
# Counted from the beginning of a life. The first five are what runs by
# default: before a growth, in one, in a ramp, in a file, between two renames.
MOMENTS = {
    "before a growth": ["--die", f"{BATCH_BEGINS}:5"],
    "in a growth": ["--die", "kgrow.growth.optimizer.grow_state:give_value:5"],
    "in a file": ["--die", "h5py:Group.create_dataset:150:after"],
    "in a ramp": ["--die", f"{BATCH_BEGINS}:8"],
    "between two renames": ["--die", f"{RENAMES}:2"],
}
MORE = {
    "a torn file": ["--tear", "3"],
    "before a plan": [
        "--die",
        "kgrow.growth.growable_model:GrowthTransaction.run:1",
    ],
    "filling weights": [
        "--die",
        "kgrow.growth.transaction:fill_weights:1:after",
    ],
    "installing": [
        "--die",
        "kgrow.growth.growable_model:GrowableModel._install:1:after",
    ],
    "compiling": [
        "--die",
        "kgrow.growth.growable_model:GrowableModel._refresh_functions:1:after",
    ],
    "after a growth": [
        "--die",
        "kgrow.growth.growable_model:GrowthTransaction.run:1:after",
    ],
    "a learning rate": [
        "--die",
        "kgrow.callbacks.growth:apply_policies.apply:1:after",
    ],
    "a gate that goes": [
        "--die",
        "kgrow.growth.growable_model:GrowableModel.remove_open_gates:1",
    ],
    "before the first backup": ["--die", f"{BATCH_BEGINS}:1"],
    "a file that is whole": ["--die", f"{RENAMES}:1"],
    "a file in its place": ["--die", f"{RENAMES}:3:after"],
    "the end": ["--die", "kgrow.callbacks.growth:Growth.on_epoch_end:2:after"],
}


@pytest.mark.skipif(BACKEND != "torch", reason="the long mode has them all")
def test_a_kill_in_a_growth(undisturbed, cache, tmp_path):
    run = Run(tmp_path, "stages", cache)
    assert run.dies(*MOMENTS["in a growth"])
    assert run.live() == undisturbed("stages")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["callback", "stream", "stages", "tokens"])
def test_kills_at_every_moment(mode, undisturbed, cache, tmp_path):
    """One after the other; a run that is over before it comes to the next
    moment is followed by another."""
    calm, kills, runs = undisturbed(mode), 0, 1
    run = Run(tmp_path / "0", mode, cache)
    for moment in [*MOMENTS.values(), *MORE.values()]:
        if not run.dies(*moment):
            assert run.result() == calm
            run = Run(tmp_path / str(runs), mode, cache)
            kills, runs = kills + 1, runs + 1
            assert run.dies(*moment), moment
        else:
            kills += 1
    assert run.live() == calm
    print(f"\n{mode}: {kills} kills at chosen moments in {runs} runs survived")
    assert kills == len(MOMENTS) + len(MORE)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["callback", "stages", "tokens"])
def test_kills_at_random_moments(mode, undisturbed, cache, tmp_path):
    calm = undisturbed(mode)
    # Again, now that its programs are compiled: how long it trains.
    begin = time.perf_counter()
    run = Run(tmp_path / "calm", mode, cache)
    assert run.live() == calm
    seconds = time.perf_counter() - begin
    rng = random.Random(f"{mode} {BACKEND}")
    kills = runs = 0
    while kills < 8:
        run = Run(tmp_path / str(runs), mode, cache)
        while not run.is_over:
            kills += run.dies_within(rng.uniform(0, seconds / 2))
        assert run.result() == calm
        runs += 1
    print(f"\n{mode}: {kills} kills at random moments in {runs} runs survived")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TERM", "INT"])
def test_other_signals(name, undisturbed, cache, tmp_path):
    run = Run(tmp_path, "stages", cache)
    number = getattr(signal, f"SIG{name}")
    for moment in MOMENTS.values():
        assert run.dies(*moment, "--signal", name, number=number)
    assert run.live() == undisturbed("stages")
