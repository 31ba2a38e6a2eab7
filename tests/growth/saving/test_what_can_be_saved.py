"""One schema for what is written and what is read.

Everything that `grow` accepts can be saved, loaded, printed and gone on with;
what cannot is refused before any file is opened.
"""

import dataclasses
import json
import os
import pathlib
import shutil
import tempfile

import h5py
import keras
import numpy as np
import pytest
from helpers.saved_models import assert_same_model
from helpers.training import BACKEND
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import kgrow
from kgrow.algebra.plain_data import plain
from kgrow.growth.receipt import Receipt
from kgrow.growth.saving import safe_write
from kgrow.schedules import GrowthSchedule, Stage

X = np.linspace(-1, 1, 16, dtype="float32").reshape(8, 2)
Y = X[:, :1] * X[:, 1:]


def small(dropout=0.0):
    keras.utils.set_random_seed(0)
    model = kgrow.models.MLP(
        input_dim=2,
        output_dim=1,
        hidden_dim=4,
        intermediate_dim=6,
        num_layers=1,
        dropout=dropout,
    )
    model.compile("adam", "mse")
    return model


def train(model):
    model.fit(X, Y, batch_size=4, shuffle=False, verbose=0)


def reloaded(model, folder):
    path = pathlib.Path(folder) / "model.weights.h5"
    model.save_weights(path)
    other = small(model.training_options["dropout"])
    other.load_weights(path)
    return other


seeds = st.one_of(
    st.none(),
    st.integers(0, 2**64 - 1),
    st.sampled_from([2**31, 2**53, 2**53 + 1, 2**63, 2**64 - 1]),
    st.integers(0, 2**31).map(np.int64),
    st.integers(0, 2**63).map(np.uint64),
)
numbers = st.one_of(
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.floats(width=32).map(np.float32),
    st.integers(-100, 100).map(np.int16),
    st.text(),
    st.none(),
)
callback_states = st.dictionaries(
    st.text(max_size=4),
    st.recursive(
        numbers,
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.tuples(inner, inner)
            | st.dictionaries(st.text(max_size=3), inner, max_size=3)
        ),
        max_leaves=4,
    ),
    max_size=2,
)
ramps = st.integers(0, 2**53) | st.integers(0, 50).map(np.int32)
whole_strategies = st.one_of(
    st.sampled_from(["net2net", "direct", "lemon", "llama_pro", "fpi"]),
    st.builds(kgrow.strategies.MSG, ramp=ramps),
    st.builds(
        kgrow.strategies.KnowledgeInheritance,
        weight=st.sampled_from([0, 0.5, 1, np.float32(0.25)]),
        steps=st.sampled_from([1, 20, np.int64(3)]),
        temperature=st.sampled_from([1, 2.0, np.float64(0.5)]),
    ),
)
growths = st.fixed_dictionaries(
    {
        "target": st.sampled_from(
            [
                {"num_layers": 2},
                {"num_layers": np.int64(3)},
                {"hidden_dim": np.int32(7)},
                {"hidden_dim": 8, "intermediate_dim": 12},
            ]
        ),
        "strategy": whole_strategies,
        "seed": seeds,
        "optimizer_state": st.sampled_from(["carry", "reset_new", "reset"]),
        "trainable": st.sampled_from([None, "new", "all"]),
        "data": st.sampled_from([None, (X, Y), [X, Y]]),
        "dropout": st.sampled_from([None, 0, np.float32(0.0), 0.0]),
        "state": callback_states,
        "trained": st.booleans(),
    }
)


