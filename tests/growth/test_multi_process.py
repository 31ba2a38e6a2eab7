"""Growth in a run of several processes: all of them do the same."""

import functools
import json
import os
import socket
import subprocess
import sys

import keras
import pytest
from helpers.paths import PROGRAMS, REPOSITORY, TESTS

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax",
    reason="Keras trains in several processes on JAX only",
)

SCRIPT = PROGRAMS / "multi_process_growth.py"
# Runs that share the two processes.
ALWAYS, RARELY = ("plateau", "disagreement"), ("divided", "learned")


def both(run):
    """What each of two processes says of a run."""
    names = ALWAYS if run in ALWAYS else RARELY
    return [found[run] for found in processes(names)]


@functools.cache
def processes(names):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    path = os.pathsep.join([str(REPOSITORY), str(TESTS), *sys.path])
    # One device a process, whatever the rest of the tests simulate.
    env = {**os.environ, "PYTHONPATH": path, "XLA_FLAGS": ""}
    started = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), str(number), address, *names],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
        )
        for number in range(2)
    ]
    found = []
    try:
        for process in started:
            out, err = process.communicate(timeout=600)
            assert process.returncode == 0, err[-2000:]
            found.append(json.loads(out.strip().splitlines()[-1]))
    finally:
        for process in started:
            process.kill()
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "run",
    [
        "plateau",
        pytest.param("divided", marks=pytest.mark.slow),
        pytest.param("learned", marks=pytest.mark.slow),
    ],
)
def test_processes_grow_at_one_step_into_the_same_weights(run):
    first, second = both(run)
    assert len(first["grown_at"]) == 1
    assert first["grown_at"] == second["grown_at"]
    assert first["digest"] == second["digest"]
    assert first["losses"] == second["losses"]


@pytest.mark.slow
def test_a_trigger_fires_before_its_last_step():
    (step,) = both("plateau")[0]["grown_at"]
    assert 0 < step < 40


@pytest.mark.slow
def test_a_weight_can_be_in_two_processes():
    found = both("divided")[0]
    assert found["smallest_piece"] == 0.5
    assert found["exact"] == [True]


@pytest.mark.parametrize(
    ("what", "named"), [("seed", "the seed"), ("data", "the data")]
)
def test_processes_that_differ_do_not_grow(what, named):
    for found in both("disagreement"):
        assert named in found[what]
        assert found["kept"]
