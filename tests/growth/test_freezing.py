"""Training what is new: old entries are frozen, to the bit, until unfrozen."""

import json

import keras
import numpy as np
import pytest
from helpers.frozen import frozen_values, warm, weights
from helpers.interrupts import TOUCHING, ctrl_c
from helpers.toy import grow_offline, make_model
from helpers.training import (
    MODELS,
    OPTIMIZERS,
    TARGETS,
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
from hypothesis import given
from hypothesis.extra import numpy as arrays
from keras import optimizers

from kgrow import GrowthError, strategies
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.growth import freezing
from kgrow.growth import growable_model as model_module
from kgrow.growth.optimizer import entry_masks, grow_state
from kgrow.growth.optimizer.slots import find_slots, nested

pytestmark = pytest.mark.compiles

# Without dropout: files and copies do not hold random states.
STILL = {"dropout": 0.0}
# A wider old block, and a new one: whole variables are frozen, parts, and none.
TARGET = {"intermediate_dim": 18, "num_layers": 2}
MLP_TARGET = {"intermediate_dim": 9, "num_layers": 3}


def assert_frozen(model, before):
    now = frozen_values(model)
    assert list(now) == list(before)
    for path, value in before.items():
        assert value.tobytes() == now[path].tobytes(), path


def parts(model):
    """Paths of variables that are frozen in part."""
    frozen = model.architecture.frozen
    return [path for path, mask in frozen.items() if not mask.all()]


def slots(model):
    """`{(slot, path): value}` of a model's single optimizer."""
    paths = {
        id(w): relative_path(model.network, w) for w in model.network.weights
    }
    optimizer = model.optimizer
    return {
        (name, paths[id(variable)]): values([slot])[0]
        for name, found in find_slots(optimizer).items()
        for slot, variable in zip(
            found, optimizer._trainable_variables, strict=True
        )
    }


# --- which entries are new ---------------------------------------------------


@pytest.mark.sample
@pytest.mark.compiles
@pytest.mark.parametrize("name", strategies.names(aliases=False))
@pytest.mark.parametrize("fields", ["widths", "depth"])
def test_every_old_entry_is_frozen_once(name, fields):
    """Whatever the strategy: as many entries are frozen as there were."""
    model = make_model("GPT2")
    config = model.growth_config
    names = {"widths": ["hidden_dim", "intermediate_dim"]}.get(
        fields, ["num_layers"]
    )
    target = {field: 2 * config[field] for field in names}
    try:
        network, plan = grow_offline(model, target, name)
    except GrowthError:
        # What a strategy refuses is tested elsewhere.
        return
    source = model.architecture
    try:
        frozen = freezing.freeze(network, source, plan, "new")
    except GrowthError as error:
        assert "this one mixes them" in str(error)
        return
    if not any(plan.reads(path) for path in plan.target.variables):
        # From scratch, nothing is old.
        assert not frozen
        return
    count = sum(int(mask.sum()) for mask in frozen.values())
    assert count == model.network.count_params()
    for weight in grown_weights(network):
        path = relative_path(network, weight)
        assert weight.trainable != (path in frozen and frozen[path].all())


def test_copies_of_a_unit_are_new():
    model = mlp()
    model.grow({"intermediate_dim": 9}, trainable="new")
    frozen = model.architecture.frozen
    kernel = frozen["layer_0/intermediate_dense/kernel"]
    assert kernel[:, :6].all() and not kernel[:, 6:].any()
    assert frozen["input_dense/kernel"].all()
    assert not model.network.input_dense.kernel.trainable


def test_copies_of_a_block_are_new():
    model = mlp()
    model.grow({"num_layers": 3}, "mslt")
    trains = {relative_path(model.network, w) for w in model.trainable_weights}
    assert trains and all(path.startswith("layer_2/") for path in trains)


@given(arrays.arrays(bool, arrays.array_shapes(max_dims=3, max_side=5)))
def test_masks_are_read_as_they_were_written(mask):
    class Spec:
        variables = {"w": mask}

    config = json.loads(json.dumps(freezing.to_config({"w": mask})))
    np.testing.assert_array_equal(freezing.from_config(config, Spec)["w"], mask)


@pytest.mark.grid
@pytest.mark.parametrize(
    "mask", [np.eye(3) > 0, np.arange(6) > 2, np.eye(1) > 0]
)
def test_masks_are_the_same_as_tensors(mask):
    tensor = entry_masks._tensor(mask)
    np.testing.assert_array_equal(
        np.broadcast_to(keras.ops.convert_to_numpy(tensor), mask.shape), mask
    )


# --- nothing that is frozen moves -------------------------------------------

HARD = {
    "SGD": lambda m: optimizers.SGD(0.1, momentum=0.9, weight_decay=0.1),
    "AdamW": lambda m: optimizers.AdamW(0.01, weight_decay=0.1),
    "Lion": lambda m: optimizers.Lion(0.01, weight_decay=0.1),
    "average": lambda m: OPTIMIZERS["Adam ema"](m, 0.01),
}
WRAPPED = [
    "LossScaleOptimizer",
    "Adam accumulating",
    "ScheduleFreeAdamW",
]


@pytest.mark.compiles
@pytest.mark.parametrize("name", HARD)
def test_what_is_frozen_stays_to_the_bit(name):
    model = warm(compiled(gpt2(**STILL), HARD[name]))
    model.grow(TARGET, seed=0, trainable="new")
    assert len(parts(model)) == 3
    before, start = frozen_values(model), weights(model)
    train(model, epochs=2, offset=7)
    assert_frozen(model, before)
    end, frozen = weights(model), model.architecture.frozen
    for path, value in start.items():
        held = frozen.get(path, np.zeros(value.shape, bool))
        # A bias of the keys has no gradient, as softmax takes it off.
        if not held.all() and "key/bias" not in path:
            assert (end[path] != value)[~held].any(), path
    trains = [relative_path(model.network, w) for w in model.trainable_weights]
    assert set(trains) == set(start) - set(frozen) | {*parts(model)}
    found = slots(model)
    assert {path for _, path in found} == set(trains)
    # An average of the weights holds what they hold.
    for path in parts(model) if name == "average" else ():
        average = found["_model_variables_moving_average", path]
        mask = frozen[path]
        np.testing.assert_array_equal(average[mask], end[path][mask])


@pytest.mark.grid
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in WRAPPED else pytest.mark.slow)
        for name in OPTIMIZERS
    ],
)
def test_under_any_optimizer(name):
    model = warm(with_optimizer(mlp(**STILL), name))
    model.grow(MLP_TARGET, seed=0, trainable="new")
    before = frozen_values(model)
    train(model, epochs=1, offset=7)
    assert_frozen(model, before)
    model.unfreeze()
    train(model, epochs=1)
    assert is_finite(model)


