"""The command on folders of safetensors, which needs no Keras."""

import json
import subprocess
import sys

import keras
import pytest
from helpers.hf_folders import write_llama, write_tokenizer

# Nothing here depends on the backend.
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the same on every backend"
)

# Prints what was imported behind the command's own output.
_CODE = """
import sys
from kgrow_cli.app import main
code = 0
try:
    main(sys.argv[1:])
except SystemExit as end:
    code = end.code
print("imported", *{"keras", "torch", "tensorflow", "jax"} & set(sys.modules))
sys.exit(code)
"""


@pytest.fixture
def folder(tmp_path):
    write_llama(tmp_path / "small")
    return tmp_path / "small"


def kgrow(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", _CODE, *map(str, arguments)],
        capture_output=True,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "imported", done.stdout
    return done


def test_grow(folder):
    out = folder.parent / "large"
    done = kgrow(
        "grow",
        folder,
        "--set",
        "num_hidden_layers=4",
        "--strategy",
        "llama_pro",
        "-o",
        out,
    )
    assert done.returncode == 0, done.stderr
    assert "function: kept" in done.stdout
    config = json.loads((out / "config.json").read_text())
    assert config["num_hidden_layers"] == 4
    again = kgrow("grow", folder, "--set", "vocab_size=20", "-o", out)
    assert again.returncode == 3 and "there already" in again.stderr


def test_plan_and_inspect(folder):
    sizes = ("--set", "hidden_size=12", "--strategy", "lemon+stack")
    planned = json.loads(
        kgrow("plan", folder, *sizes, "--json").stdout.rpartition("imported")[0]
    )
    assert planned["after"]["sizes"]["hidden_size"] == 12
    assert planned["claims"][0]["exact"]
    assert "what the present one does" in kgrow("plan", folder, *sizes).stdout
    seen = kgrow("inspect", folder).stdout
    assert "model.layers.{layers}." in seen and "num_key_value_heads" in seen
    assert [p.name for p in folder.parent.iterdir()] == ["small"]


def test_vocabulary(folder):
    write_tokenizer(folder, "abcd")
    write_tokenizer(folder.parent / "other", "bx")
    out = folder.parent / "out"
    done = kgrow(
        "vocabulary", folder, "--tokenizer", folder.parent / "other", "-o", out
    )
    assert done.returncode == 0, done.stderr
    assert "rows kept: 1" in done.stdout
    assert json.loads((out / "config.json").read_text())["vocab_size"] == 2


def test_options_that_mean_nothing_for_a_folder(folder):
    done = kgrow("grow", folder, "--set", "vocab_size=20", "--force", "-o", "x")
    assert done.returncode == 2 and "--force" in done.stderr
