"""Learning rates at a growth, against a machine that counts in plain Python."""

import json

import keras
import numpy as np
import pytest
from helpers.interrupts import TOUCHING, ctrl_c
from helpers.training import (
    STEPS,
    assert_same_state,
    compiled,
    mlp,
    state,
    train,
    with_optimizer,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import optimizers
from keras.optimizers import schedules

from kgrow import GrowthError
from kgrow.callbacks import Growth
from kgrow.growth import growable_model as model_module
from kgrow.growth.optimizer import entry_masks
from kgrow.growth.optimizer.slots import nested
from kgrow.schedules import GrowthSchedule, Stage
from kgrow.schedules.learning_rate import apply_policies as rates
from kgrow.schedules.learning_rate.apply_policies import (
    Asymmetric,
    Constant,
    EventSchedule,
    Keep,
    Reset,
    Rewarm,
    Rewind,
)

pytestmark = pytest.mark.compiles

# Without dropout: files do not hold the states of random generators.
STILL = {"dropout": 0.0}
WIDER = {"intermediate_dim": 9}
TOTAL = 4 * STEPS
ROOM = 64

SCHEDULES = {
    "cosine": lambda: schedules.CosineDecay(
        0.01, 9, warmup_target=0.1, warmup_steps=3
    ),
    "cosine, from the top": lambda: schedules.CosineDecay(0.1, 12),
    "linear": lambda: schedules.PolynomialDecay(0.1, 12, 0.0),
    "steps": lambda: schedules.PiecewiseConstantDecay(
        [2, 5, 8], [0.02, 0.1, 0.05, 0.01]
    ),
    "exponential": lambda: schedules.ExponentialDecay(0.1, 5, 0.5),
    "inverse": lambda: schedules.InverseTimeDecay(0.1, 4, 0.5),
    "restarts": lambda: schedules.CosineDecayRestarts(0.1, 4, m_mul=0.5),
    "constant": lambda: Constant(0.1),
}

POLICIES = {
    "keep": ["keep"],
    "reset": ["reset"],
    "stretch": [Reset(stretch=True)],
    "rewind": [Rewind(steps=2)],
    "rewind to": [Rewind(to=1)],
    "rewarm": [Rewarm(3)],
    "reset and rewarm": [Reset(), Rewarm(2)],
    "stretch, rewind, rewarm": [Reset(stretch=True), Rewind(1), Rewarm(4)],
}


class Machine:
    """What the policies say, one step after the other."""

    def __init__(self, schedule):
        self.schedule = schedule
        self.position, self.scale, self.step = 0, 1, 0
        self.warm = []

    def rate(self, position=None):
        position = self.position if position is None else position
        return float(self.schedule(keras.ops.convert_to_tensor(position)))

    def apply(self, policies):
        for policy in rates.get(policies):
            if isinstance(policy, Reset):
                passed = [self.rate(p) for p in range(int(self.position) + 1)]
                left = TOTAL - self.step
                end = self.position + self.scale * left
                self.position = int(np.argmax(np.round(passed, 6)))
                self.scale = 1
                if policy.stretch:
                    self.scale = (end - self.position) / left
            elif isinstance(policy, Rewind):
                to = policy.to
                if to is None:
                    to = max(self.position - policy.steps, 0)
                self.position = min(self.position, to)
            elif isinstance(policy, Rewarm):
                self.warm.append((self.step, policy.steps))

    def take(self):
        rate = self.rate()
        for start, steps in self.warm:
            rate *= min((self.step - start + 1) / steps, 1.0)
        self.position += self.scale
        self.step += 1
        return rate


def expected(schedule, policies, events, steps=TOTAL):
    machine, found = Machine(schedule), []
    for step in range(steps):
        if step in events:
            machine.apply(policies)
        found.append(machine.take())
    return found


@keras.saving.register_keras_serializable("test_learning_rate")
class Recorder(optimizers.SGD):
    """Notes the rate that each step was taken with."""

    def build(self, variables):
        super().build(variables)
        self.seen = self.add_variable((ROOM,), name="seen")

    def _backend_update_step(self, grads, variables, learning_rate):
        here = keras.ops.equal(keras.ops.arange(ROOM), self._iterations)
        seen = keras.ops.where(here, learning_rate, self.seen.value)
        self.seen.assign(seen)
        super()._backend_update_step(grads, variables, learning_rate)

    @property
    def rates(self):
        return keras.ops.convert_to_numpy(self.seen)


def grow(policies, seed=1):
    """A callback's action: a growth, and what it does to the rate."""

    def action(model):
        size = model.growth_config["intermediate_dim"]
        model.grow({"intermediate_dim": size + 3}, seed=seed)
        rates.apply(model, policies, TOTAL)

    return action


def recorded(schedule, **arguments):
    return compiled(mlp(**STILL), Recorder(schedule), **arguments)


# --- the rate that the optimizer sees ----------------------------------------


@pytest.mark.grid
@pytest.mark.parametrize("name", POLICIES)
def test_the_optimizer_sees_what_the_policies_say(name):
    model = recorded(SCHEDULES["cosine"]())
    action = grow(POLICIES[name])
    train(model, {("batch", 4): action, ("batch", 7): action}, epochs=4)
    wanted = expected(SCHEDULES["cosine"](), POLICIES[name], {5, 8})
    np.testing.assert_allclose(
        model.optimizer.rates[:TOTAL], wanted, rtol=1e-5, atol=1e-9
    )


@pytest.mark.grid
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", POLICIES)
def test_with_any_schedule(schedule, name):
    base = SCHEDULES[schedule]()
    bent, policies = EventSchedule(base), rates.get(POLICIES[name])
    for step in (5, 8):
        for policy in policies:
            if policy.bends:
                policy.bend(bent, step, TOTAL)
    found = [float(bent(keras.ops.convert_to_tensor(t))) for t in range(TOTAL)]
    np.testing.assert_allclose(
        found, expected(base, policies, {5, 8}), rtol=1e-5, atol=1e-7
    )


STEP = st.sampled_from(["reset", "keep", Rewind(3), Rewind(to=2), Rewarm(3)])


@given(st.dictionaries(st.integers(0, TOTAL - 2), STEP), st.booleans())
@settings(max_examples=20, deadline=None)
def test_any_run_of_events(events, stretch):
    base = SCHEDULES["linear"]()
    bent, machine = EventSchedule(base), Machine(base)
    for step in range(TOTAL):
        policies = rates.get(events.get(step))
        if policies == [Reset()]:
            policies = [Reset(stretch)]
        machine.apply(policies)
        for policy in policies:
            if policy.bends:
                policy.bend(bent, step, TOTAL)
        found = float(bent(keras.ops.convert_to_tensor(step)))
        np.testing.assert_allclose(found, machine.take(), atol=1e-6)


@pytest.mark.parametrize("last", [0, 1, 7, 127, 128, 129, 5000, 100_000])
def test_the_maximum_is_found(last):
    long = schedules.CosineDecay(
        0.0, 90_000, warmup_target=1.0, warmup_steps=3331
    )
    flat = schedules.PiecewiseConstantDecay([77, 4000], [0.5, 1.0, 0.1])
    assert EventSchedule(long).peak(last) == min(last, 3331)
    assert EventSchedule(flat).peak(last) == (0 if last < 78 else 78)
    assert EventSchedule(Constant(0.1)).peak(last) == 0


def test_a_rewind_stops_at_the_start_and_never_goes_forward():
    schedule = EventSchedule(SCHEDULES["linear"]())
    Rewind(steps=9).bend(schedule, 4)
    assert schedule.position(4) == 0
    Rewind(to=100).bend(schedule, 6)
    assert schedule.position(6) == 2


def test_schedules_are_never_nested():
    model = compiled(mlp(**STILL), optimizers.Adam(SCHEDULES["linear"]()))
    base = model.optimizer._learning_rate
    for _ in range(3):
        grow([Rewarm(2), Reset()])(model)
    bent = model.optimizer._learning_rate
    assert bent.schedule is base and len(bent.events) == 6


@pytest.mark.parametrize("policies", [["reset"], [Rewind(2)], ["keep"], None])
def test_a_constant_stays_as_it_is(policies):
    model = compiled(mlp(**STILL), optimizers.Adam(0.01))
    train(model, epochs=1)
    model.grow(WIDER)
    before = state(model)
    rates.apply(model, policies, TOTAL)
    rates.restore(model)
    assert_same_state(model, before)
    assert isinstance(model.optimizer._learning_rate, keras.Variable)


def test_keep_changes_no_bit():
    kept, free = (with_optimizer(mlp(**STILL), "Adam schedule") for _ in "ab")
    train(kept, {("batch", 1): grow("keep")})
    train(free, {("batch", 1): grow(None)})
    assert_same_state(kept, free)
    assert "learning_rate" not in kept.callback_state


def test_total_steps_are_needed_where_the_rest_is_stretched():
    model = compiled(mlp(**STILL), optimizers.Adam(SCHEDULES["linear"]()))
    train(model, epochs=1)
    before, rate = state(model), model.optimizer._learning_rate
    for total in (None, STEPS):
        with pytest.raises(GrowthError, match=f"total_steps={total}"):
            rates.apply(model, Reset(stretch=True), total)
    assert_same_state(model, before)
    assert model.optimizer._learning_rate is rate
    assert not model.callback_state


# --- wrapped optimizers ------------------------------------------------------


def _schedule_each(name):
    """An optimizer of optimizers, all of which have schedules."""
    rate = SCHEDULES["cosine"]
    if name == "loss scale":
        return optimizers.LossScaleOptimizer(
            optimizers.Adam(rate()), dynamic_growth_steps=2
        )
    if name == "map":
        return optimizers.MultiOptimizer(
            optimizers.OptimizerMap(
                optimizers.SGD(rate()), {".*kernel": optimizers.Adam(rate())}
            )
        )
    return optimizers.MultiOptimizer(
        lambda v: (optimizers.Adam if "kernel" in v.path else optimizers.SGD)(
            rate()
        )
    )


@pytest.mark.grid
@pytest.mark.parametrize("name", ["loss scale", "map", "function"])
def test_every_optimizer_inside_is_told(name):
    model = compiled(mlp(**STILL), _schedule_each(name))
    action = grow([Reset(), Rewarm(4)])
    deeper = {"num_layers": 3}
    train(model, {("batch", 4): action})
    model.grow(deeper)
    rates.apply(model, "keep")
    leaves = [p for p in nested(model.optimizer) if len(nested(p)) == 1]
    for part in leaves:
        assert len(part._learning_rate.events) == 2
        rate = float(part._learning_rate(part._iterations))
        wanted = expected(SCHEDULES["cosine"](), [Reset(), Rewarm(4)], {5}, 7)[
            -1
        ]
        assert rate == pytest.approx(wanted, rel=1e-5)
    assert len(leaves) > 1 or name == "loss scale"


def test_one_that_began_later_counts_for_itself():
    optimizer = _schedule_each("map")
    model = compiled(mlp(**STILL), optimizer)
    optimizer.build(model.trainable_variables)
    late, early = optimizer.optimizers
    for part in (optimizer, early):
        part._iterations.assign(10)
    late._iterations.assign(4)
    rates.apply(model, Rewarm(3))
    assert [e["step"] for e in early._learning_rate.events] == [10]
    assert [e["step"] for e in late._learning_rate.events] == [4]


# --- going on ----------------------------------------------------------------

ACTIONS = {("epoch", 0): grow([Reset(stretch=True), Rewarm(5)])}
RESUMED = ["Adam schedule", "loss scale", "map"]


def _with(name):
    if name == "Adam schedule":
        return with_optimizer(mlp(**STILL), name)
    return compiled(mlp(**STILL), _schedule_each(name))


def test_two_fits_are_as_one():
    one, two = (with_optimizer(mlp(**STILL), "Adam schedule") for _ in "ab")
    train(one, ACTIONS, epochs=3)
    train(two, ACTIONS, epochs=1)
    for _ in range(2):
        rates.restore(two)
        train(two, epochs=1)
    assert_same_state(one, two)


@pytest.mark.parametrize("name", RESUMED)
def test_another_process_goes_on_from_weights(name, tmp_path):
    model = _with(name)
    train(model, ACTIONS, epochs=2)
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = _with(name)
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(tmp_path / "model.weights.h5")
    rates.restore(fresh)
    for each in (model, fresh):
        train(each, epochs=1, offset=20)
    assert_same_state(model, fresh)
    assert model.callback_state == fresh.callback_state
    assert json.loads(json.dumps(model.callback_state)) == model.callback_state


@pytest.mark.parametrize("name", RESUMED[:2])
def test_files_carry_the_schedule(name, tmp_path):
    model = _with(name)
    train(model, ACTIONS, epochs=2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inside = nested(loaded.optimizer)[-1]
    before = inside._learning_rate
    rates.restore(loaded)
    assert inside._learning_rate is before and len(before.events) == 2
    for each in (model, loaded):
        train(each, epochs=1, offset=20)
    assert_same_state(model, loaded)


class Killed(Exception):
    """What ends a run in the middle."""


def kill(model):
    raise Killed


@pytest.mark.parametrize("first", [0, 1])
def test_a_killed_run_goes_on(first, tmp_path):
    """In whichever order callbacks load weights and see to the rate."""
    schedule = GrowthSchedule(
        [
            Stage(STEPS, {"num_layers": 2}),
            Stage(
                TOTAL,
                WIDER,
                ramp=4,
                learning_rate=[Reset(stretch=True), Rewarm(5)],
            ),
        ]
    )

    def run(places, folder):
        model = with_optimizer(mlp(**STILL), "Adam schedule")
        backup = keras.callbacks.BackupAndRestore(tmp_path / folder)
        callbacks = [Growth(schedule, verbose=0), backup]
        if first:
            callbacks.reverse()
        train(model, places, epochs=4, callbacks=callbacks)
        return model

    with pytest.raises(Killed):
        run({("batch", 2 * STEPS): kill}, "a")
    assert_same_state(run({}, "a"), run({}, "b"))


def test_weights_of_before_bring_back_the_schedule(tmp_path):
    model = with_optimizer(mlp(**STILL), "Adam schedule")
    base = model.optimizer._learning_rate
    train(model, epochs=1)
    model.save_weights(tmp_path / "model.weights.h5")
    small = state(model)
    grow("reset")(model)
    model.load_weights(tmp_path / "model.weights.h5")
    rates.restore(model)
    assert model.optimizer._learning_rate is base
    assert_same_state(model, small)


def test_events_of_another_optimizer_are_forgotten():
    model = with_optimizer(mlp(**STILL), "Adam schedule")
    train(model, epochs=1)
    grow([Reset(), Asymmetric(new=0.0, steps=5)])(model)
    compiled(model, optimizers.Adam(SCHEDULES["linear"]()))
    rates.restore(model)
    assert not model.callback_state and not model.architecture.update_scales
    assert isinstance(model.optimizer._learning_rate, schedules.PolynomialDecay)


def test_restoring_what_is_so_compiles_nothing():
    model = with_optimizer(mlp(**STILL), "Adam schedule")
    train(model, ACTIONS, epochs=2)
    function = model.train_function
    rates.restore(model)
    rates.apply(model, "keep")
    assert model.train_function is function


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_changes_nothing(error, monkeypatch):
    model = with_optimizer(mlp(**STILL), "Adam schedule")
    train(model, ACTIONS, epochs=2)
    before, around = state(model), json.dumps(model.callback_state)
    rate, function = model.optimizer._learning_rate, model.train_function

    def fail(self):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(model_module.GrowableModel, "_refresh_functions", fail)
        with pytest.raises(error):
            rates.apply(model, ["reset", Asymmetric(new=0.5)])
    assert_same_state(model, before)
    assert json.dumps(model.callback_state) == around
    assert not model.architecture.update_scales
    assert model.optimizer._learning_rate is rate
    assert model.train_function is function


@pytest.mark.compiles
def test_ctrl_c_at_any_line():
    modules = (*TOUCHING, rates, entry_masks)
    policies = ["reset", Rewarm(4), Asymmetric(new=0.5)]

    def grown():
        model = with_optimizer(mlp(**STILL), "Adam schedule")
        train(model, epochs=1)
        model.grow(WIDER, seed=1)
        return model

    free = grown()
    with ctrl_c(None, modules) as lines:
        rates.apply(free, policies)
    model = grown()
    rate, function = model.optimizer._learning_rate, model.train_function
    for line in range(1, len(lines), 61):
        with ctrl_c(line, modules), pytest.raises(KeyboardInterrupt):
            rates.apply(model, policies)
        if model.architecture.update_scales:
            # All of it was done.
            break
        assert not model.callback_state and "apply" not in vars(model.optimizer)
        assert model.optimizer._learning_rate is rate
        assert model.train_function is function
    assert len(lines) > 50


# --- arguments ---------------------------------------------------------------

ALL = [
    Keep(),
    Reset(),
    Reset(stretch=True),
    Rewind(steps=8),
    Rewind(to=4),
    Rewarm(6),
    Asymmetric(new=0.0, old=0.5, steps=10),
]


@pytest.mark.parametrize("policy", ALL, ids=repr)
def test_configs_make_the_same_policy(policy):
    config = json.loads(json.dumps(rates.serialize(policy)))
    assert rates.get(config) == [policy]
    assert rates.get(config[0])[0] == policy
    assert rates.get([policy, None, config]) == [policy, policy]


def test_steps_are_scaled():
    assert Keep().scaled(0.5) == Keep()
    assert Reset(stretch=True).scaled(0.5) == Reset(stretch=True)
    assert Rewind(steps=8).scaled(0.5) == Rewind(steps=4)
    assert Rewind(to=0).scaled(0.5) == Rewind(to=0)
    assert Rewarm(6).scaled(0.01) == Rewarm(1)
    assert Asymmetric(new=0.0, steps=10).scaled(2) == Asymmetric(0.0, steps=20)
    assert Asymmetric(new=0.5).scaled(2) == Asymmetric(new=0.5)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: rates.get("rest"), "no such .* Received: 'rest'"),
        (lambda: rates.get(3), "no such .* Received: 3"),
        (lambda: rates.get({"a": 1}), "config: .* Received: {'a': 1}"),
        (lambda: rates.get("rewarm"), "needs arguments. Pass `kgrow.schedules"),
        (lambda: Reset(stretch=1), "Received: stretch=1"),
        (lambda: Rewind(), "Received: steps=None, to=None"),
        (lambda: Rewind(2, 3), "Received: steps=2, to=3"),
        (lambda: Rewind(0), "at least 1. Received: steps=0"),
        (lambda: Rewind(to=-1), "at least 0. Received: to=-1"),
        (lambda: Rewarm(1.5), "Received: steps=1.5"),
        (lambda: Asymmetric(new=-1), "Received: new=-1"),
        (lambda: Asymmetric(old="a"), "Received: old='a'"),
        (lambda: Asymmetric(steps=True), "Received: steps=True"),
        (lambda: Asymmetric(0, 0), "Received: new=0, old=0, steps=None"),
    ],
)
def test_arguments_are_checked(make, message):
    with pytest.raises(GrowthError, match=message):
        make()


def test_policies_are_checked_against_the_optimizer():
    model = mlp(**STILL)
    with pytest.raises(GrowthError, match="`compile\\(\\)` the model first"):
        rates.check(model, "reset")
    rates.check(model, "keep")
    rates.apply(model, None)
    compiled(model, optimizers.Adam(0.1))
    with pytest.raises(GrowthError, match="Constant\\(learning_rate\\)"):
        rates.check(model, Rewarm(3))
    compiled(model, optimizers.Adam(lambda: 0.1))
    with pytest.raises(GrowthError, match="function of no arguments"):
        rates.check(model, "reset")
    compiled(model, optimizers.Ftrl(SCHEDULES["linear"]()))
    for policy in (Reset(), Asymmetric(new=0.5)):
        with pytest.raises(GrowthError, match="'Ftrl' computes its weights"):
            rates.check(model, policy)
    compiled(model, optimizers.Ftrl(0.1))
    rates.check(model, "reset")
