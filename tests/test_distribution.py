"""Growth under a distribution: the same run, the same placement."""

import functools
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from kgrow import tolerance

SCRIPT = pathlib.Path(__file__).parent / "distributed_growth.py"
DISTRIBUTIONS = {
    "jax": ["data_parallel", "model_parallel"],
    "tensorflow": ["mirrored"],
    "torch": [],
}[keras.backend.backend()]


@functools.cache
def run(distribution):
    path = os.pathsep.join([str(SCRIPT.parents[1]), *sys.path])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), distribution],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


@pytest.mark.parametrize("kind", ["", "_gates"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_growth_on_two_devices_is_growth_on_one(distribution, kind):
    single, double = run(f"one_device{kind}"), run(f"{distribution}{kind}")
    assert double["placed"], "grown variables left the distribution"
    # Sums over the batch are taken in another order, six steps long.
    rounding = tolerance("float32", fan_in=64, depth=6)
    np.testing.assert_allclose(
        double["losses"], single["losses"], rtol=rounding
    )


@pytest.mark.parametrize(
    "distribution", [d for d in DISTRIBUTIONS if d != "model_parallel"]
)
def test_an_operator_is_learned_on_two_devices(distribution):
    before, after = run(f"{distribution}_learning")["losses"]
    assert after < before
