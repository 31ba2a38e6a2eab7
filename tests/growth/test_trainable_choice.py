"""What trains after a growth, chosen by patterns, a function or by hand."""

import keras
import numpy as np
import pytest
from helpers.frozen import frozen_values, warm, weights
from helpers.training import assert_same_state, compiled, mlp, train

import kgrow
from kgrow import GrowthError
from kgrow.architecture.architecture import relative_path
from kgrow.callbacks import Growth
from kgrow.growth.optimizer.slots import find_slots
from kgrow.schedules import GrowthSchedule, Stage

pytestmark = pytest.mark.compiles

STILL = {"dropout": 0.0}
DEEPER = {"num_layers": 3}
HEAD = ["^output_dense"]


def trains(model):
    return {relative_path(model.network, w) for w in model.trainable_weights}


def moved(model, **arguments):
    """Paths of the variables that training moves."""
    before = weights(model)
    train(model, epochs=1, **arguments)
    after = weights(model)
    return {path for path in before if (before[path] != after[path]).any()}


@pytest.fixture
def model():
    return warm(compiled(mlp(**STILL), "adamw"))


def assert_heads_and_new_block(paths):
    tops = {path.split("/")[0] for path in paths}
    assert {"output_dense", "layer_2"} <= tops
    assert tops <= {"output_dense", "output_norm", "layer_2"}


@pytest.mark.each
@pytest.mark.parametrize(
    "choice",
    [["^output_(dense|norm)"], lambda path: path.startswith("output_")],
    ids=["patterns", "function"],
)
def test_chosen_variables_train_beside_the_new_ones(choice, model):
    model.grow(DEEPER, "mslt", seed=0, trainable=choice)
    assert_heads_and_new_block(trains(model))
    before = frozen_values(model)
    assert_heads_and_new_block(moved(model, offset=3))
    now = frozen_values(model)
    assert all((now[path] == before[path]).all() for path in before)


def test_chosen_variables_keep_their_history(model):
    before = {
        relative_path(model.network, v): np.array(slot)
        for v, slot in zip(
            model.optimizer._trainable_variables,
            find_slots(model.optimizer)["_momentums"],
            strict=True,
        )
    }
    model.grow(DEEPER, "mslt", seed=0, trainable=["^output_dense/kernel$"])
    after = {
        relative_path(model.network, v): np.array(slot)
        for v, slot in zip(
            model.optimizer._trainable_variables,
            find_slots(model.optimizer)["_momentums"],
            strict=True,
        )
    }
    path = "output_dense/kernel"
    np.testing.assert_array_equal(after[path], before[path])


def test_a_later_growth_chooses_what_an_earlier_one_froze(model):
    model.grow({"intermediate_dim": 9}, seed=0, trainable="new")
    path = "layer_0/intermediate_dense/kernel"
    assert model.architecture.frozen[path].any()
    model.grow(DEEPER, "mslt", seed=0, trainable=["layer_0/"])
    assert path in trains(model) and path not in model.architecture.frozen
    index = [relative_path(model.network, v) for v in model.trainable_weights]
    velocity = find_slots(model.optimizer)["_velocities"][index.index(path)]
    # Entries that rested have no history: they begin from the others' mean.
    velocity = np.array(keras.ops.convert_to_numpy(velocity))
    assert np.unique(velocity[:, :6]).size == 1 and (velocity > 0).all()
    train(model, epochs=1)


def test_unfreezing_a_part(model):
    model.grow(DEEPER, "mslt", seed=0, trainable="new")
    model.unfreeze(HEAD)
    assert_heads_and_new_block(trains(model))
    assert_heads_and_new_block(moved(model))
    before = weights(model)
    model.unfreeze(HEAD)
    assert_same_weights(weights(model), before)
    model.unfreeze(lambda path: True)
    assert not model.architecture.frozen
    assert trains(model) == set(before)


def assert_same_weights(actual, expected):
    for path, value in expected.items():
        np.testing.assert_array_equal(actual[path], value)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("output", "Received: trainable='output'"),
        ([], "list of regular expressions"),
        ([1], "list of regular expressions"),
        (["*/bias"], "not globs"),
        (["nowhere"], "'nowhere' chooses no variable. There are"),
        (lambda path: False, "the function '<lambda>' chooses no variable"),
        (np.array(["new"]), "list of regular expressions"),
        (0.5, "Received: trainable=0.5"),
    ],
)
def test_what_chooses_nothing_is_refused(choice, message, model):
    before = weights(model)
    with pytest.raises(GrowthError, match=message):
        model.grow(DEEPER, trainable=choice)
    if not isinstance(choice, float):
        with pytest.raises(GrowthError):
            model.unfreeze(choice)
    assert model.growth_config["num_layers"] == 2
    assert_same_weights(weights(model), before)


