"""Files that are cut, changed or made up: a clear error, and nothing else.

One model is put through all of them, and must be what it was after each.
"""

import copy
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import zipfile

import h5py
import keras
import numpy as np
import pytest
from helpers.saved_models import (
    assert_same_model,
    assert_trains_on_alike,
    assert_unchanged,
    fresh_for,
    make,
    rich,
    taught,
)
from helpers.training import BACKEND, assert_same_state, train
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from keras.src.saving.serialization_lib import in_safe_mode

import kgrow
from kgrow.growth.saving import growth_state
from kgrow.growth.saving.growth_state import state_of

NAN, INFINITY = float("nan"), float("inf")


class Files:
    """Files of two rich models, and models for them to be loaded into."""

    def __init__(self, folder):
        self.folder = folder
        self.good = {"rich": rich(), "taught": taught()}
        for name, model in self.good.items():
            model.save_weights(folder / f"{name}.weights.h5")
        self.good["rich"].save(folder / "rich.keras")
        self.victim = fresh_for(self.good["rich"])
        train(self.victim, epochs=1)
        self.victim.save_weights(folder / "victim.weights.h5")

    def path(self, name):
        return self.folder / f"{name}.weights.h5"

    def state(self, name="rich"):
        with h5py.File(self.path(name)) as file:
            return json.loads(file["vars/growth"][()].tobytes())

    def changed(self, text, name="rich"):
        """The path of the file with another growth state in it."""
        path = self.path("changed")
        shutil.copy(self.path(name), path)
        with h5py.File(path, "a") as file:
            del file["vars/growth"]
            if text is not None:
                file["vars/growth"] = np.frombuffer(text, np.uint8)
        return path

    def with_state(self, state, name="rich"):
        return self.changed(json.dumps(state).encode(), name)


@pytest.fixture(scope="module")
def files():
    with tempfile.TemporaryDirectory() as folder:
        yield Files(pathlib.Path(folder))


# A changed state may be of another optimizer, which Keras warns of.
pytestmark = [
    pytest.mark.compiles,
    pytest.mark.filterwarnings("ignore:Skipping variable loading"),
]


def refused(files, path, error=kgrow.FileError, match=None):
    """Asserts that a file is refused, and the model is what it was."""
    with assert_unchanged(files.victim):
        with pytest.raises(error, match=match or None):
            files.victim.load_weights(path)


def put(*place, value):
    """A change of the state: another value at a place in it."""

    def change(state):
        *folders, last = place
        for folder in folders:
            state = state[folder]
        state[last] = value

    return change


def drop(*place):
    def change(state):
        *folders, last = place
        for folder in folders:
            state = state[folder]
        del state[last]

    return change


def _twice_the_gate(state):
    state["gates"].append(copy.deepcopy(state["gates"][0]))


def _frozen_elsewhere(state):
    state["frozen"]["nowhere/kernel"] = True


def _of_another_shape(state):
    first = next(iter(state["variables"]))
    state["variables"][first] = [5, 5]


def _fewer_variables(state):
    state["variables"].popitem()


def _more_seeds(state):
    state["seeds"]["nowhere"] = [1, 2]


def _far_mask(state):
    path = next(iter(state["frozen"]))
    state["frozen"][path] = {"flat": [[0, 10**12]]}


def _mask_of_other_axes(state):
    path = next(iter(state["frozen"]))
    state["frozen"][path] = {"axes": [[[0, 1]]] * 7}


def shape(**config):
    """A ramp whose shape Keras is to make of data."""
    return put("gates", 0, "ramp", "shape", value=config)


LAMBDA = {
    "class_name": "__lambda__",
    "config": {"value": "4wEAAAA=", "defaults": None, "closure": None},
}
SYSTEM = {
    "module": "os",
    "class_name": "function",
    "config": "system",
    "registered_name": "system",
}

