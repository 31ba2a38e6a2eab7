"""Old and new entries at rates of their own: the optimizer's steps, scaled."""

import keras
import numpy as np
import pytest
from helpers.frozen import frozen_values, warm, weights
from helpers.training import (
    OPTIMIZERS,
    assert_same_state,
    compiled,
    gpt2,
    is_finite,
    mlp,
    state,
    train,
    values,
    with_optimizer,
)
from keras import optimizers

from kgrow import GrowthError, backend
from kgrow.growth import freezing
from kgrow.growth.optimizer import entry_masks
from kgrow.growth.optimizer.slots import find_slots, nested
from kgrow.growth.update_scale import UpdateScale
from kgrow.schedules.learning_rate import apply_policies as rates
from kgrow.schedules.learning_rate.apply_policies import Asymmetric

pytestmark = pytest.mark.compiles

STILL = {"dropout": 0.0}
WIDER = {"intermediate_dim": 9, "num_layers": 3}
TARGETS = {
    "mlp": WIDER,
    "gpt2": {"intermediate_dim": 18, "num_layers": 2},
}
MODELS = {"mlp": mlp, "gpt2": gpt2}
# What computes its weights from its rate is refused.
NAMES = [name for name in OPTIMIZERS if name != "Ftrl"]
QUICK = ["AdamW", "Adam ema", "LossScaleOptimizer"]
WRAPPED = ["Adam accumulating", "MultiOptimizer map", "ScheduleFreeAdamW"]


def some(names, quick):
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow)
        for name in names
    ]


def grown(name="SGD", family="mlp", policy=None, rate=0.01, **arguments):
    """A model after some steps and a growth, and perhaps a policy."""
    model = warm(with_optimizer(MODELS[family](**STILL), name, rate))
    model.grow(TARGETS[family], seed=0, **arguments)
    if policy is not None:
        rates.apply(model, policy)
    return model


def old_entries(family="mlp"):
    """`{path: mask}` of the entries that were there before the growth."""
    frozen = grown(family=family, trainable="new").architecture.frozen
    shapes = {p: v.shape for p, v in weights(grown(family=family)).items()}
    return {p: frozen.get(p, np.zeros(s, bool)) for p, s in shapes.items()}


def match(model, other):
    """Gives a model the whole state of another one of the same sizes."""
    pairs = zip(
        [*model.variables, *model.optimizer.variables],
        [*other.variables, *other.optimizer.variables],
        strict=True,
    )
    for variable, like in pairs:
        variable.assign(keras.ops.copy(like.value))


def step_of(model, look=weights):
    """The weights, or what `look` sees, before and after one step. A `fit`
    may do more to them when it ends."""
    found = [look(model)]
    # Weights that averages have overwritten come of no step.
    model.optimizer.ema_overwrite_frequency = None

    def after(model):
        backend.sync(model)
        found.append(look(model))

    train(model, {("batch", 0): after}, epochs=1, steps=1)
    return found


# --- by hand -----------------------------------------------------------------

# Factors of new and of old entries in the first steps after the growth.
BY_HAND = {
    "constant": (Asymmetric(new=0.5, old=0.25), [(0.5, 0.25)] * 3),
    "larger": (Asymmetric(new=3.0), [(3.0, 1.0)] * 2),
    "back to one": (
        Asymmetric(new=2.0, old=0.5, steps=4),
        [(2, 0.5), (1.75, 0.625), (1.5, 0.75), (1.25, 0.875), (1, 1), (1, 1)],
    ),
    "new ones re-warm": (
        Asymmetric(new=0.0, steps=2),
        [(0, 1), (0.5, 1), (1, 1)],
    ),
}


@pytest.mark.grid
@pytest.mark.parametrize("case", BY_HAND)
def test_steps_of_descent_are_scaled(case):
    policy, factors = BY_HAND[case]
    olds = old_entries()
    model, free = grown(policy=policy, rate=0.05), grown(rate=0.05)
    for new, old in factors:
        match(model, free)
        before, after = step_of(model)
        _, wanted = step_of(free)
        for path, mask in olds.items():
            scale = np.where(mask, old, new).astype("float32")
            moved = wanted[path] - before[path]
            np.testing.assert_allclose(
                after[path], before[path] + scale * moved, rtol=1e-6, atol=1e-7
            )
            whole, none = scale == 1, scale == 0
            assert (after[path] == wanted[path])[whole].all()
            assert (after[path] == before[path])[none].all()


