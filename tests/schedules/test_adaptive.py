"""The adaptive schedule: it decides, and nobody notices that it measured."""

import json
import random

import keras
import numpy as np
import pytest
from helpers.training import (
    BACKEND,
    STEPS,
    Batches,
    assert_same_state,
    compiled,
    gpt2,
    mlp,
    train,
)

import kgrow
from kgrow import GrowthError
from kgrow.backend.flops import training_flops
from kgrow.callbacks import Growth
from kgrow.schedules import Adaptive, GrowthSchedule, Stage
from kgrow.schedules.adaptive.decision import decide

pytestmark = pytest.mark.compiles

TARGET = {"intermediate_dim": 9, "num_layers": 3}
NEVER = 1e9

# TensorFlow's compiler takes seconds for what is run a few times.
QUICK = {"jit_compile": False} if BACKEND == "tensorflow" else {}


def model_of(make=mlp, optimizer="adam", **sizes):
    return compiled(make(**sizes), optimizer, **QUICK)


def adaptive_of(target=TARGET, until=12, **arguments):
    return Adaptive(
        target,
        **{
            "until": until,
            "every": 4,
            "probe_steps": 4,
            "held_out": 2,
            "ramp": 3,
            "verbose": 0,
            **arguments,
        },
    )


def run(schedule, model=None, epochs=99, **arguments):
    model = model or model_of()
    data = Batches(model, 6, offset=100)
    callback = Growth(schedule, data, verbose=0)
    train(model, callbacks=[callback], epochs=epochs, **arguments)
    return model


def steps_of(model):
    return [receipt.step for receipt in model.growth_history]


def untimed(log):
    """A log without what a clock said."""
    text = json.dumps(log)
    return json.loads(
        text,
        object_hook=lambda d: {
            k: v for k, v in d.items() if "seconds" not in k
        },
    )


def _sgd_schedule(model):
    del model
    rate = keras.optimizers.schedules.PolynomialDecay(1e-1, 20, 1e-3)
    return keras.optimizers.SGD(rate, momentum=0.9)


def _averaging(model):
    del model
    return keras.optimizers.AdamW(0.01, use_ema=True)


@pytest.mark.compiles
@pytest.mark.parametrize(
    "make, optimizer",
    [
        (mlp, "adam"),
        pytest.param(gpt2, _sgd_schedule, marks=pytest.mark.slow),
        pytest.param(mlp, _averaging, marks=pytest.mark.compiles),
    ],
)
def test_a_run_that_stays_is_a_run_without_it(make, optimizer):
    """Bit for bit, with dropout and with decisions within epochs."""
    target = {"num_layers": 4}
    model = run(
        adaptive_of(target, until=1000, margin=NEVER),
        model_of(make, optimizer),
        epochs=3,
    )
    assert len(model.callback_state["adaptive"]["log"]) == 2
    plain = model_of(make, optimizer)
    train(plain, epochs=3)
    assert_same_state(model, plain)


@pytest.mark.compiles
@pytest.mark.parametrize(
    "make", [mlp, pytest.param(gpt2, marks=pytest.mark.slow)]
)
def test_what_was_decided_is_replayed_to_the_bit(make):
    target = {**TARGET, "intermediate_dim": 14} if make is gpt2 else TARGET
    adaptive = adaptive_of(target)
    model = run(adaptive, model_of(make))
    assert {f: model.growth_config[f] for f in target} == target
    log = json.loads(json.dumps(adaptive.log))

    schedule = Adaptive.replay(log)
    assert type(schedule) is GrowthSchedule
    assert schedule.total_steps == 12
    again = model_of(make)
    train(again, callbacks=[Growth(schedule, verbose=0)], epochs=99)
    assert steps_of(again) == steps_of(model)
    assert_same_state(model, again)
    for one, two in zip(
        model.growth_history, again.growth_history, strict=True
    ):
        assert one.seed == two.seed


@pytest.mark.slow
@pytest.mark.compiles
def test_two_runs_decide_the_same():
    logs = []
    for _ in range(2):
        adaptive = adaptive_of({"num_layers": 3}, margin=0.0)
        run(adaptive)
        logs.append(untimed(adaptive.log))
    assert logs[0] == logs[1]
    assert logs[0][0]["step"] == 4


@pytest.mark.compiles
def test_the_log_says_what_was_measured():
    adaptive = adaptive_of()
    run(adaptive)
    first, second = adaptive.log
    assert first["sizes"] == {"intermediate_dim": 6, "num_layers": 2}
    assert set(first["candidates"]) == set(TARGET)
    for field, found in first["candidates"].items():
        assert found[field] == TARGET[field]
        # As many steps as cost what the present model's cost.
        ratio = first["present"]["flops_per_step"] / found["flops_per_step"]
        assert found["steps"] == round(4 * ratio)
        fall = first["present"]["before"] - found["after"]
        cost = found["steps"] * found["flops_per_step"]
        assert found["rate"] == pytest.approx(fall / cost)
    assert set(second["candidates"]) == set(TARGET) - {first["choice"]}
    assert first["spent"] == 4 * first["present"]["flops_per_step"]
    assert second["measured"] == first["flops"] + second["flops"]
    assert second["seconds"] > 0
    assert first["choice"] in first["reason"]