# What is done to the growth state of a good file, and what the error says.
CHANGES = {
    "no fields": (lambda s: s.clear(), "version"),
    "newer": (put("version", value=99), "newer version"),
    "version is text": (put("version", value="1"), "version"),
    "version is true": (put("version", value=True), "version"),
    "unknown field": (put("surprise", value=1), "surprise"),
    "no config": (drop("config"), "config"),
    "no history": (drop("history"), "history"),
    "config is a list": (put("config", value=[]), "config"),
    "unknown size": (put("config", "wings", value=2), "other fields"),
    "lacks a size": (drop("config", "hidden_dim"), "other fields"),
    "size is text": (put("config", "hidden_dim", value="4"), "hidden_dim"),
    "size is true": (put("config", "hidden_dim", value=True), "hidden_dim"),
    "size is a float": (put("config", "hidden_dim", value=4.0), "hidden_dim"),
    "size is nan": (put("config", "hidden_dim", value=NAN), "hidden_dim"),
    "size is negative": (put("config", "hidden_dim", value=-4), "hidden_dim"),
    "size is zero": (put("config", "hidden_dim", value=0), ""),
    "size is a list": (put("config", "hidden_dim", value=[4]), "other fields"),
    "huge width": (put("config", "hidden_dim", value=10**12), "10{12}"),
    "huge depth": (put("config", "num_layers", value=10**9), "10{9}"),
    "wide for the file": (put("config", "hidden_dim", value=900), "holds"),
    "deep for the file": (put("config", "num_layers", value=90), "holds"),
    "another width": (put("config", "hidden_dim", value=5), "other variables"),
    "another depth": (put("config", "num_layers", value=1), ""),
    "other shapes": (_of_another_shape, "other variables"),
    "fewer variables": (_fewer_variables, ""),
    "shape is negative": (
        lambda s: s["variables"].update(x=[-1]),
        "integer",
    ),
    "unknown training option": (
        put("training_options", "nap", value=1),
        "training options",
    ),
    "training option is nan": (
        put("training_options", "dropout", value=NAN),
        "dropout",
    ),
    "training option is a list": (
        put("training_options", "dropout", value=[]),
        "dropout",
    ),
    "dropout of two": (
        put("training_options", "dropout", value=2.0),
        "dropout",
    ),
    "frozen elsewhere": (_frozen_elsewhere, "nowhere"),
    "mask goes too far": (_far_mask, "ends at"),
    "mask of other axes": (_mask_of_other_axes, "axes"),
    "layer frozen elsewhere": (
        put("untrainable", "layers", value=[99]),
        "freezes layers",
    ),
    "pace is nan": (put("update_scales", 0, "old", value=NAN), "old"),
    "pace is negative": (put("update_scales", 0, "new", value=-1.0), "new"),
    "pace starts before": (put("update_scales", 0, "start", value=-1), "start"),
    "pace lacks a field": (drop("update_scales", 0, "known"), "known"),
    "gate twice": (_twice_the_gate, "one behind the other"),
    "gate elsewhere": (
        put("gates", 0, "units", value={"wings": [1, 2]}),
        "wings",
    ),
    "gate beyond": (
        put("gates", 0, "units", "ffn", value=[6, 10**12]),
        "beyond its size",
    ),
    "gate of nothing": (
        put("gates", 0, "units", "ffn", value=[0, 0]),
        "not empty",
    ),
    "gate on negative blocks": (
        put("gates", 0, "blocks", value={"layers": [-1]}),
        "blocks|layers",
    ),
    "ramp of nan": (put("gates", 0, "ramp", "steps", value=NAN), "steps"),
    "ramp of a shape": (put("gates", 0, "ramp", "shape", value="x"), "shape"),
    "ramp of a lambda": (shape(**LAMBDA), ""),
    "ramp of the shell": (shape(**SYSTEM), "system"),
    "ramp of a class": (
        shape(module="subprocess", class_name="Popen", config={"args": "ls"}),
        "Popen",
    ),
    "ramp of unsafe loading": (
        shape(
            module="keras.config",
            class_name="function",
            config="enable_unsafe_deserialization",
            registered_name="function",
        ),
        "",
    ),
    "more seeds": (_more_seeds, "random states"),
    "seed is negative": (
        lambda s: s["seeds"].update({next(iter(s["seeds"]), "x"): [-1, 0]}),
        "",
    ),
    "seed is huge": (
        lambda s: s["seeds"].update({next(iter(s["seeds"]), "x"): [2**40, 0]}),
        "",
    ),
    "history of text": (put("history", value=["grown"]), "history"),
    "receipt lacks": (drop("history", 0, "seed"), "seed"),
    "receipt has more": (put("history", 0, "mood", value="fine"), "mood"),
    "receipt of text": (put("history", 0, "seconds", value="1"), "seconds"),
    "callbacks of text": (put("callbacks", value="state"), "callbacks"),
    "optimizer of text": (put("optimizer", value="Adam"), "optimizer"),
}
TAUGHT = {
    "teacher is huge": (
        put("teacher", "sizes", "hidden_dim", value=10**12),
        "10{12}",
    ),
    "teacher is deep": (
        put("teacher", "sizes", "num_layers", value=10**9),
        "10{9}",
    ),
    "teacher is nan": (
        put("teacher", "settings", "weight", value=NAN),
        "weight",
    ),
    "teacher is cold": (
        put("teacher", "settings", "temperature", value=0.0),
        "temperature",
    ),
    "teacher for minus one": (
        put("teacher", "settings", "steps", value=-1),
        "steps",
    ),
    "teacher is another": (
        put("teacher", "sizes", "hidden_dim", value=3),
        "",
    ),
}


