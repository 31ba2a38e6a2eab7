"""What is wrong with a folder is said, and nothing is left behind."""

import errno
import json
import os
import sys
import types

import keras
import pytest
from helpers.hf_folders import LLAMA, write_arrays, write_llama

from kgrow import FileError, GrowthError, hf
from kgrow.hf import tensor_growth
from kgrow.hf.checkpoint import INDEX, SINGLE

# Nothing here depends on the backend.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)

DEEPER = {"num_hidden_layers": 3}


@pytest.fixture
def small(tmp_path):
    write_llama(tmp_path / "small")
    return tmp_path / "small"


@pytest.fixture
def sharded(tmp_path):
    write_llama(tmp_path / "sharded", limit=1000)
    return tmp_path / "sharded"


def refused(folder, error, match, target=DEEPER, strategy="identity"):
    """Asserts that growing is refused, and that nothing new is there."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(error, match=match):
        hf.grow(folder, target, strategy, out=folder.parent / "out")
    assert sorted(folder.parent.iterdir()) == before


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_no_folder(tmp_path):
    refused(tmp_path / "none", FileError, "no folder")


def test_no_weights(small):
    (small / SINGLE).unlink()
    refused(small, FileError, "save_pretrained")


def test_no_config(small):
    (small / "config.json").unlink()
    refused(small, FileError, "config.json")


def test_a_config_that_is_no_json(small):
    (small / "config.json").write_text("{")
    refused(small, FileError, "no JSON")


def test_a_missing_shard(sharded):
    next(sharded.glob("model-00002*")).unlink()
    refused(sharded, FileError, "model-00002")


def test_a_shard_that_is_cut_off(sharded):
    shard = next(sharded.glob("model-00002*"))
    shard.write_bytes(shard.read_bytes()[:-4])
    refused(sharded, FileError, "does not fit its place")


def test_a_file_of_something_else(small):
    (small / SINGLE).write_bytes(b"\x80\x02 a pickle")
    refused(small, FileError, "no safetensors file")


def test_bytes_that_no_tensor_has(small):
    with open(small / SINGLE, "ab") as file:
        file.write(b"more")
    refused(small, FileError, "header speaks of")


def test_an_index_that_names_another_file(sharded):
    def swap(index):
        places = index["weight_map"]
        first, last = list(places)[0], list(places)[-1]
        places[first], places[last] = places[last], places[first]

    edit(sharded / INDEX, swap)
    refused(sharded, FileError, "says is in")


def test_an_index_that_names_a_tensor_too_many(sharded):
    def add(index):
        places = index["weight_map"]
        places["model.more.weight"] = next(iter(places.values()))

    edit(sharded / INDEX, add)
    refused(sharded, FileError, "not where it says")


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd"])
def test_an_index_that_leaves_the_folder(sharded, name):
    edit(sharded / INDEX, lambda index: index["weight_map"].update(x=name))
    refused(sharded, FileError, "its own folder")


def test_weights_twice(sharded, small):
    (sharded / SINGLE).write_bytes((small / SINGLE).read_bytes())
    refused(sharded, FileError, "not clear")


def test_a_tensor_that_no_table_knows(small):
    write = write_llama(small.parent / "other")
    write["model.layers.0.adapter.weight"] = write["lm_head.weight"]
    (small / SINGLE).unlink()
    write_arrays(small, write)
    refused(small, GrowthError, r"adapter\.weight.*adapters")


def test_an_architecture_without_a_table(small):
    edit(small / "config.json", lambda c: c.update(model_type="mamba"))
    refused(small, GrowthError, "mamba")


def test_a_config_that_contradicts_the_tensors(small):
    edit(small / "config.json", lambda c: c.update(intermediate_size=13))
    refused(small, GrowthError, "ffn")


def test_a_config_of_another_depth(small):
    edit(small / "config.json", lambda c: c.update(num_hidden_layers=1))
    refused(small, GrowthError, "num_hidden_layers")


def test_weights_of_whole_numbers(small):
    write = write_llama(small.parent / "other", dtype="I8")
    (small / SINGLE).unlink()
    write_arrays(small, write, dtype="I8")
    refused(small, GrowthError, "of dtype I8")


def test_a_dtype_that_nobody_knows(small):
    content = (small / SINGLE).read_bytes()
    (small / SINGLE).write_bytes(content.replace(b'"F32"', b'"F31"'))
    refused(small, FileError, "F31")


def test_quantised_weights(small):
    quantised = {"quant_method": "gptq", "bits": 4}
    edit(
        small / "config.json",
        lambda c: c.update(quantization_config=quantised),
    )
    refused(small, GrowthError, "quantised.*gptq")


def test_a_full_disk(small, monkeypatch):
    calls = []

    def full(file, array):
        calls.append(array)
        if len(calls) > 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tensor_growth, "append_array", full)
    refused(small, OSError, "No space left", {"hidden_size": 16}, "net2net")
    assert len(calls) == 3


def test_a_target_that_is_there(small):
    out = small.parent / "out"
    out.mkdir()
    with pytest.raises(FileError, match="there already"):
        hf.grow(small, DEEPER, "identity", out=out)
    assert not list(out.iterdir())


def test_a_target_that_is_a_link(small):
    out = small.parent / "out"
    out.symlink_to(small.parent / "elsewhere")
    with pytest.raises(FileError, match="a link"):
        hf.grow(small, DEEPER, "identity", out=out)
    assert not (small.parent / "elsewhere").exists()


def test_a_target_in_no_folder(small):
    with pytest.raises(FileError, match="no folder"):
        hf.grow(small, DEEPER, out=small.parent / "no" / "out")


@pytest.mark.parametrize("name", [SINGLE, "tokenizer.json", "config.json"])
def test_a_link_out_of_the_folder(small, name):
    outside = small.parent / f"outside-{name}"
    os.replace(small / name, outside)
    (small / name).symlink_to(outside)
    refused(small, FileError, "link out of the folder")


def test_links_of_a_hub_s_cache_are_followed(small, tmp_path):
    """`snapshots/revision/file` is a link to `blobs/hash` there."""
    cache = tmp_path / "cache"
    revision = cache / "snapshots" / "main"
    revision.mkdir(parents=True)
    (cache / "blobs").mkdir()
    for path in small.iterdir():
        os.replace(path, cache / "blobs" / path.name)
        (revision / path.name).symlink_to(f"../../blobs/{path.name}")
    receipt = hf.grow(revision, DEEPER, "identity", out=tmp_path / "out")
    assert receipt.exact
    assert not any(p.is_symlink() for p in (tmp_path / "out").iterdir())


@pytest.mark.parametrize(
    "target, match",
    [
        ({"num_layers": 3}, "no field that sets a size"),
        ({"num_hidden_layers": 1}, "cannot shrink"),
        ({"hidden_size": 8.5}, "must be an integer"),
        ({"num_attention_heads": 5}, "has to divide"),
        ({"head_dim": 3}, "even"),
    ],
)
def test_targets_that_cannot_be(small, target, match):
    refused(small, GrowthError, match, target)


def test_strategies_that_need_data_or_gates(small):
    refused(small, GrowthError, "learns from data", strategy="ligo")
    refused(small, GrowthError, "gate", strategy="msg")


def test_names_of_the_hub(small, monkeypatch, tmp_path):
    asked = {}

    def snapshot_download(name, revision, allow_patterns):
        asked.update(name=name, revision=revision)
        if name == "nobody/nothing":
            raise ConnectionError("no network")
        return str(small)

    fake = types.SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    hf.grow("hf://you/small@v1", DEEPER, "identity", out=tmp_path / "out")
    assert asked == {"name": "you/small", "revision": "v1"}
    with pytest.raises(FileError, match="no network"):
        hf.plan_growth("hf://nobody/nothing", DEEPER)
    with pytest.raises(GrowthError, match="owner/name"):
        hf.plan_growth("hf://small", DEEPER)


def test_a_head_of_its_own_for_an_encoder(small):
    edit(
        small / "config.json",
        lambda c: c.update(model_type="bert", tie_word_embeddings=False),
    )
    refused(small, GrowthError, "tie_word_embeddings=False")


def test_llama_is_what_the_tests_take_it_for(small):
    assert json.loads((small / "config.json").read_text()) == LLAMA