@pytest.mark.compiles
@pytest.mark.parametrize("name", some(NAMES, QUICK + WRAPPED))
def test_under_any_optimizer(name):
    """The same step, at half its length where entries are new."""
    olds = old_entries()
    model, free = grown(name, policy=Asymmetric(new=0.5)), grown(name)
    match(model, free)
    before, after = step_of(model)
    _, wanted = step_of(free)
    for path, mask in olds.items():
        scale = np.where(mask, 1.0, 0.5).astype("float32")
        moved = wanted[path] - before[path]
        np.testing.assert_allclose(
            after[path], before[path] + scale * moved, rtol=1e-5, atol=1e-6
        )


@pytest.mark.compiles
@pytest.mark.parametrize("name", some(NAMES, QUICK))
def test_factors_of_one_change_no_bit(name):
    model, free = grown(name), grown(name)
    update_scales = [
        freezing.new_update_scale(model.architecture, 7, 1.0, 1.0, 100)
    ]
    model.architecture.update_scales = update_scales
    entry_masks.guard(model)
    assert any("apply" in vars(part) for part in nested(model.optimizer))
    for each in (model, free):
        train(each, epochs=2)
    assert_same_state(model, free)


@pytest.mark.parametrize("policy", ["keep", Asymmetric(1, 1)])
def test_without_a_difference_nothing_happens(policy):
    model, free = grown("AdamW", policy=policy), grown("AdamW")
    for each in (model, free):
        train(each, epochs=1)
    assert_same_state(model, free)
    assert "apply" not in vars(model.optimizer)


def test_averages_are_of_what_the_steps_came_to():
    def look(model):
        slots = find_slots(model.optimizer)["_model_variables_moving_average"]
        return values(slots), values(model.trainable_weights)

    model = grown("Adam ema", policy=Asymmetric(new=0.5, old=0.1))
    before, after = step_of(model, look)
    for old, new, weight in zip(before[0], *after, strict=True):
        np.testing.assert_allclose(new, 0.9 * old + 0.1 * weight, rtol=1e-5)


# --- factors of zero rest ----------------------------------------------------


@pytest.mark.grid
@pytest.mark.parametrize(
    "name, family",
    [
        ("SGD nesterov", "mlp"),
        pytest.param("AdamW", "gpt2", marks=pytest.mark.compiles),
        ("Lion", "mlp"),
        ("Adam ema", "mlp"),
    ],
)
def test_old_at_zero_is_training_what_is_new(name, family):
    model = grown(name, family, Asymmetric(old=0.0))
    rested = grown(name, family, trainable="new")
    for each in (model, rested):
        train(each, epochs=2, offset=7)
    found, wanted = weights(model), weights(rested)
    for path, value in wanted.items():
        assert found[path].tobytes() == value.tobytes(), path


@pytest.mark.compiles
@pytest.mark.parametrize("name", ["AdamW", "Adam ema"])
def test_new_at_zero_is_the_complement(name):
    olds = old_entries()
    model = grown(name, policy=Asymmetric(new=0.0))
    before = weights(model)
    train(model, epochs=2, offset=7)
    after = weights(model)
    for path, mask in olds.items():
        assert (after[path] == before[path])[~mask].all(), path
        # Gradients into exits of zero are zero, and biases behind them.
        if mask.all():
            assert (after[path] != before[path]).any(), path


def test_zero_and_back_is_not_rest():
    """Moments go on where entries start at a factor of zero."""
    model, free = (
        grown("Adam", policy=policy)
        for policy in (Asymmetric(new=0.0, steps=4), None)
    )
    for each in (model, free):
        train(each, epochs=1, steps=1)
    slots = zip(
        values(model.optimizer.variables),
        values(free.optimizer.variables),
        strict=True,
    )
    assert all(left.tobytes() == right.tobytes() for left, right in slots)


# --- growths, rests and their ends -------------------------------------------


def test_a_pace_goes_on_through_other_growths():
    model = grown("AdamW", policy=Asymmetric(new=0.5, steps=100))
    olds, size = old_entries(), model.count_params()
    model.grow({"intermediate_dim": 12, "num_layers": 4}, seed=1)
    (scale,) = model.architecture.update_scales
    kernel = "layer_0/intermediate_dense/kernel"
    known, old = scale.masks(kernel)
    assert known[:, :9].all() and not known[:, 9:].any()
    assert (old[:, :9] == olds[kernel]).all() and not old[:, 9:].any()
    count = sum(mask.sum() for mask in scale.olds.values())
    assert count == mlp(**STILL).count_params()
    assert sum(mask.sum() for mask in scale.known.values()) == size


