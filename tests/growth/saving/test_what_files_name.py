"""Files that name functions and classes: nothing is called that is not of the
kind that is meant."""

import contextlib
import json
import zipfile

import h5py
import keras
import numpy as np
import pytest

import kgrow
from kgrow.algebra.deserialization import check_names
from kgrow.algebra.ramp import Ramp
from kgrow.schedules import GrowthSchedule, Plateau, Rewarm, Stage
from kgrow.schedules.learning_rate.events import EventSchedule

CALLED = []


@keras.saving.register_keras_serializable("kgrow_tests")
def bowl(t):
    return t * t


@keras.saving.register_keras_serializable("kgrow_tests")
def built(units):
    return keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(units, activation="relu", name="inner"),
            keras.layers.Dense(2, name="outer"),
        ]
    )


@keras.saving.register_keras_serializable("kgrow_tests")
class Bystander:
    """Registered, and of no kind that a file of kgrow's may mean."""

    def __init__(self, **config):
        CALLED.append(config)

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


def function(module, name):
    return {
        "module": module,
        "class_name": "function",
        "config": name,
        "registered_name": name,
    }


def instance(module, name, **config):
    return {
        "module": module,
        "class_name": name,
        "config": config,
        "registered_name": None,
    }


ATTACKS = {
    "max epochs": function("keras.config", "set_max_epochs"),
    "epsilon": function("keras.config", "set_epsilon"),
    "the seed": function("keras.utils", "set_random_seed"),
    "the data format": function("keras.config", "set_image_data_format"),
    "a download": function("keras.applications", "MobileNet"),
    "a data set": function("keras.datasets.mnist", "load_data"),
    "a source's own": function("keras.src.utils.rng_utils", "set_random_seed"),
    "the shell": function("os", "system"),
    "a function as a class": instance("keras.config", "set_max_epochs"),
    "a class": instance("subprocess", "Popen", args="ls"),
    "a registered class": {
        **instance("test_what_files_name", "Bystander", x=1),
        "registered_name": "kgrow_tests>Bystander",
    },
    "a computation of Keras": function("keras.ops", "square"),
}


@pytest.fixture(autouse=True)
def untouched():
    """The process is what it was, and nobody was called."""

    def state():
        return (
            keras.config.max_epochs(),
            keras.config.epsilon(),
            keras.config.image_data_format(),
            np.random.get_state()[1].tolist(),
        )

    CALLED.clear()
    before = state()
    yield
    assert state() == before and not CALLED


def mlp(**options):
    return kgrow.models.MLP(
        input_dim=2,
        output_dim=1,
        hidden_dim=4,
        intermediate_dim=6,
        num_layers=1,
        **options,
    )


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_ramp_names_functions_of_the_users_alone(attack, tmp_path):
    model = mlp()
    model.grow({"intermediate_dim": 8}, kgrow.strategies.MSG(Ramp(9, bowl)))
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    victim = mlp()
    victim.load_weights(path)
    assert victim.active_gates[0][0].ramp.shape is bowl
    with h5py.File(path, "a") as file:
        state = json.loads(file["vars/growth"][()].tobytes())
        state["gates"][0]["ramp"]["shape"] = ATTACKS[attack]
        del file["vars/growth"]
        text = json.dumps(state).encode()
        file["vars/growth"] = np.frombuffer(text, np.uint8)
    victim = mlp()
    with pytest.raises(kgrow.FileError):
        victim.load_weights(path)
    assert victim.growth_config["intermediate_dim"] == 6


def blueprint():
    return kgrow.GrowableModel(
        kgrow.ModelBuilder(built, {"units": 4}),
        {
            "inner/kernel": "_ -> units",
            "inner/bias": "-> units",
            "outer/kernel": "units -> _",
            "outer/bias": "-> _",
        },
    )


def recipe(config):
    return config["config"]["network"]["config"]


