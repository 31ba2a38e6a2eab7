"""The laboratory: its files after a crash, its plan, its recipes, its page."""

import json
import os
import signal
import subprocess
import sys
import time
import types

import keras
import numpy as np
import pytest
from helpers.paths import BENCHMARKS

sys.path.insert(0, str(BENCHMARKS))

from laboratory import (  # noqa: E402
    comparison,
    corpus,
    page,
    picture,
    plan,
    rates,
    recipes,
    training,
    validation,
    worker,
)
from laboratory.files import Queue, Results, states  # noqa: E402
from laboratory.rungs import RUNGS  # noqa: E402
from laboratory.spec import RunSpec  # noqa: E402

import kgrow  # noqa: E402
from kgrow.algebra.rounding import tolerance  # noqa: E402

torch_only = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)
pytestmark = torch_only

SPEC = RunSpec("toy", "stdlib", "scratch")


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "queue.jsonl")


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path / "runs.jsonl")


def _result(spec, loss=3.0, flops=1e12, rate_end=0.0):
    """The line of a run, as if it had been made."""
    reading = dict(
        step=9,
        tokens=100,
        flops=flops,
        seconds=1.0,
        learning_rate=rate_end,
        logs={"val_loss": loss},
    )
    first = dict(reading, flops=flops / 2, logs={"val_loss": loss + 1})
    return {
        "key": spec.key,
        "state": "done",
        "name": spec.name,
        "spec": vars(spec),
        "readings": [first, reading],
        "growths": [],
        "stages": [{"name": "a", "flops": flops}],
        "source": "scratch",
        "peak_learning_rate": spec.rate,
        "weights": {"blocks": 10, "all": 12},
        "validation": {
            "loss": loss,
            "standard_error": 0.01,
            "bits_per_byte": loss / 2,
        },
        "seconds_count": False,
    }


# --- files -------------------------------------------------------------------


def test_a_run_is_queued_once_and_counted_once(queue, results):
    assert queue.add([SPEC, SPEC.replaced(seed=1)]) == 2
    assert queue.add([SPEC]) == 0
    assert list(queue.specs()) == [SPEC.key, SPEC.replaced(seed=1).key]
    assert results.add(_result(SPEC, 3.0))
    assert not results.add(_result(SPEC, 2.0))
    assert results.read()[SPEC.key]["validation"]["loss"] == 3.0
    assert [*states(queue, results).values()] == ["done", "waiting"]


def test_a_line_that_was_cut_off_is_no_result(queue, results):
    """As a crash leaves it in the middle of writing."""
    other = SPEC.replaced(seed=1)
    queue.add([SPEC, other])
    results.add(_result(SPEC))
    path = results._lines.path
    whole = path.read_bytes()
    path.write_bytes(whole + json.dumps(_result(other)).encode()[:-9])
    assert [*states(queue, results).values()] == ["done", "waiting"]
    assert results.add(_result(other))
    assert [*results.read()] == [SPEC.key, other.key]
    assert path.read_bytes().startswith(whole)


def test_every_argument_of_a_run_is_in_its_key():
    changes = dict(
        rung="XS",
        text="english",
        recipe="midas",
        options={"power": 2},
        seed=1,
        tokens=1,
        decay="cosine",
        rate=1.0,
        batch=1,
        weight_decay=0.0,
    )
    assert set(changes) == set(vars(SPEC))
    keys = {SPEC.replaced(**{k: v}).key for k, v in changes.items()}
    assert len(keys | {SPEC.key}) == len(changes) + 1
    assert RunSpec.from_json(SPEC.to_json()).key == SPEC.key


# --- the worker --------------------------------------------------------------

# Stands for `evidence.py --run`: writes a result at once, fails, or hangs.
_CHILD = """
import json, os, sys, time
PID = os.path.join(os.path.dirname(__file__), "pid")
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
spec = json.loads(arguments["--run"])
if spec["seed"] == 7:
    sys.exit("it went wrong")
if spec["seed"] == 8:
    open(arguments["--out"], "w").write("{half")
    open(PID, "w").write(str(os.getpid()))
    time.sleep(600)
from laboratory.spec import RunSpec
key = RunSpec(**spec).key
result = {"key": key, "state": "done", "name": "x", "spec": spec,
    "validation": {"loss": 1.0}}
open(arguments["--out"], "w").write(json.dumps(result))
"""