def test_factors_of_two_growths_multiply():
    factors = [(0.5, 0.25), (4.0, 2.0)]
    first, second = (Asymmetric(*each) for each in factors)
    model, free = (grown(rate=0.05) for _ in "ab")
    for each, policies in ((model, [first, second]), (free, [None, None])):
        rates.apply(each, policies[0])
        each.grow({"intermediate_dim": 12}, seed=1)
        rates.apply(each, policies[1])
    match(model, free)
    before, after = step_of(model)
    _, wanted = step_of(free)
    path = "layer_0/intermediate_dense/kernel"
    moved = (wanted[path] - before[path]) * np.repeat(
        [0.25 * 2.0, 0.5 * 2.0, 4.0], [6, 3, 3]
    ).astype("float32")
    np.testing.assert_allclose(
        after[path], before[path] + moved, rtol=1e-6, atol=1e-7
    )


def test_what_is_new_stays_so_where_nothing_grows():
    model = grown("Adam")
    model.set_training_options(dropout=0.2)
    rates.apply(model, Asymmetric(new=0.5))
    (scale,) = model.architecture.update_scales
    count = sum(mask.sum() for mask in scale.olds.values())
    assert count == mlp(**STILL).count_params()


def test_what_is_over_is_dropped_at_the_next_growth():
    model = grown("Adam", policy=Asymmetric(new=0.5, steps=2))
    train(model, epochs=1)
    model.grow({"num_layers": 4}, seed=1)
    assert not model.architecture.update_scales
    assert "apply" not in vars(model.optimizer)


def test_it_goes_with_training_what_is_new():
    model = grown("AdamW", trainable="new", policy=Asymmetric(new=0.5))
    twin = grown("AdamW", trainable="new")
    match(model, twin)
    before, after = step_of(model)
    _, wanted = step_of(twin)
    frozen = model.architecture.frozen
    for path, value in after.items():
        middle = (before[path] + wanted[path]) / 2
        np.testing.assert_allclose(value, middle, rtol=1e-5, atol=1e-6)
        held = frozen.get(path, np.zeros(value.shape, bool))
        assert (value == before[path])[held].all()


def test_it_outlasts_the_end_of_a_freeze():
    model = grown("AdamW", trainable="new", policy=Asymmetric(new=0.5, old=0.0))
    frozen = frozen_values(model)
    model.unfreeze()
    assert len(model.architecture.update_scales) == 1
    assert len(model.trainable_weights) == len(model.weights)
    train(model, epochs=1)
    found, olds = weights(model), old_entries()
    for path, value in frozen.items():
        assert found[path][olds[path]].tobytes() == value.tobytes()
    rates.end(model)
    assert not model.architecture.update_scales
    before = weights(model)
    train(model, epochs=2)
    after = weights(model)
    moved = [path for path in frozen if (after[path] != before[path]).any()]
    assert moved == list(frozen)


def test_another_optimizer_is_told():
    model = grown("SGD", policy=Asymmetric(old=0.0))
    compiled(model, optimizers.AdamW(0.01, weight_decay=0.1))
    before = weights(model)
    train(model, epochs=1)
    after = weights(model)
    for path, mask in old_entries().items():
        assert (after[path] == before[path])[mask].all()
    rates.restore(model)
    assert len(model.architecture.update_scales) == 1


@pytest.mark.each
def test_in_a_running_fit():
    def grow(model):
        model.grow(WIDER, seed=0)
        rates.apply(model, Asymmetric(new=0.0, steps=3))
        seen["before"] = weights(model)

    def look(model):
        seen["after"] = weights(model)

    seen = {}
    model = with_optimizer(mlp(**STILL), "AdamW")
    end = ("epoch", 0)
    train(model, {("batch", 1): grow, end: look}, epochs=3)
    for path, mask in old_entries().items():
        same = seen["after"][path] == seen["before"][path]
        # One step since then: at a factor of zero for what is new.
        assert same[~mask].all()
        assert not mask.any() or not same[mask].all()
    assert is_finite(model)


# --- files -------------------------------------------------------------------


def assert_goes_on_alike(loaded, model):
    assert_same_state(loaded, model)
    configs = [
        freezing.update_scales_to_config(m.architecture.update_scales)
        for m in (loaded, model)
    ]
    assert configs[0] == configs[1] and configs[0]
    for each in (loaded, model):
        train(each, epochs=2, offset=50)
    assert_same_state(loaded, model)