def test_a_stage_has_patterns_and_refuses_functions():
    stages = [
        Stage(2, {"num_layers": 2}),
        Stage(4, DEEPER, "mslt", trainable=["^output_dense"]),
        Stage(6, trainable=["layer_0/"]),
        Stage(8, trainable="all"),
    ]
    schedule = GrowthSchedule(stages)
    assert GrowthSchedule.from_config(schedule.get_config()) == schedule
    assert "output_dense" in str(schedule)
    with pytest.raises(GrowthError, match="list of regular"):
        Stage(4, DEEPER, trainable=lambda path: True)
    model = compiled(mlp(**STILL))
    seen = {}

    class See(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen[len(seen)] = trains(self.model)

    callbacks = [Growth(schedule, verbose=0), See()]
    train(model, epochs=4, callbacks=callbacks)
    assert_heads_and_new_block(seen[3])
    assert any(path.startswith("layer_0/") for path in seen[5])
    assert not any(path.startswith("layer_1/") for path in seen[5])
    assert seen[7] == set(weights(model))


# --- frozen by hand ----------------------------------------------------------


def network_frozen(model):
    model.network.trainable = False


def layers_frozen(model):
    for layer in model.network.layers:
        layer.trainable = False


def variables_frozen(model):
    for weight in model.network.weights:
        weight.trainable = False


BY_HAND = [network_frozen, layers_frozen, variables_frozen]


@pytest.mark.parametrize("freeze", BY_HAND)
@pytest.mark.parametrize("strategy", ["llama_pro", "stack"])
def test_new_blocks_of_a_base_that_was_frozen_by_hand_train(freeze, strategy):
    model = mlp(**STILL)
    freeze(model)
    compiled(model)
    model.grow(DEEPER, strategy, seed=0, trainable="new")
    new = {p for p in weights(model) if p.startswith("layer_2/")}
    assert trains(model) == new
    assert moved(model, steps=3) <= new and new & moved(model, steps=3)
    # It is the user's choice, which `unfreeze()` leaves alone.
    model.unfreeze()
    assert trains(model) == new


@pytest.mark.parametrize("freeze", BY_HAND)
def test_new_units_of_a_base_that_was_frozen_by_hand_train(freeze, tmp_path):
    model = mlp(**STILL)
    freeze(model)
    warm(compiled(model, "adamw"))
    model.grow({"intermediate_dim": 9}, seed=0, trainable="new")
    path = "layer_0/intermediate_dense/kernel"
    assert path in trains(model) and "output_dense/kernel" not in trains(model)
    model.save_weights(tmp_path / "file.weights.h5")
    loaded = compiled(mlp(**STILL), "adamw")
    loaded.load_weights(tmp_path / "file.weights.h5")
    assert trains(loaded) == trains(model)
    for each in (model, loaded):
        before = weights(each)[path]
        train(each, epochs=1)
        after = weights(each)[path]
        np.testing.assert_array_equal(after[:, :6], before[:, :6])
        assert (after[:, 6:] != before[:, 6:]).any()
    assert_same_state(loaded, model)


def test_a_part_that_a_user_let_train_in_a_frozen_network_goes_on():
    model = mlp(**STILL)
    model.network.trainable = False
    model.network.output_dense.trainable = True
    model.grow({"intermediate_dim": 9})
    assert trains(model) == {"output_dense/kernel", "output_dense/bias"}
    assert not model.network.trainable


def test_a_pattern_of_variables_frozen_by_hand_is_refused():
    model = mlp(**STILL)
    model.network.output_dense.trainable = False
    with pytest.raises(GrowthError, match="was frozen by hand"):
        model.grow(DEEPER, "mslt", trainable=["^output_dense"])


def test_a_model_that_is_frozen_itself_is_refused():
    model = mlp(**STILL)
    model.trainable = False
    with pytest.raises(GrowthError, match="The model itself is frozen"):
        model.grow(DEEPER, "llama_pro")
    assert model.grow(DEEPER, kgrow.strategies.Stack()) is not None
