"""What becomes of the optimizer's state: laws that every optimizer obeys."""

import keras
import numpy as np
import pytest
from helpers.training import (
    OPTIMIZERS,
    TARGETS,
    Foreign,
    assert_same_state,
    batch,
    compiled,
    gpt2,
    is_finite,
    mlp,
    train,
    values,
    with_optimizer,
)
from keras import optimizers

import kgrow
from kgrow import GrowthError, strategies
from kgrow.algebra.rounding import tolerance
from kgrow.architecture.architecture import relative_path
from kgrow.growth.optimizer.grow_state import POLICIES
from kgrow.growth.optimizer.slot_rules import rule_for
from kgrow.growth.optimizer.slot_scaling import WEIGHT
from kgrow.growth.optimizer.slots import find_slots, nested

pytestmark = pytest.mark.compiles

# Rounding of a gradient: the longest sum is over a batch of sequences, and it
# passes through the blocks twice.
ROUNDING = tolerance("float32", fan_in=64, depth=16)
MODELS = {"mlp": mlp, "gpt2": gpt2}
# Every kind of variable meets the optimizers that look at shapes.
CASES = [("mlp", name) for name in OPTIMIZERS] + [
    ("gpt2", name) for name in ("Adam", "Adafactor", "Muon")
]


@pytest.mark.sample
@pytest.mark.grid
@pytest.mark.parametrize("family, name", CASES)
def test_growing_by_nothing_changes_nothing(family, name):
    # Shuffled: whatever generator orders the data must not be drawn from.
    untouched = with_optimizer(MODELS[family](), name)
    try:
        expected = train(untouched, shuffle=True)
    except Exception as error:
        pytest.skip(f"Keras fails without growth: {error}"[:200])
    if not is_finite(untouched):
        pytest.skip("Keras diverges without growth")
    grown = with_optimizer(MODELS[family](), name)
    history = train(
        grown,
        {
            ("batch", 1): lambda m: m.grow({}),
            ("epoch", 0): lambda m: m.grow(m.growth_config),
        },
        shuffle=True,
    )
    assert len(grown.growth_history) == 2
    assert_same_state(grown, untouched)
    assert history.history["loss"] == expected.history["loss"]


# Clipping by norms is no linear map of gradients, and `linear` of Ftrl is no
# sum of gradients. Adafactor has laws of its own below.
GRADIENT_SUMS = [
    (family, name)
    for family, name in CASES
    if "clipnorm" not in name and name not in ("Ftrl", "Adafactor")
]


def frozen_run(model, name):
    """Some steps that move the optimizer's state, and hardly the weights."""
    with_optimizer(model, name, rate=1e-20)
    # Keras' ScheduleFreeAdamW starts its average from zeros where TensorFlow
    # builds it in a traced step, and from the weights where it is built here.
    model.optimizer.build(model.trainable_variables)
    train(model, epochs=1)


def slots_by_path(model):
    """`{(attribute, path of the variable): (rule, array)}`."""
    return {
        (name, variable.path): (rule_for(optimizer, name), *values([slot]))
        for optimizer in nested(model.optimizer)
        for name, slots in find_slots(optimizer).items()
        for slot, variable in zip(
            slots, optimizer._trainable_variables, strict=True
        )
        if slot is not None
    }


def plan_of(family, strategy, seed, target):
    source = MODELS[family](dropout=0.0).architecture
    network, spec = source.build(source.check(target))
    del network
    return strategies.get(strategy).plan(source.spec, spec, seed)