def changed(path, change):
    """A `.keras` file with another config."""
    other = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            new.writestr(name, data)
    return other


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_recipe_names_functions_of_the_users_alone(attack, tmp_path):
    path = tmp_path / "model.keras"
    blueprint().save(path)
    assert keras.saving.load_model(path).growth_config == {"units": 4}

    def call_it(config):
        recipe(config)["build"] = ATTACKS[attack]

    with pytest.raises(Exception, match="A file (may name|names) a function"):
        keras.saving.load_model(changed(path, call_it))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_names_a_network(attack, tmp_path):
    path = tmp_path / "model.keras"
    blueprint().save(path)

    def other(config):
        config["config"]["network"] = ATTACKS[attack]

    with pytest.raises(Exception, match="A file names"):
        keras.saving.load_model(changed(path, other))


CALLS = [a for a in ATTACKS if a not in ("a class", "a computation of Keras")]


@pytest.mark.parametrize("attack", CALLS)
def test_a_network_in_a_file_names_computations(attack, tmp_path):
    network = keras.Sequential(
        [keras.Input((4,)), keras.layers.Dense(3, bowl, name="inner")]
    )
    axes = {"inner/kernel": "_ -> _", "inner/bias": "-> _"}
    path = tmp_path / "model.keras"
    kgrow.GrowableModel(network, axes).save(path)
    keras.saving.load_model(path)

    def activate(config):
        layers = config["config"]["network"]["config"]["layers"]
        layers[-1]["config"]["activation"] = ATTACKS[attack]

    if attack == "a registered class":
        # The user's own, which Keras makes: a layer's parts are its business.
        with contextlib.suppress(Exception):
            keras.saving.load_model(changed(path, activate))
        CALLED.clear()
        return
    with pytest.raises(Exception, match="A file names a function"):
        keras.saving.load_model(changed(path, activate))


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("place", ["until", "strategy", "ramp", "policy"])
def test_a_schedule_in_json_names_what_is_meant(place, attack, tmp_path):
    schedule = GrowthSchedule(
        [
            Stage(5, {"num_layers": 1}),
            Stage(
                Plateau(3, at_most=9),
                {"num_layers": 2},
                kgrow.strategies.MSG(Ramp(9, bowl)),
                learning_rate=Rewarm(3),
            ),
        ]
    )
    path = tmp_path / "schedule.json"
    schedule.to_json(path)
    assert GrowthSchedule.from_json(path) == schedule
    config = json.loads(path.read_text())
    stage, evil = config["stages"][1], ATTACKS[attack]
    if place == "ramp":
        stage["strategy"]["config"]["ramp"]["config"]["shape"] = evil
    elif place == "policy":
        stage["learning_rate"] = [evil]
    else:
        stage[place] = evil
    with pytest.raises(kgrow.GrowthError):
        GrowthSchedule.from_json(json.dumps(config))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_bent_rate_names_schedules(attack):
    bent = EventSchedule(keras.optimizers.schedules.CosineDecay(0.1, 9))
    config = json.loads(json.dumps(bent.get_config()))
    assert EventSchedule.from_config(config).get_config() == config
    with pytest.raises(kgrow.GrowthError):
        EventSchedule.from_config({**config, "schedule": ATTACKS[attack]})
    event = {"step": 3, "policy": ATTACKS[attack], "total_steps": None}
    with pytest.raises(kgrow.GrowthError):
        EventSchedule.from_config({**config, "events": [event]})


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_operators_optimizer_is_one(attack):
    config = keras.saving.serialize_keras_object(
        kgrow.strategies.LiGO(optimizer=keras.optimizers.SGD(0.1))
    )
    config = json.loads(json.dumps(config))
    assert kgrow.strategies.get(config).optimizer.name == "sgd"
    config["config"]["optimizer"] = ATTACKS[attack]
    with pytest.raises(kgrow.GrowthError):
        kgrow.strategies.get(config)


def test_what_is_compiled_is_looked_at(tmp_path):
    model, path = mlp(), tmp_path / "model.keras"
    model.compile("adam", "mse")
    model.save(path)
    keras.saving.load_model(path)

    def lose(config):
        config["compile_config"]["loss"] = ATTACKS["max epochs"]

    with pytest.raises(kgrow.GrowthError, match="computes nothing"):
        keras.saving.load_model(changed(path, lose))


def test_names_deep_inside_are_found():
    deep = ATTACKS["the seed"]
    for _ in range(500):
        deep = {"a": [deep]}
    with pytest.raises(kgrow.GrowthError, match="set_random_seed"):
        check_names(deep)