@pytest.mark.slow
@pytest.mark.compiles
def test_the_target_is_reached_in_time():
    """Though nothing pays: as late as it may, one decision for each move."""
    adaptive = adaptive_of(
        until=40,
        margin=NEVER,
        latest=0.5,
        moves={"num_layers": [3]},
        target={"intermediate_dim": 9, "num_layers": 4},
    )
    model = run(adaptive)
    assert steps_of(model) == [12, 16, 20]
    assert [e["choice"] is None for e in adaptive.log] == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert "forced" in adaptive.log[-1]["reason"]
    layers = [r.target_config["num_layers"] for r in model.growth_history]
    assert sorted(set(layers)) in ([2, 3, 4], [3, 4])
    assert int(model.optimizer.iterations) == 40


@pytest.mark.compiles
def test_the_budget_holds_the_trials():
    model = model_of()
    step = training_flops(model.network, (4, 5))
    large = training_flops(mlp(**TARGET).network, (4, 5))
    budget = 90 * step
    adaptive = adaptive_of(until=None, budget=budget, latest=0.9)
    run(adaptive, model)
    last = adaptive.log[-1]
    total = int(model.optimizer.iterations)
    assert total == last["until"]
    spent = last["spent"] + last["measured"] + (total - last["step"]) * large
    assert budget - large < spent <= budget
    again = model_of()
    schedule = Adaptive.replay(adaptive.log)
    train(again, callbacks=[Growth(schedule, verbose=0)], epochs=99)
    assert_same_state(model, again)


class Killed(Exception):
    pass


class Kill(keras.callbacks.Callback):
    """Saves after a number of batches, and then the process dies."""

    def __init__(self, path, after):
        super().__init__()
        self.path, self.left = path, after

    def on_train_batch_end(self, batch, logs=None):
        self.left -= 1
        if not self.left:
            self.model.save_weights(self.path)
            raise Killed


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("after", [4, 9])
def test_a_killed_run_is_resumed_to_the_bit(tmp_path, after):
    whole = adaptive_of()
    expected = run(whole, model_of(dropout=0.0), epochs=1, steps=12)

    path = tmp_path / "run.weights.h5"
    model = model_of(dropout=0.0)
    growth = Growth(adaptive_of(), Batches(model, 6, offset=100), verbose=0)
    with pytest.raises(Killed):
        train(model, callbacks=[growth, Kill(path, after)], epochs=1, steps=12)

    resumed = model_of(dropout=0.0, seed=9)
    resumed.optimizer.build(resumed.trainable_variables)
    resumed.load_weights(path)
    adaptive = adaptive_of()
    run(adaptive, resumed, epochs=1, steps=12 - after, offset=after)
    assert untimed(adaptive.log) == untimed(whole.log)
    assert_same_state(expected, resumed)


@pytest.mark.slow
@pytest.mark.compiles
def test_fit_called_again_goes_on():
    adaptive, model = adaptive_of(), model_of(dropout=0.0)
    for _ in range(4):
        run(adaptive, model, epochs=1)
    once = run(adaptive_of(), model_of(dropout=0.0))
    assert_same_state(model, once)
    with pytest.raises(GrowthError, match="come to its end"):
        run(adaptive, model)


@pytest.mark.compiles
def test_rates_by_the_clock():
    adaptive = adaptive_of({"num_layers": 3}, measure="seconds", probe_steps=6)
    run(adaptive)
    entry = adaptive.log[0]
    present = entry["present"]
    fall = present["before"] - present["after"]
    cost = 6 * present["seconds_per_step"]
    assert present["rate"] == pytest.approx(fall / cost)


@pytest.mark.compiles
def test_arrays_give_other_batches_each_time():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((64, 5)).astype("float32")
    adaptive = adaptive_of(
        {"num_layers": 3}, until=100, margin=NEVER, batch_size=4
    )
    model = model_of()
    growth = Growth(adaptive, (x, x[:, :3]), verbose=0)
    train(model, callbacks=[growth], epochs=3)
    first, second = (e["present"]["before"] for e in adaptive.log)
    assert first != second