_WORKER = """
import sys, types
from laboratory import plan, worker
from laboratory.files import Queue, Results
folder, *command = sys.argv[1:]
worker.prepared = lambda *args: folder
plan.extend = lambda *args: None
options = types.SimpleNamespace(minutes=5, rung="toy", text="stdlib")
worker.work(Queue(folder + "/queue.jsonl"), Results(folder + "/runs.jsonl"),
    options, command, folder)
"""


@pytest.fixture
def started(tmp_path):
    """Starts a worker in a process of its own."""
    child, script = tmp_path / "child.py", tmp_path / "worker.py"
    child.write_text(_CHILD)
    script.write_text(_WORKER)
    paths = os.pathsep.join([str(BENCHMARKS), *sys.path])
    environment = {**os.environ, "PYTHONPATH": paths}
    processes = []

    def start():
        command = [sys.executable, str(script), str(tmp_path)]
        command += [sys.executable, str(child)]
        process = subprocess.Popen(
            command, env=environment, start_new_session=True
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_worker_runs_what_waits_and_notes_what_fails(started, queue, results):
    specs = [SPEC.replaced(seed=seed) for seed in (0, 7, 1)]
    queue.add(specs)
    assert started().wait(120) == 0
    assert [*states(queue, results).values()] == ["done", "failed", "done"]
    assert "it went wrong" in results.read()[specs[1].key]["error"]


def test_a_killed_worker_leaves_nothing_of_its_run(started, queue, results):
    """The run is begun anew by the next one, and others are not repeated."""
    hangs = SPEC.replaced(seed=8)
    queue.add([SPEC, hangs])
    process = started()
    deadline = time.monotonic() + 120
    while SPEC.key not in results.read() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert [*states(queue, results).values()] == ["done", "waiting"]
    lines = results._lines.path.read_bytes().count(b"\n")
    assert lines == 1
    # The lock went with the worker: the run can be taken.
    folder = queue._lines.path.parent
    options = types.SimpleNamespace(rung="toy", text="stdlib")
    spec, lock = worker._next(queue, results, options, folder, set())
    with lock:
        assert spec == hangs


def test_a_worker_that_is_told_to_stop_ends_its_run(
    started, queue, results, tmp_path
):
    queue.add([SPEC.replaced(seed=8)])
    process, pid = started(), tmp_path / "pid"
    deadline = time.monotonic() + 120
    while not pid.exists() or not pid.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.terminate()
    assert process.wait(60) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert not results.read()


def test_two_workers_never_take_the_same_run(queue, results, tmp_path):
    queue.add([SPEC, SPEC.replaced(seed=1)])
    lock = worker._claim(tmp_path / "claims" / SPEC.key)
    with lock:
        assert worker._claim(tmp_path / "claims" / SPEC.key) is None
    again = worker._claim(tmp_path / "claims" / SPEC.key)
    assert again is not None
    again.__exit__(None, None, None)


# --- the plan ----------------------------------------------------------------


def _answer(queue, results, loss_of):
    """Makes up the results of all runs that wait."""
    for key, spec in queue.specs().items():
        if key not in results.read():
            results.add(_result(spec, loss_of(spec), flops=spec.tokens * 1e10))


@pytest.mark.parametrize("best", [1.5e-3, 1.2e-2, 9.6e-2])
def test_rates_are_tried_until_the_best_has_neighbours(queue, results, best):
    def loss_of(spec):
        return 3 + abs(np.log(spec.rate / best))

    for _ in range(6):
        plan.extend(queue, results, "toy", "stdlib")
        if plan.best_rate(SPEC, results.read(), "wsd"):
            break
        # No other run is wanted before.
        assert {spec.tokens for spec in queue.specs().values()} == {8}
        _answer(queue, results, loss_of)
    assert np.isclose(plan.best_rate(SPEC, results.read(), "wsd"), best)


def test_methods_train_as_the_reference_does(queue, results):
    def loss_of(spec):
        loss = 3 + abs(np.log(spec.rate / 1.2e-2)) - 0.01 * spec.tokens
        return loss + abs(spec.weight_decay - 0.01)

    for _ in range(20):
        before = len(queue.specs())
        plan.extend(queue, results, "toy", "stdlib")
        _answer(queue, results, loss_of)
        if before == len(queue.specs()):
            break
    specs = list(queue.specs().values())
    grown = [spec for spec in specs if spec.recipe != "scratch"]
    assert {spec.recipe for spec in grown} == set(recipes.RECIPES) - {"scratch"}
    settings = {(spec.rate, spec.weight_decay) for spec in grown}
    assert settings == {(1.2e-2, 0.01)}
    lengths = {s.tokens for s in specs if s.recipe == "scratch"}
    assert lengths == {8, 11, 14, 20}


def test_nothing_follows_from_rates_that_failed(queue, results):
    plan.extend(queue, results, "toy", "stdlib")
    for spec in queue.specs().values():
        results.add({**_result(spec), "state": "failed"})
    with pytest.raises(ValueError, match="tune it failed.*decay='wsd'"):
        plan.extend(queue, results, "toy", "stdlib")


# --- runs --------------------------------------------------------------------


@pytest.fixture(scope="module")
def text():
    rng = np.random.default_rng(0)
    # Every token is likely to be followed by the next.
    steps = rng.choice([1, 2], 6000, p=[0.9, 0.1])
    tokens = (np.cumsum(steps) % 300).astype("uint16")
    return corpus.Corpus(tokens[:4000], tokens[4000:], np.full(300, 2), "abc")


ALL = [("scratch", {}), *plan.METHODS, *plan._all_variants()]
WAYS = [pytest.param(*way, id=f"{way[0]}-{way[1]}") for way in ALL]


@pytest.fixture
def short(monkeypatch):
    """Runs of some ten steps."""
    monkeypatch.setattr(training, "LOOKS", 2)
    monkeypatch.setattr(training, "_GLANCE", 64)
    monkeypatch.setattr(recipes, "_FITTING", 2)


@pytest.mark.sample
@pytest.mark.parametrize("name, options", WAYS)
def test_every_recipe_plans_a_run_to_the_final_size(name, options):
    rung, steps = RUNGS["XS"], 2200
    made = recipes.make(
        SPEC.replaced(recipe=name, options=options), rung, steps
    )
    assert made.schedule.sizes[-1].items() >= rung.sizes.items()
    small = made.schedule.stages[0].until.count
    total = steps + small * made.trains_small_apart
    assert made.schedule.total_steps == total
    model = kgrow.models.GPT2(**rung.fixed, **made.start)
    rate = rates.schedule("wsd", 0.1, total)
    model.compile(keras.optimizers.AdamW(rate), "mse")
    made.schedule.check(model)


@pytest.mark.sample
@pytest.mark.parametrize(
    "name",
    [
        "scratch",
        "one-jump",
        "msg",
        "staged",
        "compoundgrow-without-length",
        "small+lemon",
        "small+ligo",
    ],
)
def test_recipes_train(text, short, name):
    spec = SPEC.replaced(recipe=name, tokens=0.2)
    found = json.loads(json.dumps(training.run(spec, text, held_out=640)))
    assert found["key"] == spec.key and found["state"] == "done"
    rung = RUNGS["toy"]
    assert found["weights"]["blocks"] == rung.block_weights
    last = found["readings"][-1]
    assert last["step"] == found["steps"]
    assert last["learning_rate"] < 0.1 * found["peak_learning_rate"]
    assert last["logs"]["val_loss"] == found["validation"]["loss"]
    # Two bytes a token.
    bits = found["validation"]["loss"] / 2 / np.log(2)
    np.testing.assert_allclose(found["validation"]["bits_per_byte"], bits)
    run = training.as_run(found)
    assert run.finished and run.name == spec.name
    apart = name.startswith("small+")
    assert (run.source_cost("flops") > 0) == apart
    assert bool(found["growths"]) == (name != "scratch")


def test_a_run_is_the_same_when_it_is_repeated(text, short):
    spec = SPEC.replaced(recipe="one-jump", tokens=0.12)
    first, again = (training.run(spec, text, held_out=640) for _ in range(2))
    assert first["validation"] == again["validation"]


def test_blocks_weigh_what_is_said():
    rung = RUNGS["XS"]
    model = kgrow.models.GPT2(**rung.fixed, **rung.sizes)
    outside = 48 * (rung.vocabulary + rung.length + 2)
    assert rung.block_weights == model.network.count_params() - outside


@pytest.mark.parametrize("decay", sorted(rates.DECAYS))
def test_rates_rise_and_end_at_zero(decay):
    schedule = rates.schedule(decay, 0.5, 1000)
    start, half, top, late, end = (
        float(schedule(step)) for step in (0, 25, 50, 950, 1000)
    )
    assert (start, half, top, end) == (0, 0.25, 0.5, 0)
    assert 0 < late < 0.5


# --- validation --------------------------------------------------------------


def test_held_out_windows_cover_the_split(text):
    tokens, targets = text.held_out(16, 100)
    np.testing.assert_array_equal(tokens[:, 1:], targets[:, :-1])
    np.testing.assert_array_equal(tokens[0], text.validation[:16])
    np.testing.assert_array_equal(targets[-1], text.validation[-16:])


def test_losses_are_those_of_keras(text):
    model = kgrow.models.GPT2(**RUNGS["toy"].fixed, **RUNGS["toy"].sizes)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    tokens, targets = text.held_out(16, 70)
    found = validation.losses(model, tokens, targets)
    expected = model.evaluate(tokens, targets, verbose=0)
    rounding = tolerance("float32", fan_in=48, depth=4)
    np.testing.assert_allclose(found.mean(), expected, rtol=rounding)


def test_paired_windows_tell_more_than_means():
    rng = np.random.default_rng(0)
    hard = rng.normal(3, 1, 640)
    one = validation.summary(hard)
    other = validation.summary(hard + 0.01 + rng.normal(0, 0.01, 640))
    gap, error = validation.difference(other, one)
    assert abs(gap - 0.01) < 4 * error
    assert error < 0.1 * one["standard_error"]


# --- the page ----------------------------------------------------------------


def _made_up(results, seeds):
    for rate in (6e-3, 1.2e-2, 2.4e-2):
        spec = SPEC.replaced(rate=rate, tokens=8.0)
        results.add(_result(spec, 3.2 if rate == 1.2e-2 else 3.3, 8e10))
    best = SPEC.replaced(rate=1.2e-2)
    for seed in seeds:
        off = 0.01 * seed
        for tokens, loss in ((8.0, 3.2), (20.0, 3.0)):
            spec = best.replaced(tokens=tokens, seed=seed)
            results.add(_result(spec, loss + off, 1e10 * tokens))
        spec = best.replaced(recipe="midas", tokens=20, seed=seed)
        results.add(_result(spec, 3.0 + off, (1.6 + off) * 1e11))


def test_the_page_says_what_was_saved(results, tmp_path):
    _made_up(results, seeds=(0,))
    (found,) = comparison.compare(results.read())
    assert found.best.rate == 1.2e-2 and len(found.references) == 2
    text = page.section([found], results.read(), {found.title: "x.png"})
    assert "5 runs so far. None was timed" in text
    row = next(line for line in text.splitlines() if "| midas" in line)
    assert "| 20.0 % |" in row and "| 0.16 |" in row
    assert "| 8 (6.7 of all weights) | 3.2000 |" in text


def test_the_page_gives_intervals_over_seeds(results, tmp_path):
    _made_up(results, seeds=(0, 1, 2))
    (found,) = comparison.compare(results.read())
    text = page.section([found], results.read(), {found.title: "x.png"})
    row = next(line for line in text.splitlines() if "| midas" in line)
    low, high = found.savings.row("midas").own_end["flops", True].interval
    assert f"| {100 * low:.0f} to {100 * high:.0f} % | " in row
    assert row.endswith("| 3 |")
    picture.draw(found, tmp_path / "x.png")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_the_page_admits_that_nothing_is_known(results):
    assert page.section([], results.read(), {}) == "No run has been made yet."
    results.add(_result(SPEC.replaced(tokens=8.0)))
    (found,) = comparison.compare(results.read())
    assert found.best is None and found.savings is None
    text = page.section([found], results.read(), {})
    assert "The best one is not bracketed yet." in text


def test_too_few_windows_have_no_error():
    with pytest.raises(ValueError, match="32 windows or more. Received: 31"):
        validation.summary(np.zeros(31))


def test_a_page_without_marks_is_refused():
    with pytest.raises(ValueError, match="no section"):
        page.replaced("# A page", "text")