def test_another_optimizer_is_told():
    model = warm(compiled(mlp(**STILL), HARD["AdamW"]))
    model.grow(MLP_TARGET, seed=0, trainable="new")
    before = frozen_values(model)
    compiled(model, HARD["Lion"])
    train(model, epochs=1)
    assert_frozen(model, before)


def test_before_compile():
    model = mlp(**STILL)
    model.grow(MLP_TARGET, seed=0, trainable="new")
    before = frozen_values(model)
    with_optimizer(model, "MultiOptimizer function")
    train(model, epochs=1)
    assert_frozen(model, before)


def test_what_is_frozen_by_hand_stays_so():
    model = compiled(mlp(**STILL))
    model.network.input_dense.trainable = False
    model.network.output_dense.bias.trainable = False
    model.grow(MLP_TARGET, trainable="new")
    assert "input_dense/kernel" not in model.architecture.frozen
    model.unfreeze()
    network = model.network
    assert not network.input_dense.trainable_variables
    assert not network.output_dense.bias.trainable
    assert network.output_dense.kernel.trainable


# --- the end of it -----------------------------------------------------------


@pytest.mark.each
def test_unfreezing_in_a_running_fit():
    model, seen = compiled(mlp(**STILL), "adamw"), {}

    def grow(model):
        model.grow(MLP_TARGET, seed=0, trainable="new")

    def release(model):
        seen["before"], seen["slots"] = weights(model), slots(model)
        frozen = dict(model.architecture.frozen)
        model.unfreeze()
        seen["after"], seen["frozen"] = slots(model), frozen

    train(model, {("batch", 1): grow, ("batch", 3): release})
    old, new, frozen = seen["slots"], seen["after"], seen["frozen"]
    assert not model.architecture.frozen
    assert len(model.trainable_weights) == len(model.weights)
    for (name, path), value in new.items():
        rested = frozen.get(path, np.zeros(value.shape, bool))
        if not rested.any():
            np.testing.assert_array_equal(value, old[name, path])
        elif name == "_momentums":
            assert not value[rested].any()
        elif not rested.all():
            mean = old[name, path][~rested].mean(dtype="float64")
            np.testing.assert_allclose(value[rested], mean, rtol=1e-5)
            np.testing.assert_array_equal(
                value[~rested], old[name, path][~rested]
            )
        else:
            assert (value == value.flat[0]).all() and value.flat[0] > 0
    # Where another block has such a variable, the mean is of its moments.
    np.testing.assert_allclose(
        new["_velocities", "layer_0/output_dense/bias"].flat[0],
        old["_velocities", "layer_1/output_dense/bias"].mean(dtype="float64"),
        rtol=1e-5,
    )
    end = weights(model)
    still = [p for p, v in seen["before"].items() if (end[p] == v).all()]
    assert not still


