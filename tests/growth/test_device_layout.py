"""Growth under a distribution: the same run, every piece in its place."""

import functools
import json
import os
import subprocess
import sys

import keras
import pytest
from helpers.paths import PROGRAMS, REPOSITORY, TESTS

from kgrow.algebra import tolerance

BACKEND = keras.backend.backend()
SCRIPT = PROGRAMS / "distributed_growth.py"
# Runs that share a process: starting one takes as long as a run.
ALWAYS = {
    "jax": ("maps", "derived", "places", "net2net"),
    "tensorflow": ("mirrored",),
    "torch": (),
}[BACKEND]
RARELY = {
    "jax": (
        "ligo",
        "gates",
        "net2net_replicated",
        "lemon_bert",
        "gates_gpt2",
        "ligo_gpt2",
        "ligo_tuned",
        "mango",
        "msg_learned",
        "plain",
        "frozen",
    ),
    "tensorflow": ("mirrored_gates", "mirrored_resume", "compiled_steps"),
    "torch": (),
}[BACKEND]
COMPARED = ("derived", "net2net", *RARELY) if BACKEND == "jax" else ()
# The longest sum, and sums one after the other: eight layers there and back,
# in each of four steps, with two of an operator before.
ROUNDING = tolerance("float32", fan_in=64, depth=6)


@functools.cache
def runs(names):
    path = os.pathsep.join([str(REPOSITORY), str(TESTS), *sys.path])
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *names],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.strip().splitlines()[-1])


def run(name):
    return runs(ALWAYS if name in ALWAYS else RARELY)[name]


def each(names):
    """The runs as parameters, the long ones only where there is time."""
    slow = pytest.mark.slow
    return [
        pytest.param(name, marks=[slow] if name in RARELY else [])
        for name in names
    ]


only = functools.partial(pytest.mark.skipif, reason="another backend's")
on_jax = only(BACKEND != "jax")
on_tensorflow = only(BACKEND != "tensorflow")


@pytest.mark.parametrize(
    "name",
    each([n for n in (*ALWAYS, *RARELY) if n in COMPARED or "mirr" in n]),
)
def test_growth_on_several_devices_is_growth_on_one(name):
    found = run(name)
    if name == "mirrored_resume":
        assert found["resumed"] == found["went_on"]
        return
    single, several = (found[n]["losses"] for n in ("single", "several"))
    assert several == pytest.approx(single, rel=ROUNDING)
    assert found["apart"] < ROUNDING


@pytest.mark.parametrize("name", each(COMPARED))
def test_grown_weights_and_slots_lie_where_the_layout_says(name):
    assert run(name)["misplaced"] == []


@pytest.mark.parametrize("name", each(COMPARED))
def test_no_weight_comes_to_the_host(name):
    """Losses and counts do, which are smaller than any matrix; and so does an
    operator that was learned, which every device has."""
    found = run(name)
    assert found["fetched"] < found["smallest"]
    if not any(n in name for n in ("ligo", "mango", "learned")):
        assert found["common"] < found["smallest"]


@on_jax
@pytest.mark.parametrize("name", each(["plain", "derived"]))
def test_no_device_ever_holds_a_whole_matrix(name):
    """Beside the old state each device gets its pieces of the new one, and at
    most a few more at a time."""
    found = run(name)
    assert found["peak"] <= found["grown"] + 3 * found["piece"]
    # The limit would not hold with one matrix in one place.
    assert found["whole"] > 4 * found["piece"]


@on_jax
def test_maps_in_pieces_are_maps():
    assert run("maps")["apart"] < tolerance("float32", fan_in=32)


@on_jax
@pytest.mark.parametrize("kind", ["gather", "dense"])
def test_compiled_maps_put_nothing_together(kind):
    assert not run("maps")["programs"][kind]["gathers"]


@on_jax
@pytest.mark.parametrize("kind", ["gather", "dense"])
def test_compiled_maps_hold_less_than_the_whole(kind):
    """Beside the matrices, which every device has."""
    found = run("maps")["programs"][kind]
    assert found["temporary"] < 8 * found["piece"]


@on_jax
def test_a_size_that_does_not_divide_changes_nothing():
    found = run("places")
    assert "intermediate_dim=40 or 44" in found["odd"]
    assert "'model'" in found["odd"]
    assert found["even"] == "grown"


@on_jax
def test_growing_needs_to_know_where():
    assert "set_distribution" in run("places")["nowhere"]


@pytest.mark.parametrize(
    "name", each([n for n in (*ALWAYS, *RARELY) if "mirrored" in n])
)
def test_grown_variables_are_mirrored(name):
    assert run(name)["placed"]


@on_tensorflow
@pytest.mark.slow
def test_a_run_goes_on_from_a_file_in_the_middle_of_a_ramp():
    assert run("mirrored_resume")["active_gates"] == [2]


@on_tensorflow
@pytest.mark.slow
def test_steps_compiled_as_a_tpu_wants_them_are_the_same_steps():
    found = run("compiled_steps")
    plain, compiled = found["CPU:1"], found["CPU:0"]
    assert compiled["losses"] == pytest.approx(plain["losses"], rel=ROUNDING)
    assert plain["placed"]
    assert compiled["placed"]