@pytest.mark.skipif(BACKEND != "torch", reason="the same on each backend")
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    # What fails is read as it was drawn: each draw is a model.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(growths)
def test_what_grow_accepts_can_be_saved_loaded_printed_and_resumed(drawn):
    model = small()
    if drawn["trained"]:
        train(model)
    try:
        receipt = model.grow(
            drawn["target"],
            drawn["strategy"],
            data=drawn["data"],
            seed=drawn["seed"],
            optimizer_state=drawn["optimizer_state"],
            trainable=drawn["trainable"],
        )
    except kgrow.GrowthError:
        return  # Not accepted.
    if drawn["dropout"] is not None:
        model.set_training_options(dropout=drawn["dropout"])
    model.callback_state.update(drawn["state"])
    assert str(receipt)
    assert json.loads(json.dumps(receipt.to_dict())) == receipt.to_dict()
    with tempfile.TemporaryDirectory() as folder:
        other = reloaded(model, folder)
        model.callback_state.update(plain(drawn["state"]))
        # NaN is no equal of itself.
        same = repr(model.callback_state) == repr(other.callback_state)
        assert same
        other.callback_state.clear(), model.callback_state.clear()
        assert_same_model(model, other)
        assert str(other.growth_history[-1]) == str(receipt)
        train(model), train(other)
        assert_same_model(model, other)


@pytest.mark.parametrize(
    "seed", [1_796_094_486_843_508_045, 2**53, 2**64 - 1, np.uint64(7)], ids=str
)
def test_a_seed_of_64_bits_is_saved_and_read(seed, tmp_path):
    model = small()
    model.grow({"num_layers": 2}, seed=seed)
    assert reloaded(model, tmp_path).growth_history[0].seed == int(seed)
    stage = Stage(9, {"num_layers": 2}, seed=seed)
    schedule = GrowthSchedule([Stage(5, {"num_layers": 1}), stage])
    assert GrowthSchedule.from_json(schedule.to_json()) == schedule


@pytest.mark.parametrize("seed", [2**64, -1, 1.0, True, "1", float("nan")])
def test_what_no_file_holds_is_refused_at_the_argument(seed):
    model = small()
    with pytest.raises(kgrow.GrowthError, match="`seed` must be an integer"):
        model.grow({"num_layers": 2}, seed=seed)
    with pytest.raises(kgrow.GrowthError, match="`seed` must be an integer"):
        Stage(9, {"num_layers": 2}, seed=seed)
    assert model.growth_config["num_layers"] == 1


@pytest.mark.parametrize("steps", [2**53 + 1, -1, 1.5, "1", None])
def test_a_ramp_that_no_file_holds_is_refused(steps):
    with pytest.raises(kgrow.GrowthError, match="`steps` must be"):
        kgrow.strategies.MSG(ramp=steps)


@pytest.mark.parametrize("seed", [-1, 2**31, 2**32 - 1])
def test_random_states_of_any_seed_are_saved_and_read(seed, tmp_path):
    network = keras.Sequential(
        [
            keras.Input((2,)),
            keras.layers.Dense(4, name="inner"),
            keras.layers.Dense(1, name="outer"),
        ]
    )
    axes = {
        "inner/kernel": "_ -> units",
        "inner/bias": "-> units",
        "outer/kernel": "units -> _",
        "outer/bias": "-> _",
    }
    model = kgrow.GrowableModel(network, axes)
    generator = keras.random.SeedGenerator(0)
    network.layers[0]._seed_generators.append(generator)
    dtype = np.dtype(keras.backend.standardize_dtype(generator.state.dtype))
    bits = np.array([seed, 3], "int64").astype(dtype)
    generator.state.assign(bits)
    model.save_weights(tmp_path / "a.weights.h5")
    generator.state.assign([0, 0])
    model.load_weights(tmp_path / "a.weights.h5")
    found = keras.ops.convert_to_numpy(generator.state)
    np.testing.assert_array_equal(found, bits)


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
@pytest.mark.parametrize(
    "state",
    [object(), np.zeros(3), {1: 2}, [set()], 1j, b"bytes", 10**5000],
    ids=lambda v: type(v).__name__,
)
def test_a_good_file_outlives_a_failing_save(name, state, tmp_path):
    model = small()
    save = model.save if name.endswith(".keras") else model.save_weights
    save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    model.callback_state["mine"] = state
    with pytest.raises(kgrow.GrowthError, match="mine"):
        save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["model.keras", "model.weights.h5"])