def test_unfreezing_what_does_not_rest_changes_nothing():
    model = compiled(mlp(**STILL))
    train(model, epochs=1, steps=1)
    before, function = state(model), model.train_function
    model.unfreeze()
    assert_same_state(model, before)
    assert model.train_function is function


def test_exclusions_from_decay_outlast_a_freeze():
    model = with_optimizer(mlp(**STILL), "AdamW variables excluded")
    optimizer = model.optimizer

    def excluded():
        return {
            relative_path(model.network, w)
            for w in model.network.weights
            if not optimizer._use_weight_decay(w)
        }

    warm(model)
    before = excluded()
    model.grow(MLP_TARGET, trainable="new")
    model.unfreeze()
    assert before and before <= excluded()


# --- further growths ---------------------------------------------------------


def test_each_growth_trains_its_own():
    # Fast, for gradients behind exits of zero are small.
    model = warm(with_optimizer(mlp(**STILL), "Adam", rate=1.0))
    model.grow({"num_layers": 3}, "llama_pro")
    first = {relative_path(model.network, w) for w in model.trainable_weights}
    model.grow({"num_layers": 4}, "llama_pro")
    trains = {relative_path(model.network, w) for w in model.trainable_weights}
    assert {p.split("/")[0] for p in first} == {"layer_2"}
    assert {p.split("/")[0] for p in trains} == {"layer_3"}
    # The new block copies one that rested, which has no moments to give.
    for (name, path), value in slots(model).items():
        if name == "_velocities":
            assert (value > 0).all(), path
    # And what rested through two of them has gradients again.
    model.unfreeze()
    before = weights(model)
    train(model, epochs=1)
    end = weights(model)
    still = [path for path in before if (end[path] == before[path]).all()]
    assert not still


def test_what_is_frozen_stays_frozen_through_other_growths():
    model = warm(compiled(mlp(**STILL), HARD["AdamW"]))
    model.grow({"intermediate_dim": 9}, seed=0, trainable="new")
    model.grow({"intermediate_dim": 12, "num_layers": 3}, seed=1)
    frozen = model.architecture.frozen
    kernel = frozen["layer_0/intermediate_dense/kernel"]
    assert kernel[:, :6].all() and not kernel[:, 6:].any()
    assert not any(path.startswith("layer_1/") for path in frozen)
    before = frozen_values(model)
    train(model, epochs=1)
    assert_frozen(model, before)


# --- files -------------------------------------------------------------------


def partly_frozen(name="AdamW"):
    model = warm(with_optimizer(mlp(**STILL), name))
    model.grow(MLP_TARGET, seed=0, trainable="new")
    return model


def assert_goes_on_alike(loaded, model):
    assert_same_state(loaded, model)
    masks = [freezing.to_config(m.architecture.frozen) for m in (loaded, model)]
    assert masks[0] == masks[1] and masks[0]
    before = frozen_values(model)
    for each in (loaded, model):
        train(each, epochs=1, offset=50)
    assert_same_state(loaded, model)
    assert_frozen(loaded, before)
    for each in (loaded, model):
        each.unfreeze()
    assert_same_state(loaded, model)


def test_a_file_holds_what_is_frozen(tmp_path):
    model = partly_frozen()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert_goes_on_alike(loaded, model)


@pytest.mark.each
def test_weights_hold_what_is_frozen(tmp_path):
    model = partly_frozen()
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    fresh = with_optimizer(mlp(**STILL), "AdamW")
    fresh.optimizer.build(fresh.trainable_variables)
    fresh.load_weights(path)
    # And once more, into a model of that size of which all trains.
    fresh.unfreeze()
    fresh.load_weights(path)
    assert_goes_on_alike(fresh, model)