@pytest.mark.parametrize(
    "message, arguments",
    [
        ("cannot shrink: 2 -> 1", {"target": {"num_layers": 1}}),
        ("no larger than the start", {"target": {"num_layers": 2}}),
        ("Did you mean `num_layers`", {"target": {"layers": 3}}),
        ("3 moves to be made", {"moves": {"num_layers": [3]}, "until": 12,
            "target": {"intermediate_dim": 9, "num_layers": 4}}),
        ("increasing sizes above 2", {"moves": {"num_layers": [9]}}),
        ("moves of", {"moves": {"hidden_dim": [9]}}),
        ("Stage 2: .* whole multiples", {"strategy": "hypercloning",
            "ramp": None}),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_refused_before_training(message, arguments):
    model = model_of()
    with pytest.raises(GrowthError, match=message):
        run(adaptive_of(**{"until": 100, **arguments}), model)
    assert not int(model.optimizer.iterations)


@pytest.mark.parametrize(
    "message, arguments",
    [
        ("`until`, or after `budget`", {"until": None}),
        ("`until`, or after `budget`", {"budget": 1e9}),
        ("`budget` is a number", {"until": None, "budget": -1}),
        ("`every` is an integer of at least 1", {"every": 0}),
        ("`probe_steps` is an integer of at least 4", {"probe_steps": 2}),
        ("`latest` is a part", {"latest": 1.5}),
        ("`margin` is at least 0", {"margin": -0.1}),
        ("`measure` must be one of", {"measure": "steps"}),
        ("`moves` is a dict", {"moves": [3]}),
        ("takes no `ramp`", {"strategy": "net2net"}),
        ("Give `until`", {"until": None, "budget": 1e9,
            "learning_rate": "reset"}),
        ("`target` is a dict of sizes", {"target": ["num_layers"]}),
        ("must be an integer", {"target": {"num_layers": 2.5}}),
    ],
)  # fmt: skip
def test_arguments_are_checked(message, arguments):
    with pytest.raises(GrowthError, match=message):
        adaptive_of(**arguments)


def test_data_are_needed_and_can_be_read_again():
    model = model_of()
    with pytest.raises(GrowthError, match=r"needs data .* Received: data=None"):
        train(model, callbacks=[Growth(adaptive_of(), verbose=0)])
    once = (batch for batch in [])
    with pytest.raises(GrowthError, match="more than once"):
        train(model, callbacks=[Growth(adaptive_of(), once, verbose=0)])


@pytest.mark.compiles
def test_another_target_is_told_apart():
    model = model_of()
    run(adaptive_of({"num_layers": 3}, until=100), model, epochs=1)
    with pytest.raises(GrowthError, match="on the way to another target"):
        run(adaptive_of(until=100), model, epochs=1)


def test_plain_fit_wants_plain_schedules():
    model = model_of()
    with pytest.raises(GrowthError, match="has no stages before it has run"):
        kgrow.fit(model, adaptive_of(), Batches(model), verbose=0)
    with pytest.raises(GrowthError, match="no decision"):
        Adaptive.replay([])


def test_it_is_data():
    adaptive = adaptive_of(ramp=7, strategy=kgrow.strategies.MSG(5))
    config = json.loads(json.dumps(adaptive.get_config()))
    assert Adaptive.from_config(config) == adaptive
    saved = keras.saving.serialize_keras_object(adaptive)
    assert keras.saving.deserialize_keras_object(saved) == adaptive
    assert "probe_steps=4" in repr(adaptive)


@pytest.mark.compiles
def test_the_user_s_random_numbers_go_on():
    def drawn(callbacks):
        model = model_of()
        train(model, callbacks=callbacks, epochs=2)
        return random.random(), np.random.rand()

    model = model_of()
    data = Batches(model, 6, offset=100)
    adaptive = adaptive_of(until=1000, margin=NEVER)
    assert drawn([Growth(adaptive, data, verbose=0)]) == drawn([])
    assert len(adaptive.log) == 1


@pytest.mark.parametrize(
    "present, candidates, forced, choice",
    [
        (1.0, {"a": 1.04, "b": 0.5}, False, None),
        (1.0, {"a": 1.04, "b": 1.2}, False, "b"),
        (-1.0, {"a": -0.99}, False, None),
        (-1.0, {"a": -0.9}, False, "a"),
        (None, {"a": 0.1}, False, "a"),
        (1.0, {"a": None, "b": 0.1}, True, "b"),
        (1.0, {"a": None}, False, None),
        (1.0, {"a": None}, True, "a"),
        (None, {"a": None}, False, None),
    ],
)
def test_the_rule(present, candidates, forced, choice):
    found, reason = decide(present, candidates, 0.05, forced)
    assert found == choice
    assert reason


@pytest.mark.compiles
def test_stage_arguments_reach_the_growth():
    adaptive = adaptive_of(
        {"num_layers": 3}, strategy="stack", ramp=None, learning_rate="reset"
    )
    run(adaptive)
    (stage,) = Adaptive.replay(adaptive.log).stages[1:]
    assert stage == Stage(
        12, {"num_layers": 3}, "stack", learning_rate="reset", seed=1
    )
    assert adaptive.log[0]["step"] % STEPS == 1