def test_a_good_file_outlives_an_error_while_it_is_written(
    name, tmp_path, monkeypatch
):
    model = small()
    save = model.save if name.endswith(".keras") else model.save_weights
    save(tmp_path / name)
    before = (tmp_path / name).read_bytes()
    dense = model.network.input_dense
    with monkeypatch.context() as patch:

        def broken(store):
            raise OSError("No space left on device")

        patch.setattr(type(dense), "save_own_variables", broken)
        with pytest.raises(Exception, match="broken|space"):
            save(tmp_path / name)
    assert (tmp_path / name).read_bytes() == before
    assert os.listdir(tmp_path) == [name]
    save(tmp_path / name)
    small().load_weights(tmp_path / name)


def test_outputs_that_are_all_zero_can_be_saved(tmp_path):
    model = small()
    model.network.output_dense.kernel.assign(np.zeros((4, 1)))
    model.network.output_dense.bias.assign(np.zeros(1))
    model.grow({"num_layers": 2})
    assert reloaded(model, tmp_path).growth_history[0].max_abs_diff == 0.0


def test_room_is_looked_at_before_a_file_is_opened(tmp_path, monkeypatch):
    model = small()
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    before = path.read_bytes()
    full = shutil._ntuple_diskusage(10**6, 10**6, 100)
    monkeypatch.setattr(safe_write.shutil, "disk_usage", lambda folder: full)
    with pytest.raises(kgrow.FileError, match="has 100 left") as caught:
        model.save_weights(path)
    assert isinstance(caught.value, OSError)
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_the_room_that_is_asked_for_is_that_of_the_file(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        safe_write, "_check_room", lambda path, needed: asked.append(needed)
    )
    model = small()
    train(model)
    model.save_weights(tmp_path / "model.weights.h5")
    assert asked[0] >= (tmp_path / "model.weights.h5").stat().st_size


def test_a_link_stays_a_link(tmp_path):
    model, real = small(), tmp_path / "real.weights.h5"
    real.write_bytes(b"")
    real.chmod(0o640)
    link = tmp_path / "link.weights.h5"
    link.symlink_to(real)
    model.save_weights(link)
    assert link.is_symlink() and real.stat().st_mode & 0o777 == 0o640
    small().load_weights(real)


def _changed(place, value):
    def change(receipt):
        receipt[place] = value

    return change


BAD_RECEIPTS = {
    "sizes of text": _changed("source_config", {"hidden_dim": "4"}),
    "target of a list of text": _changed("target_config", {"depths": ["2"]}),
    "claims of numbers": _changed("claims", {"hidden": 3}),
    "learned without steps": _changed("learned", {"moved": {}}),
    "moved of text": _changed(
        "learned",
        {"loss_before": 1.0, "loss_after": 1.0, "steps": 1, "moved": {"a": ""}},
    ),
    "a loss before alone": _changed("loss_before", 1.0),
    "parameters of nothing": _changed("parameters_before", None),
    "a seed of 65 bits": _changed("seed", 2**64),
}


@pytest.mark.parametrize("change", BAD_RECEIPTS)
def test_receipts_in_files_are_checked_inside(change, tmp_path):
    model = small()
    model.grow({"num_layers": 2})
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        state = json.loads(file["vars/growth"][()].tobytes())
        BAD_RECEIPTS[change](state["history"][0])
        del file["vars/growth"]
        text = json.dumps(state).encode()
        file["vars/growth"] = np.frombuffer(text, np.uint8)
    victim = small()
    with pytest.raises(kgrow.FileError, match="makes no sense"):
        victim.load_weights(path)
    assert victim.growth_config["num_layers"] == 1


def test_a_receipt_is_plain_from_the_start():
    receipt = small().grow({"num_layers": 2})
    told = dataclasses.asdict(receipt)
    odd = {
        **told,
        "max_abs_diff": np.float32(0.5),
        "seed": np.uint64(2**64 - 1),
        "strategy": "Mine('[/b] [lr=1e-3]')",
        "claims": {"hidden": np.str_("[bold]no[/]")},
        "exact": np.bool_(False),
    }
    made = Receipt(**odd)
    assert json.loads(json.dumps(made.to_dict())) == made.to_dict()
    assert "[lr=1e-3]" in str(made) and "[/b]" in str(made)
    assert "[bold]no[/]" in str(made)