def assert_slots_are_of_gradients(family, name, target, strategy):
    """Slots grown late equal those of a model that was large all along."""
    late, early = MODELS[family](dropout=0.0), MODELS[family](dropout=0.0)
    frozen_run(late, name)
    late.grow(target, strategy, seed=3)
    with_optimizer(early, name)
    early.grow(target, strategy, seed=3)
    frozen_run(early, name)
    dual = plan_of(family, strategy, 3, target).dual()
    found, expected = slots_by_path(late), slots_by_path(early)
    assert set(found) == set(expected)
    largest, compared = {}, 0
    for (slot, _), (_, value) in expected.items():
        largest[slot] = max(largest.get(slot, 0), np.abs(value).max())
    for (slot, path), (rule, value) in expected.items():
        has_history = dual.reads(path.removeprefix("network/"))
        if rule.degree == 0 or (rule.degree != WEIGHT and not has_history):
            continue
        scale = np.abs(value).max(initial=0)
        # A gradient that is zero by mathematics, as that of the bias of keys,
        # is rounding of the others in both.
        if scale <= largest[slot] * ROUNDING ** (rule.degree == 2 or 1):
            continue
        error = np.abs(found[slot, path][1] - value).max()
        assert error <= 2 * ROUNDING * scale, (slot, path, error / scale)
        compared += 1
    return compared


# A norm hands each copy of a value an equal part of what it takes off the
# gradient, so that behind norms the law is exact for equal shares only.
EXACT = {"mlp": "net2net", "gpt2": strategies.Net2Net(split="even")}


@pytest.mark.sample
@pytest.mark.grid
@pytest.mark.parametrize("family, name", GRADIENT_SUMS)
def test_slots_grow_as_gradients_do(family, name):
    compared = assert_slots_are_of_gradients(
        family, name, TARGETS[family], EXACT[family]
    )
    assert compared or name in ("SGD", "RMSprop momentum")


@pytest.mark.parametrize("family", MODELS)
def test_averages_over_an_axis_grow_as_gradients_do(family):
    # Means over an axis know of its entries' shares only when all are equal.
    target = {
        field: 2 * size
        for field, size in MODELS[family]().growth_config.items()
        if field in ("hidden_dim", "intermediate_dim", "num_heads")
    }
    assert assert_slots_are_of_gradients(
        family, "Adafactor", target, strategies.Net2Net(split="even")
    )


def test_slots_do_not_grow_as_weights_do(monkeypatch):
    monkeypatch.setattr(kgrow.Plan, "dual", lambda plan, degree=1: plan)
    with pytest.raises(AssertionError):
        assert_slots_are_of_gradients(
            "mlp", "Adam", TARGETS["mlp"], EXACT["mlp"]
        )


def step_of(model, index=7):
    """What one more step changes: `{path: array}`."""
    before = weights_of(model)
    model.train_on_batch(*batch(model, index))
    return {path: w - before[path] for path, w in weights_of(model).items()}


def weights_of(model):
    return {
        w.path.removeprefix("network/"): value
        for w, value in zip(
            model.network.weights, values(model.network.weights), strict=True
        )
    }


# Optimizers whose step is the same for every size of the gradient (0), or
# follows it (1); with nothing added to what they divide by.
STEPS_OF_ENTRIES = {
    "Adam": (0, lambda: optimizers.Adam(0.1, epsilon=1e-20)),
    "Adam amsgrad": (
        0,
        lambda: optimizers.Adam(0.1, amsgrad=True, epsilon=1e-20),
    ),
    "Nadam": (0, lambda: optimizers.Nadam(0.1, epsilon=1e-20)),
    "Adamax": (0, lambda: optimizers.Adamax(0.1, epsilon=1e-20)),
    "Lion": (0, lambda: optimizers.Lion(0.1)),
    "RMSprop": (0, lambda: optimizers.RMSprop(0.1, epsilon=1e-20)),
    "RMSprop momentum": (
        0,
        lambda: optimizers.RMSprop(0.1, momentum=0.9, epsilon=1e-20),
    ),
    "Adagrad": (
        0,
        lambda: optimizers.Adagrad(
            0.1, initial_accumulator_value=0.0, epsilon=1e-20
        ),
    ),
    "Adadelta": (0, lambda: optimizers.Adadelta(0.1, epsilon=1e-12)),
    "Ftrl": (0, lambda: optimizers.Ftrl(0.1, initial_accumulator_value=1e-12)),
    "Foreign": (0, lambda: Foreign(0.1)),
    "SGD": (1, lambda: optimizers.SGD(0.1)),
    "SGD momentum": (1, lambda: optimizers.SGD(0.1, momentum=0.9)),
    "SGD nesterov": (
        1,
        lambda: optimizers.SGD(0.1, momentum=0.9, nesterov=True),
    ),
}