def test_weights_of_before_let_all_train_again(tmp_path):
    path = tmp_path / "small.weights.h5"
    model = warm(with_optimizer(mlp(**STILL), "AdamW"))
    small = state(model)
    model.save_weights(path)
    model.grow({"num_layers": 3}, "llama_pro")
    model.load_weights(path)
    assert not model.architecture.frozen
    assert_same_state(model, small)


# --- all or nothing ----------------------------------------------------------


class Broken(Exception):
    """Something that nobody expected."""


def breaking(monkeypatch, owner, name, nth=1):
    """A context in which the `nth` call of a function fails."""
    calls, function = [], getattr(owner, name)

    def fail(*args, **kwargs):
        calls.append(name)
        if len(calls) == nth:
            raise Broken
        return function(*args, **kwargs)

    patch = monkeypatch.context()
    patch.__enter__().setattr(owner, name, fail)
    return patch


PLACES = {
    "masks": (freezing, "_old_entries", 3),
    "flags": (freezing, "set_trainable", 1),
    "slots": (grow_state, "give_value", 4),
    "the guard": (entry_masks, "_partly_frozen", 1),
    "compiling": (model_module.GrowableModel, "_refresh_functions", 1),
}


def surroundings(model):
    frozen = model.architecture.frozen
    return (
        {path: id(mask) for path, mask in frozen.items()},
        [w.trainable for w in model.network.weights],
        [sorted(vars(each)) for each in nested(model.optimizer)],
    )


@pytest.mark.parametrize("place", PLACES)
def test_a_failure_leaves_what_is_frozen_as_it_was(place, monkeypatch):
    model = partly_frozen()
    before, around, kept = (
        state(model),
        surroundings(model),
        frozen_values(model),
    )
    owner, name, nth = PLACES[place]
    actions = [lambda: model.grow({"num_layers": 4}, "llama_pro")]
    if place != "masks":
        actions.append(model.unfreeze)
    for action in actions:
        patch = breaking(monkeypatch, owner, name, nth)
        with pytest.raises(Broken):
            action()
        patch.__exit__(None, None, None)
        assert_same_state(model, before)
        assert surroundings(model) == around
    if place == "compiling":
        train(model, epochs=1)
        assert_frozen(model, kept)


def test_ctrl_c_at_any_line_of_unfreezing():
    modules = (*TOUCHING, freezing, entry_masks)
    free = partly_frozen()
    with ctrl_c(None, modules) as lines:
        free.unfreeze()
    model = partly_frozen()
    before, around = state(model), surroundings(model)
    for line in [*range(1, len(lines), 97), len(lines)]:
        with ctrl_c(line, modules), pytest.raises(KeyboardInterrupt):
            model.unfreeze()
        if not model.architecture.frozen:
            break
        assert surroundings(model) == around, line
        assert_same_state(model, before)
    assert_same_state(
        model, partly_frozen() if model.architecture.frozen else free
    )


def test_a_failure_before_the_first_step(monkeypatch):
    model = with_optimizer(mlp(**STILL), "MultiOptimizer function")
    patch = breaking(monkeypatch, *PLACES["compiling"])
    with pytest.raises(Broken):
        model.grow(MLP_TARGET, trainable="new")
    patch.__exit__(None, None, None)
    assert not model.optimizer.built and "build" not in vars(model.optimizer)
    train(model, epochs=1, steps=1)


# --- refusals ----------------------------------------------------------------


def test_arguments_are_checked():
    model = mlp()
    with pytest.raises(GrowthError, match="Received: trainable='some'"):
        model.grow(MLP_TARGET, trainable="some")
    with pytest.raises(GrowthError, match="this one adds nothing"):
        model.grow({}, trainable="new")
    model.grow({}, trainable="all")


def test_what_mixes_old_entries_cannot_tell_them():
    model = gpt2(**STILL)
    with pytest.raises(GrowthError, match="mixes them. Choose one that copies"):
        model.grow({"hidden_dim": 12}, "lemon", trainable="new")


@pytest.mark.parametrize("family", ["gpt2", "sequential"])
def test_every_model_is_frozen_in_parts(family):
    model = warm(with_optimizer(MODELS[family](**STILL), "Lion"))
    model.grow(TARGETS[family], seed=0, trainable="new")
    assert parts(model)
    before = frozen_values(model)
    train(model, epochs=1)
    assert_frozen(model, before)
