"""Whatever fails, and wherever: the old model trains on as if not asked."""

import random

import keras
import numpy as np
import pytest
from helpers.interrupts import ctrl_c
from helpers.training import (
    TARGETS,
    assert_same_state,
    batch,
    compiled,
    mlp,
    state,
    train,
    with_optimizer,
)
from keras.src.backend.common import global_state

from kgrow import GrowthError, strategies
from kgrow.algebra import exactness
from kgrow.algebra.plan import Plan
from kgrow.architecture import architecture, function_check
from kgrow.growth import growable_model, transaction, weight_transfer
from kgrow.growth.optimizer import grow_state, rebuild

pytestmark = pytest.mark.compiles

TARGET = TARGETS["mlp"]


class Broken(Exception):
    """Something that nobody expected."""


class Counter:
    """A function that fails at its `nth` call, and counts."""

    def __init__(self, function, nth, error):
        self.function, self.nth, self.error = function, nth, error
        self.calls = 0

    def __get__(self, instance, owner):
        return lambda *a, **k: self(instance, *a, **k)

    def __call__(self, *args, **kwargs):
        self.calls += 1
        if self.calls == self.nth:
            raise self.error()
        return self.function(*args, **kwargs)


# Every stage of a growth: where it can be made to fail, and at which call.
PLACES = {
    "building the network": (architecture.Architecture, "build", 1),
    "planning": (strategies.Net2Net, "plan", 1),
    "growing the third weight": (Plan, "grow", 3),
    "filling weights": (transaction, "fill_weights", 1),
    "giving the second value": (weight_transfer, "give_value", 2),
    "carrying layers": (transaction, "carry_layer_state", 1),
    "running the old network": (function_check, "run", 1),
    "running the new network": (function_check, "run", 2),
    "reading the loss": (transaction, "batch_loss", 2),
    "installing": (growable_model.GrowableModel, "_install", 1),
    "finding slots": (rebuild, "find_slots", 1),
    "forgetting slots": (rebuild, "forget", 1),
    "building the optimizer": (keras.optimizers.Adam, "build", 1),
    "the first slot": (grow_state, "give_value", 1),
    "the seventh slot": (grow_state, "give_value", 7),
    "initialising slots": (grow_state, "initialize", 1),
    "compiling": (growable_model.GrowableModel, "_refresh_functions", 1),
}


def failing(place, error, monkeypatch):
    """A callback's action: a growth that fails in one place."""
    owner, name, nth = PLACES[place]

    def action(grown):
        counter = Counter(getattr(owner, name), nth, error)
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, counter)
            with pytest.raises(error):
                grown.grow(TARGET, data=batch(grown, 3))
        assert counter.calls >= nth, "the failure was not reached"

    return action


@pytest.fixture(scope="module")
def expected():
    untouched = compiled(mlp())
    history = train(untouched).history["loss"]
    return state(untouched), history


@pytest.mark.grid
@pytest.mark.parametrize("place", PLACES)
def test_a_failure_anywhere_leaves_the_run_as_it_was(
    place, expected, monkeypatch
):
    refused = compiled(mlp())
    places = {
        ("batch", 1): failing(place, Broken, monkeypatch),
        ("epoch", 0): failing(place, KeyboardInterrupt, monkeypatch),
        ("batch", 4): failing(place, MemoryError, monkeypatch),
    }
    history = train(refused, places).history["loss"]
    assert refused.growth_history == []
    assert_same_state(refused, expected[0])
    assert history == expected[1]


@pytest.mark.parametrize(
    "name", ["LossScaleOptimizer", "MultiOptimizer map", "Adam ema", "Muon"]
)
def test_wrapped_optimizers_are_put_back(name, monkeypatch):
    # One after the other: on torch, dropout draws from a global generator that
    # making a model seeds.
    untouched = with_optimizer(mlp(), name)
    train(untouched)
    refused = with_optimizer(mlp(), name)
    fail = failing("the seventh slot", Broken, monkeypatch)
    train(refused, {("batch", 1): fail, ("epoch", 0): fail})
    assert_same_state(refused, untouched)


@pytest.mark.each
def test_growth_works_after_a_failure(monkeypatch):
    fail = failing("the first slot", Broken, monkeypatch)

    def again(model):
        fail(model)
        model.grow(TARGET, seed=1)

    grown = compiled(mlp())
    train(grown, {("batch", 1): lambda m: m.grow(TARGET, seed=1)})
    retried = compiled(mlp())
    train(retried, {("batch", 1): again})
    assert_same_state(retried, grown)


def test_a_false_claim_is_found_out():
    """A strategy that says it keeps the function, and does not."""

    class Boasting(strategies.Stack):
        def claims(self, plan):
            claims = super().claims(plan)
            return [exactness.Claim(c.dim, True, "exact") for c in claims]

    def fail(model):
        with pytest.raises(GrowthError, match="claims to keep the function"):
            model.grow({"num_layers": 4}, Boasting())

    untouched = compiled(mlp())
    train(untouched)
    refused = compiled(mlp())
    train(refused, {("batch", 1): fail})
    assert_same_state(refused, untouched)


def surroundings(model):
    """What else a growth could leave changed."""
    return (
        random.getstate(),
        np.random.get_state()[1].tolist(),
        sorted(vars(model.optimizer)),
        model._tracker.locked,
        len(global_state.get_global_attribute("uninitialized_variables", [])),
    )


@pytest.mark.slow
@pytest.mark.compiles
def test_ctrl_c_at_any_line_leaves_all_or_nothing():
    def small():
        model = with_optimizer(mlp(dropout=0.0), "Nadam")
        train(model, epochs=1)
        return model

    grown = small()
    with ctrl_c(None) as lines:
        grown.grow(TARGET, seed=1)
    model = small()
    before, around = state(model), surroundings(model)
    # A prime number of lines between the attempts, and the last lines, which
    # stand after the change.
    for line in [*range(1, len(lines), 53), len(lines)]:
        with ctrl_c(line), pytest.raises(KeyboardInterrupt):
            model.grow(TARGET, seed=1)
        if model.growth_config == grown.growth_config:
            break
        assert surroundings(model) == around, line
        assert_same_state(model, before)
    left = grown if model.growth_config == grown.growth_config else small()
    train(left, epochs=1)
    train(model, epochs=1)
    assert_same_state(model, left)


@pytest.mark.each
def test_ctrl_c_that_ends_the_run_leaves_the_model_usable(monkeypatch):
    def run(action):
        model = with_optimizer(mlp(), "Nadam")
        with pytest.raises(KeyboardInterrupt):
            train(model, {("batch", 1): action})
        train(model, epochs=1)
        return model

    def interrupted(model):
        slot = Counter(grow_state.give_value, 5, KeyboardInterrupt)
        monkeypatch.setattr(grow_state, "give_value", slot)
        model.grow(TARGET)

    def leave(model):
        raise KeyboardInterrupt

    assert_same_state(run(interrupted), run(leave))
