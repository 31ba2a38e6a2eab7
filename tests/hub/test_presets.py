"""Presets with a model card, written and uploaded without a network."""

import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
from helpers.toy import array

import kgrow
from kgrow import FileError, GrowthError
from kgrow.hub import save_to_preset, upload_preset

pytestmark = pytest.mark.once

keras_hub = pytest.importorskip("keras_hub")
huggingface_hub = pytest.importorskip("huggingface_hub")

URI = "hf://me/larger"
TOKENS = {
    "token_ids": np.array([[1, 2, 3]]),
    "padding_mask": np.ones((1, 3), "int32"),
}


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    model = kgrow.models.GPT2(
        vocabulary_size=11,
        num_layers=1,
        num_heads=2,
        hidden_dim=4,
        intermediate_dim=6,
        max_sequence_length=4,
    )
    model.grow({"intermediate_dim": 8}, seed=3)
    model.grow({"num_layers": 2}, "direct", seed=4)
    return model


@pytest.fixture(scope="module")
def task(model):
    return kgrow.hub.to_hub(model)


@pytest.fixture
def preset(model, task, tmp_path):
    save_to_preset(task, tmp_path / "preset", model.growth_history)
    return tmp_path / "preset"


class Hub:
    """Repositories in a folder, in place of those of Hugging Face."""

    def __init__(self, root, monkeypatch):
        self.root, self.calls = root, []
        for name in (
            "create_repo",
            "file_exists",
            "upload_file",
            "upload_folder",
            "hf_hub_download",
        ):
            monkeypatch.setattr(huggingface_hub, name, getattr(self, name))

    def create_repo(self, repo_id, exist_ok):
        (self.root / repo_id).mkdir(parents=True, exist_ok=exist_ok)
        self.calls.append("create_repo")
        return huggingface_hub.RepoUrl(f"https://huggingface.co/{repo_id}")

    def file_exists(self, repo_id, filename):
        return (self.root / repo_id / filename).exists()

    def upload_file(self, path_or_fileobj, path_in_repo, repo_id):
        target = self.root / repo_id / path_in_repo
        target.write_bytes(pathlib.Path(path_or_fileobj).read_bytes())
        self.calls.append("upload_file")

    def upload_folder(self, repo_id, folder_path):
        target = self.root / repo_id
        shutil.copytree(folder_path, target, dirs_exist_ok=True)
        self.calls.append("upload_folder")

    def hf_hub_download(self, repo_id, filename):
        path = self.root / repo_id / filename
        if not path.exists():
            raise huggingface_hub.errors.LocalEntryNotFoundError(filename)
        return str(path)


@pytest.fixture
def hugging_face(tmp_path, monkeypatch):
    return Hub(tmp_path / "hub", monkeypatch)


def test_the_card_and_the_data_tell_every_growth(model, preset):
    card = (preset / "README.md").read_text()
    head, text = card.split("---\n\n", 1)
    assert head == (
        "---\nlibrary_name: keras-hub\npipeline_tag: text-generation\n"
        "tags:\n- kgrow\n"
    )
    assert text.startswith("# A grown GPT2CausalLM\n")
    data = json.loads((preset / "kgrow_receipts.json").read_text())
    assert data == [receipt.to_dict() for receipt in model.growth_history]
    parts = text.split("## Growth ")[1:]
    assert len(parts) == len(data) == 2
    for part, receipt in zip(parts, model.growth_history, strict=True):
        assert f"`{receipt.strategy}`, seed {receipt.seed}." in part
        assert f"| {receipt.parameters_before:,} |" in part
        assert f"{receipt.relative_diff:.1e}" in part
    assert "| `intermediate_dim` | 6 | 8 |" in parts[0]
    assert "| `num_layers` | 1 | 2 |" in parts[1]
    assert "`hidden_dim`" not in text, "what did not grow"


def test_what_is_uploaded_comes_back_with_its_card(preset, task, hugging_face):
    card = (preset / "README.md").read_text()
    upload_preset(URI, preset)
    remote = hugging_face.root / "me" / "larger"
    assert (remote / "README.md").read_text() == card
    assert (remote / "kgrow_receipts.json").exists()
    assert (preset / "README.md").read_text() == card
    assert hugging_face.calls[-1] == "upload_folder"
    again = keras_hub.models.CausalLM.from_preset(URI, preprocessor=None)
    np.testing.assert_array_equal(array(again(TOKENS)), array(task(TOKENS)))


def test_a_preset_of_keras_hub_alone_is_refused(task, tmp_path, hugging_face):
    task.save_to_preset(str(tmp_path / "plain"))
    with pytest.raises(FileError, match="kgrow.hub.save_to_preset"):
        upload_preset(URI, tmp_path / "plain")
    assert not hugging_face.calls


def test_a_folder_that_is_there_is_not_replaced(task, preset):
    before = sorted(p.name for p in preset.parent.iterdir())
    with pytest.raises(FileError, match="there already"):
        save_to_preset(task, preset)
    assert sorted(p.name for p in preset.parent.iterdir()) == before


def test_a_model_of_another_kind_is_refused(model, tmp_path):
    with pytest.raises(GrowthError, match="to_hub"):
        save_to_preset(model, tmp_path / "preset")
    assert not list(tmp_path.iterdir())