POLICY = Asymmetric(new=0.0, old=0.5, steps=10)


def test_a_file_holds_the_pace(tmp_path):
    model = grown("AdamW", policy=POLICY)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    rates.restore(loaded)
    assert_goes_on_alike(loaded, model)


def test_weights_hold_the_pace(tmp_path):
    path = tmp_path / "model.weights.h5"
    model = grown("AdamW", policy=POLICY)
    model.grow({"intermediate_dim": 12}, seed=3)
    model.save_weights(path)
    fresh = with_optimizer(mlp(**STILL), "AdamW")
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(path)
    # And once more, into a model of that size without a pace.
    rates.end(fresh)
    fresh.load_weights(path)
    assert_goes_on_alike(fresh, model)


def test_weights_of_before_have_no_pace(tmp_path):
    path = tmp_path / "small.weights.h5"
    model = warm(with_optimizer(mlp(**STILL), "AdamW"))
    model.save_weights(path)
    model.grow(WIDER)
    rates.apply(model, POLICY)
    model.load_weights(path)
    assert not model.architecture.update_scales
    assert "apply" not in vars(model.optimizer)


# --- refusals ----------------------------------------------------------------


def test_it_begins_right_after_a_growth():
    model = compiled(mlp(**STILL))
    with pytest.raises(GrowthError, match="right after a growth"):
        rates.apply(model, Asymmetric(new=0.5))


def test_what_mixes_old_entries_cannot_tell_them():
    model = compiled(gpt2(**STILL))
    model.grow({"hidden_dim": 12}, "lemon")
    with pytest.raises(GrowthError, match="mixes them. Choose one that copies"):
        rates.apply(model, Asymmetric(new=0.5))
    assert not model.architecture.update_scales


def test_a_growth_that_would_mix_the_entries_of_a_pace_is_refused():
    model = warm(with_optimizer(gpt2(**STILL), "Adam"))
    model.grow({"intermediate_dim": 18}, seed=0)
    rates.apply(model, Asymmetric(new=0.5))
    before = state(model)
    with pytest.raises(GrowthError, match="apply_policies.end"):
        model.grow({"hidden_dim": 12}, "lemon")
    assert_same_state(model, before)
    rates.end(model)
    model.grow({"hidden_dim": 12}, "lemon")


def test_before_its_start_a_pace_does_nothing():
    scale = UpdateScale(5, 0.0, 0.5, 4, {}, {})
    found = [float(scale.factor(0.5, step)) for step in (0, 4, 5, 7, 9, 90)]
    assert found == [1.0, 1.0, 0.5, 0.75, 1.0, 1.0]


# --- what else the guard sees to ---------------------------------------------


def test_averages_over_what_rested_are_of_what_trained():
    """Adafactor's rows and columns saw gradients of zero where there was
    rest."""
    model = grown("Adafactor", trainable="new")
    kernel = "layer_0/intermediate_dense/kernel"
    mask = model.architecture.frozen[kernel]

    def factors():
        paths = {w.path: i for i, w in enumerate(model.trainable_weights)}
        index = next(i for p, i in paths.items() if p.endswith(kernel))
        optimizer = model.optimizer
        return values([optimizer._r[index], optimizer._c[index]])

    rows, columns = factors()
    model.unfreeze()
    found = factors()
    np.testing.assert_allclose(found[0], rows / (1 - mask.mean(-1)), rtol=1e-6)
    trained = ~mask.all(0)
    np.testing.assert_array_equal(found[1][trained], columns[trained])
    np.testing.assert_allclose(
        found[1][~trained], columns[trained].mean(), rtol=1e-6
    )


def test_loops_of_ones_own_are_guarded():
    """With the optimizer that the model is compiled with."""
    model = grown("AdamW", trainable="new", policy=Asymmetric(new=0.5))
    free = grown("AdamW", trainable="new")
    match(model, free)
    before = weights(model)
    for each in (model, free):
        variables = each.trainable_variables
        gradients = [keras.ops.ones(v.shape) for v in variables]
        each.optimizer.apply_gradients(
            list(zip(gradients, variables, strict=True))
        )
    after, wanted, olds = weights(model), weights(free), old_entries()
    for path, mask in olds.items():
        assert (after[path] == before[path])[mask].all()
        middle = (before[path] + wanted[path]) / 2
        np.testing.assert_allclose(after[path], middle, rtol=1e-5, atol=1e-6)
        assert (after[path] != before[path])[~mask].all()