@pytest.fixture
def nothing_huge(monkeypatch):
    """Fails where a network gets values that the file could not hold."""
    initialize = growth_state.initialize

    def checked(variables):
        assert sum(int(np.prod(v.shape)) for v in variables) < 10_000
        initialize(variables)

    monkeypatch.setattr(growth_state, "initialize", checked)


@pytest.mark.sample
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_state_is_refused(files, change, nothing_huge):
    state = files.state()
    alter, message = CHANGES[change]
    alter(state)
    message = message.replace("10{12}", str(10**12))
    message = message.replace("10{9}", str(10**9))
    # What is wrong with the weights, Keras says.
    error = ValueError if change == "another depth" else kgrow.FileError
    refused(files, files.with_state(state), error, message)


@pytest.mark.parametrize("change", TAUGHT)
def test_a_changed_teacher_is_refused(files, change, nothing_huge):
    state = files.state("taught")
    alter, message = TAUGHT[change]
    alter(state)
    message = message.replace("10{12}", str(10**12))
    message = message.replace("10{9}", str(10**9))
    path = files.with_state(state, "taught")
    # A teacher of another size is made, and its weights do not fit.
    refused(files, path, ValueError, message)


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{" * 100_000,
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"version": 1}',
    ],
    ids=lambda text: "none" if text is None else repr(text[:8]),
)
def test_what_is_no_state_is_refused(files, text):
    refused(files, files.changed(text))


def test_a_state_that_is_no_bytes_is_refused(files):
    path = files.changed(None)
    with h5py.File(path, "a") as file:
        file["vars/growth"] = np.zeros((3, 3))
    refused(files, path, match="vector of bytes")


def test_the_shell_is_never_asked(files, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "system", asked.append)
    monkeypatch.setattr(
        subprocess, "Popen", lambda *a, **k: asked.append((a, k))
    )
    for change in ("ramp of the shell", "ramp of a class", "ramp of a lambda"):
        state = files.state()
        CHANGES[change][0](state)
        refused(files, files.with_state(state))
    assert not asked


@pytest.mark.parametrize("part", range(8))
def test_a_file_that_is_cut_is_refused(files, part):
    whole = files.path("rich").read_bytes()
    path = files.path("cut")
    for end in np.linspace(0, len(whole) - 1, 40, dtype=int)[part::8]:
        path.write_bytes(whole[:end])
        refused(files, path, OSError)


def test_a_model_that_is_cut_is_refused(files):
    whole = (files.folder / "rich.keras").read_bytes()
    path = files.folder / "cut.keras"
    for end in np.linspace(0, len(whole) - 1, 12, dtype=int):
        path.write_bytes(whole[:end])
        refused(files, path, (ValueError, OSError, zipfile.BadZipFile))
        with pytest.raises((ValueError, OSError, zipfile.BadZipFile)):
            keras.saving.load_model(path)


def parts_of(file):
    """Names of all arrays of a file but the growth state."""
    names = []
    file.visititems(
        lambda name, item: (
            names.append(name) if isinstance(item, h5py.Dataset) else None
        )
    )
    return [name for name in names if name != "vars/growth"]