@pytest.mark.grid
@pytest.mark.parametrize("name", STEPS_OF_ENTRIES)
def test_next_step_is_the_mapped_one(name):
    degree, optimizer = STEPS_OF_ENTRIES[name]
    small, grown = (compiled(mlp(dropout=0.0), optimizer()) for _ in range(2))
    train(small, epochs=1)
    train(grown, epochs=1)
    grown.grow(TARGETS["mlp"], seed=5)
    plan = plan_of("mlp", "net2net", 5, TARGETS["mlp"]).dual(degree)
    expected, found = step_of(small), step_of(grown)
    largest = max(np.abs(w).max() for w in weights_of(grown).values())
    for path in plan.target.variables:
        if plan.reads(path):
            error = found[path] - plan.grow(path, expected, fill=np.nan)
            assert np.nanmax(np.abs(error)) <= ROUNDING * largest, path


# RMSprop is not here: it corrects no bias, and its own very first steps are as
# large as zeros would make them.
STATIONARY = {
    "Adam": lambda r: optimizers.Adam(r),
    "Adam amsgrad": lambda r: optimizers.Adam(r, amsgrad=True),
    "AdamW": lambda r: optimizers.AdamW(r),
    "Nadam": lambda r: optimizers.Nadam(r),
    "Adamax": lambda r: optimizers.Adamax(r),
    "ScheduleFreeAdamW": lambda r: optimizers.ScheduleFreeAdamW(r),
    "Lion": lambda r: optimizers.Lion(r),
    "Foreign": lambda r: Foreign(r),
}
RATE, LATE = 1e-3, 10_000


def long_trained(name):
    """A model whose optimizer has seen the same gradient ten thousand times:
    the step count corrects nothing any more."""
    gradients = step_of(compiled(mlp(dropout=0.0), optimizers.SGD(1.0)))
    model = compiled(mlp(dropout=0.0), STATIONARY[name](RATE))
    optimizer = model.optimizer
    optimizer.build(model.trainable_variables)
    for slot_name, slots in find_slots(optimizer).items():
        degree = rule_for(optimizer, slot_name).degree
        if degree in (1, 2):
            for slot, w in zip(slots, model.network.weights, strict=True):
                g = gradients[w.path.removeprefix("network/")]
                slot.assign(abs(g) if slot_name == "_u" else (-g) ** degree)
    optimizer._iterations.assign(LATE)
    if name == "Nadam":
        optimizer._u_product.assign(0.0)
    return model


def fresh_entries(strategy, target):
    """Where no old entry is copied to: `{path: mask}`."""
    plan = plan_of("mlp", strategy, 2, target).dual()
    ones = {p: np.ones(v.shape) for p, v in plan.source.variables.items()}
    return {
        path: np.isnan(plan.grow(path, ones, fill=np.nan))
        for path in plan.target.variables
    }


def first_steps_of_fresh_entries(model, strategy, target):
    """In learning rates, of those entries that have a gradient."""
    steps, masks = step_of(model), fresh_entries(strategy, target)
    found = np.concatenate([abs(steps[p][masks[p]]) for p in masks]) / RATE
    return found[found > 0]


@pytest.mark.grid
@pytest.mark.parametrize("strategy", ["direct", "random"])
@pytest.mark.parametrize(
    "name, policy",
    [(name, "carry") for name in STATIONARY]
    + [("Adam", policy) for policy in POLICIES[1:]],
)
def test_first_steps_of_fresh_entries_are_usual(name, policy, strategy):
    model = long_trained(name)
    model.grow(TARGETS["mlp"], strategy, optimizer_state=policy, seed=2)
    found = first_steps_of_fresh_entries(model, strategy, TARGETS["mlp"])
    assert np.sqrt((found**2).mean()) <= 1.5


