"""Folders grown: files, bytes, dtypes, and how much is held at once."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
from helpers.hf_folders import read_arrays, write_llama

from kgrow import hf
from kgrow.algebra.rounding import tolerance
from kgrow.hf import tensor_growth

safetensors_numpy = pytest.importorskip("safetensors.numpy")

# Nothing here depends on the backend.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)

WIDER = {"hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 3}


def test_growing_loads_no_framework(tmp_path):
    write_llama(tmp_path / "small")
    code = (
        "import sys; from kgrow import hf\n"
        "for s in ('lemon', 'hypercloning', 'direct', 'aki'):\n"
        f"    hf.grow({str(tmp_path / 'small')!r}, {{'hidden_size': 16}}, s,"
        f" out={str(tmp_path)!r} + '/' + s)\n"
        "print(*{'keras', 'torch', 'tensorflow', 'jax'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == []


def test_files_of_the_new_folder(tmp_path):
    write_llama(tmp_path / "small", limit=1000)
    card = "---\nlicense: mit\ntags:\n- old\nlanguage:\n- en\n---\n# Small\n"
    (tmp_path / "small" / "README.md").write_text(card)
    out = tmp_path / "grown"
    receipt = hf.grow(tmp_path / "small", WIDER, "lemon", out=out)
    names = {p.name for p in out.iterdir()}
    assert {
        "config.json",
        "generation_config.json",
        "tokenizer.json",
        "model.safetensors",
        "README.md",
        "kgrow_receipt.json",
    } == names
    assert receipt.left == ["pytorch_model.bin"]
    written = json.loads((out / "kgrow_receipt.json").read_text())
    assert written == receipt.as_dict()
    card = (out / "README.md").read_text()
    assert card.startswith("---\nlicense: mit\nlanguage:\n- en\ntags:\n- kgrow")
    assert "`hidden_size` | 8 | 12" in card
    config = json.loads((out / "config.json").read_text())
    assert config["head_dim"] == 2, "a head keeps its size"
    assert "seed 0" in str(receipt)


def test_safetensors_reads_what_is_written(tmp_path):
    write_llama(tmp_path / "small")
    hf.grow(tmp_path / "small", WIDER, "lemon", out=tmp_path / "grown")
    found = safetensors_numpy.load_file(tmp_path / "grown/model.safetensors")
    ours = read_arrays(hf.open_checkpoint(tmp_path / "grown"))
    assert list(found) and set(found) == set(ours)
    for name, array in ours.items():
        np.testing.assert_array_equal(found[name], array)


def test_we_read_what_safetensors_writes(tmp_path):
    arrays = write_llama(tmp_path / "small")
    safetensors_numpy.save_file(arrays, tmp_path / "small/model.safetensors")
    ours = read_arrays(hf.open_checkpoint(tmp_path / "small"))
    for name, array in arrays.items():
        np.testing.assert_array_equal(ours[name], array)


def test_shards_and_their_index(tmp_path):
    write_llama(tmp_path / "small")
    one, many = tmp_path / "one", tmp_path / "many"
    hf.grow(tmp_path / "small", WIDER, "net2net", out=one)
    hf.grow(tmp_path / "small", WIDER, "net2net", out=many, shard_bytes=2000)
    index = json.loads((many / "model.safetensors.index.json").read_text())
    files = sorted(p.name for p in many.glob("*.safetensors"))
    assert len(files) > 3 and sorted(set(index["weight_map"].values())) == files
    a, b = (read_arrays(hf.open_checkpoint(f)) for f in (one, many))
    assert index["metadata"]["total_size"] == 4 * sum(
        x.size for x in a.values()
    )
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name])


@pytest.mark.parametrize("dtype", ["BF16", "F16", "F64"])
def test_dtypes_are_kept(dtype, tmp_path):
    """Rounded once, from what float32 weights of the same values become."""
    arrays = write_llama(tmp_path / "small", dtype)
    hf.grow(tmp_path / "small", WIDER, "lemon", out=tmp_path / "grown", seed=3)
    checkpoint = hf.open_checkpoint(tmp_path / "grown")
    assert {t.dtype for t in checkpoint.tensors.values()} == {dtype}
    wide = {n: a.astype(np.float64) for n, a in arrays.items()}
    plan = hf.plan_growth(tmp_path / "small", WIDER, "lemon", seed=3)
    for name, layout in plan.source.layouts.items():
        wide[name] = wide[name].reshape(layout.parts[0].shape)
    wanted = plan.plan.apply(wide)
    name = {"BF16": "bfloat16", "F16": "float16", "F64": "float64"}[dtype]
    for path, tensor in checkpoint.tensors.items():
        want = wanted[path].reshape(tensor.shape)
        error = np.abs(tensor.read().astype(np.float64) - want).max()
        assert error <= tolerance(name, 1) * np.abs(want).max()


def test_untouched_tensors_are_copied_to_the_bit(tmp_path):
    arrays = write_llama(tmp_path / "small", "BF16")
    out = tmp_path / "grown"
    hf.grow(tmp_path / "small", {"num_hidden_layers": 4}, "identity", out=out)
    found = hf.open_checkpoint(out).tensors
    for block, old in enumerate((0, 0, 1, 1)):
        for part in ("self_attn.q_proj", "mlp.down_proj", "input_layernorm"):
            grown = found[f"model.layers.{block}.{part}.weight"].read()
            like = arrays[f"model.layers.{old}.{part}.weight"]
            silent = block % 2 and part == "mlp.down_proj"
            want = np.zeros_like(like) if silent else like
            assert grown.tobytes() == want.tobytes()


@pytest.mark.parametrize("strategy", ["net2net", "lemon", "fpi", "aki"])
def test_windows_make_what_the_whole_would(strategy, tmp_path, monkeypatch):
    """Where nothing is drawn, a tensor in windows is the tensor."""
    write_llama(tmp_path / "small", num_hidden_layers=3)
    target = {"hidden_size": 16, "intermediate_size": 20}
    whole, windows = tmp_path / "whole", tmp_path / "windows"
    hf.grow(tmp_path / "small", target, strategy, out=whole)
    monkeypatch.setattr(tensor_growth, "WINDOW_BYTES", 100)
    hf.grow(tmp_path / "small", target, strategy, out=windows)
    a, b = (read_arrays(hf.open_checkpoint(f)) for f in (whole, windows))
    for name, array in a.items():
        np.testing.assert_array_equal(array, b[name])


def test_new_entries_in_windows_are_drawn_anew(tmp_path, monkeypatch):
    """No window repeats what another one drew."""
    write_llama(tmp_path / "small")
    monkeypatch.setattr(tensor_growth, "WINDOW_BYTES", 64)
    target = {"intermediate_size": 40}
    hf.grow(tmp_path / "small", target, "direct", out=tmp_path / "grown")
    grown = read_arrays(hf.open_checkpoint(tmp_path / "grown"))
    new = grown["model.layers.0.mlp.up_proj.weight"][12:]
    assert len(np.unique(new)) == new.size
    assert np.all(grown["model.layers.0.mlp.down_proj.weight"][:, 12:] == 0)


def test_the_same_seed_gives_the_same_folder(tmp_path):
    write_llama(tmp_path / "small")
    folders = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / str(number)
        hf.grow(tmp_path / "small", WIDER, "lemon", out=out, seed=seed)
        folders.append((out / "model.safetensors").read_bytes())
    assert folders[0] == folders[1] != folders[2]


def test_plans_read_no_tensor_and_write_nothing(tmp_path, monkeypatch):
    write_llama(tmp_path / "small")

    def read(self):
        raise AssertionError("a plan needs shapes only")

    monkeypatch.setattr("kgrow.hf.stored_tensor.StoredTensor.read", read)
    plan = hf.plan_growth(tmp_path / "small", WIDER, "lemon")
    assert plan.exact and plan.target.parameters > plan.source.parameters
    assert [p.name for p in tmp_path.iterdir()] == ["small"]


def test_a_table_of_ones_own(tmp_path):
    from kgrow.hf.architectures import registry

    @hf.register("mine")
    def mine(config):
        return hf.table_of({**config, "model_type": "llama"})

    try:
        write_llama(tmp_path / "small", model_type="mine")
        target = {"num_hidden_layers": 3}
        assert hf.plan_growth(tmp_path / "small", target, "identity").exact
    finally:
        del registry._TABLES["mine"]