@pytest.mark.compiles
@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("how", ["missing", "other shape"])
def test_an_array_that_is_wrong_is_refused(files, how, number):
    path = files.path("changed")
    shutil.copy(files.path("rich"), path)
    with h5py.File(path, "a") as file:
        # Metrics begin anew with an epoch; Keras does not look at all.
        names = [
            n for n in parts_of(file) if n.startswith(("network", "optimizer"))
        ]
        name = names[number * (len(names) - 1) // 5]
        value = file[name][()]
        del file[name]
        if how == "other shape":
            file[name] = np.zeros((*value.shape, 3))
    refused(files, path, ValueError)


def test_an_array_that_stores_nothing_is_refused(files):
    """It declares what would be a terabyte."""
    state = files.state()
    state["config"]["hidden_dim"] = 10**9
    path = files.with_state(state)
    with h5py.File(path, "a") as file:
        file.create_dataset(
            "network/bomb", shape=(10**12,), dtype="float32", chunks=(10**6,)
        )
    refused(files, path, match="stores 0")


def places(state, above=()):
    """All places in nested data."""
    found = []
    items = enumerate(state) if isinstance(state, list) else state.items()
    for key, value in items:
        found.append((*above, key))
        if isinstance(value, (dict, list)):
            found += places(value, (*above, key))
    return found


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 12)
    | st.sampled_from([2**31, 2**63, 10**400, -(10**30)])
    | st.floats()
    | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=4,
)
# What a state that is accepted must have given to the model.
GIVEN = ("config", "gates", "training_options", "seeds", "history", "callbacks")
QUIET = settings(
    deadline=None,
    max_examples=40 if BACKEND == "torch" else 12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def refused_or_taken(files, state, path):
    """A change that is not refused is one to a state that makes sense."""
    victim = files.victim
    before = assert_unchanged(victim)
    before.__enter__()
    try:
        victim.load_weights(path)
    except (ValueError, OSError):
        before.__exit__(None, None, None)
        return
    now = json.loads(json.dumps(state_of(victim)))
    for each in (now, state):
        # By order, where the names are others.
        each["seeds"] = list(each["seeds"].values())
    taken = [key for key in GIVEN if repr(now[key]) != repr(state[key])]
    victim.load_weights(files.path("victim"))
    assert not taken


@given(data=st.data())
@QUIET
def test_any_change_of_an_entry_is_refused_or_makes_sense(files, data):
    state = files.state()
    place = data.draw(st.sampled_from(places(state)))
    if data.draw(st.integers(0, 3)):
        put(*place, value=data.draw(JUNK))(state)
    else:
        drop(*place)(state)
    refused_or_taken(files, state, files.with_state(state))


@given(byte=st.integers(0, 2**20), bit=st.integers(0, 7))
@QUIET
def test_any_bit_that_flips_is_refused_or_makes_sense(files, byte, bit):
    text = bytearray(json.dumps(files.state()).encode())
    text[byte % len(text)] ^= 1 << bit
    try:
        state = json.loads(bytes(text))
    except ValueError:
        refused(files, files.changed(bytes(text)))
        return
    refused_or_taken(files, state, files.changed(bytes(text)))


@pytest.fixture
def archive(files):
    """Function that writes the saved model with another config."""

    def write(change):
        path = files.folder / "changed.keras"
        with (
            zipfile.ZipFile(files.folder / "rich.keras") as old,
            zipfile.ZipFile(path, "w") as new,
        ):
            for name in old.namelist():
                text = old.read(name)
                if name == "config.json":
                    config = json.loads(text)
                    change(config)
                    text = json.dumps(config).encode()
                new.writestr(name, text)
        return path

    return write


@pytest.mark.parametrize(
    "change",
    [
        put("config", "hidden_dim", value=-3),
        put("config", "hidden_dim", value="3"),
        put("config", "wings", value=5),
        put("config", "gates", value=[{"ramp": SYSTEM}]),
        put("config", "activation", value=SYSTEM),
        put("compile_config", "optimizer", value=SYSTEM),
        put("compile_config", "loss", value=LAMBDA),
        lambda config: config.update(SYSTEM),
    ],
)
def test_a_changed_config_is_refused(archive, change, monkeypatch):
    asked = []
    monkeypatch.setattr(os, "system", asked.append)
    with pytest.raises((ValueError, TypeError)):
        keras.saving.load_model(archive(change))
    assert not asked


def test_a_config_of_another_size_gives_way_to_the_state(files, archive):
    path = archive(put("config", "hidden_dim", value=5))
    assert_same_model(keras.saving.load_model(path), files.good["rich"])


@pytest.mark.parametrize(
    "function",
    [
        SYSTEM,
        {
            "module": "keras.config",
            "class_name": "function",
            "config": "enable_unsafe_deserialization",
            "registered_name": "function",
        },
        {
            "module": "keras.utils",
            "class_name": "function",
            "config": "clear_session",
            "registered_name": "function",
        },
    ],
)
def test_a_blueprint_of_another_function_is_refused(function):
    config = make("blueprint").get_config()
    config["network"]["config"]["build"] = function
    config["network"]["config"]["config"] = {}
    with pytest.raises((ValueError, TypeError)):
        kgrow.GrowableModel.from_config(config)
    assert in_safe_mode() is not False


# Where a load may be interrupted: what it calls there.
PLACES = {
    "building the network": (growth_state, "initialize"),
    "freezing by hand": (growth_state, "set_untrainable"),
    "installing": (kgrow.GrowableModel, "_install"),
    "building the optimizer": (growth_state, "rebuild_fresh"),
    "guarding": (growth_state, "guard"),
    "compiling": (kgrow.GrowableModel, "_refresh_functions"),
    "pacing": (growth_state, "load_update_scales"),
    "seeding": (growth_state, "set_seed_states"),
    "reading weights": (keras.layers.Dense, "load_own_variables"),
    "reading slots": (keras.optimizers.Adam, "load_own_variables"),
}


@pytest.mark.compiles
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_load_that_is_interrupted_leaves_nothing(
    files, place, error, monkeypatch
):
    owner, name = PLACES[place]
    function, failed = getattr(owner, name), []

    def fail(*args, **kwargs):
        function(*args, **kwargs)
        if not failed:
            failed.append(place)
            raise error

    monkeypatch.setattr(owner, name, fail)
    # Keras collects what is no interrupt, and says it as a `ValueError`.
    refused(files, files.path("rich"), (error, ValueError))
    assert failed


def test_a_bad_file_in_a_running_fit_disturbs_nothing(files):
    state = files.state()
    state["version"] = 99
    path = files.with_state(state)

    def load(model):
        with pytest.raises(kgrow.FileError):
            model.load_weights(path)

    disturbed, undisturbed = make("family"), make("family")
    train(disturbed, {("batch", 1): load, ("epoch", 0): load})
    train(undisturbed)
    assert_same_state(disturbed, undisturbed)


def test_a_backup_that_is_broken_falls_back_to_the_one_before(tmp_path):
    """Not only where a file ends too early."""
    model = make("family")
    backup = keras.callbacks.BackupAndRestore(
        tmp_path, double_checkpoint=True, delete_checkpoint=False
    )
    train(model, epochs=2, callbacks=[backup])
    with h5py.File(tmp_path / "latest.weights.h5", "a") as file:
        del file["vars/growth"]
    again = make("family")
    backup = keras.callbacks.BackupAndRestore(
        tmp_path, double_checkpoint=True, delete_checkpoint=False
    )
    backup.set_model(again)
    backup.on_train_begin()
    assert int(again.optimizer.iterations) == 3


def test_after_all_of_it_the_model_trains_on(files):
    """The last test of the file: as one that never saw a bad one."""
    untouched = fresh_for(files.good["rich"])
    train(untouched, epochs=1)
    assert_trains_on_alike("family", files.victim, untouched)
    files.victim.load_weights(files.path("rich"))
    assert files.victim.growth_history == files.good["rich"].growth_history


def _declares_more(file):
    del file["vars/growth"]
    file.create_dataset("vars/growth", (10**9,), "uint8")


def _declares_a_large_kernel(file):
    name = parts_of(file)[0]
    del file[name]
    file.create_dataset(name, (10**9,), "float32", chunks=(10**6,))


def _stores_a_large_kernel(file):
    name = parts_of(file)[0]
    del file[name]
    file.create_dataset(
        name,
        data=np.zeros(2**21, "float32"),
        compression="gzip",
        chunks=(2**19,),
    )


@pytest.fixture
def sizes_read(monkeypatch):
    """List of the sizes of all arrays that are read from a file."""
    read, sizes = h5py.Dataset.__array__, []

    def watched(dataset, *args, **kwargs):
        sizes.append(dataset.size)
        return read(dataset, *args, **kwargs)

    monkeypatch.setattr(h5py.Dataset, "__array__", watched)
    return sizes


@pytest.mark.parametrize("like", ["victim", "rich"])
@pytest.mark.parametrize(
    "change",
    [_declares_more, _declares_a_large_kernel, _stores_a_large_kernel],
)
def test_no_more_is_read_than_the_file_can_hold(
    files, change, like, sizes_read
):
    """By a model of other sizes, and by one of the sizes in the file, whose
    layers the large array is for."""
    files.victim.load_weights(files.path(like))
    path = files.path("changed")
    shutil.copy(files.path("rich"), path)
    with h5py.File(path, "a") as file:
        change(file)
    sizes_read.clear()
    refused(files, path)
    assert max(sizes_read, default=0) < 2**20


def test_no_more_of_a_model_is_read_than_its_file_can_hold(files, sizes_read):
    path, weights = files.folder / "large.keras", files.path("changed")
    with (
        zipfile.ZipFile(files.folder / "rich.keras") as old,
        zipfile.ZipFile(path, "w") as new,
    ):
        for name in old.namelist():
            content = old.read(name)
            if name.endswith(".h5"):
                weights.write_bytes(content)
                with h5py.File(weights, "a") as file:
                    _stores_a_large_kernel(file)
                content = weights.read_bytes()
            new.writestr(name, content)
    sizes_read.clear()
    with pytest.raises(kgrow.FileError, match="it has 8,388,608 bytes"):
        keras.saving.load_model(path)
    assert max(sizes_read, default=0) < 2**20