def test_first_steps_from_zeros_would_be_three_times_larger():
    # (1 - beta_1) / sqrt(1 - beta_2), Adam's first step without correction.
    golden = 3.16
    model, target = long_trained("Adam"), TARGETS["mlp"]
    model.grow(target, "random", seed=2)
    masks = fresh_entries("random", target)
    optimizer = model.optimizer
    for slots in find_slots(optimizer).values():
        for slot, w in zip(slots, model.network.weights, strict=True):
            mask = masks[w.path.removeprefix("network/")]
            slot.assign(np.where(mask, 0.0, values([slot])[0]))
    found = first_steps_of_fresh_entries(model, "random", target)
    assert round(float(np.median(found)), 2) == golden


@pytest.mark.parametrize("policy", POLICIES)
def test_ftrl_keeps_the_grown_weights(policy):
    """Ftrl computes weights from its slots: they must know of the growth."""
    small, grown = (with_optimizer(mlp(dropout=0.0), "Ftrl") for _ in range(2))
    train(small, epochs=1)
    train(grown, epochs=1)
    grown.grow(TARGETS["mlp"], optimizer_state=policy)
    usual = max(np.abs(step).max() for step in step_of(small).values())
    largest = max(np.abs(step).max() for step in step_of(grown).values())
    assert largest <= 2 * usual


@pytest.mark.each
def test_ftrl_keeps_what_zero_weights_have_summed_up():
    model, path = mlp(dropout=0.0), "layer_0/intermediate_dense/kernel"
    compiled(model, optimizers.Ftrl(0.1, l1_regularization_strength=0.5))
    model.optimizer.build(model.trainable_variables)

    def slot():
        paths = [relative_path(model.network, w) for w in model.weights]
        at = paths.index(path)
        return model.weights[at], model.optimizer._linears[at]

    weight, linear = slot()
    below = np.random.default_rng(0).uniform(-0.4, 0.4, weight.shape)
    weight.assign(np.zeros(weight.shape))
    linear.assign(below)
    model.grow({"intermediate_dim": 9}, "net2net", seed=0)
    weight, linear = map(np.asarray, values(slot()))
    assert not weight.any() and (np.abs(linear) <= 0.5).all()
    # Each copy gets its share of the gradients.
    np.testing.assert_allclose(linear.sum(1), below.sum(1), rtol=1e-5)


class Hidden(Foreign):
    """Keeps its slots where nobody can tell which belongs to what."""

    def build(self, variables):
        super().build(variables)
        self.by_path = {
            v.path: self.add_variable_from_reference(v, "hidden")
            for v in variables
        }


class Odd(Foreign):
    """Has a slot that follows no power of the gradient."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(gradient, variable, learning_rate)
        trend = self.trend[self._get_variable_index(variable)]
        self.assign(trend, keras.ops.log(1 + keras.ops.abs(gradient)))


class Nameless(Foreign):
    """Cannot be made again from its config."""

    def __init__(self, rate, secret):
        super().__init__(rate)
        self.secret = secret


REFUSED = {
    "in no list": lambda: Hidden(0.01),
    "no power": lambda: Odd(0.01),
    "get_config": lambda: Nameless(0.01, secret=1),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_state_that_cannot_be_attributed_is_refused(reason):
    def grow(model):
        with pytest.raises(GrowthError, match=reason):
            model.grow(TARGETS["mlp"])

    untouched = compiled(mlp(), REFUSED[reason]())
    train(untouched)
    model = compiled(mlp(), REFUSED[reason]())
    train(model, {("batch", 1): grow})
    assert_same_state(model, untouched)
    assert not model.growth_history
