"""Toys of the families, compiled by the TPU's compiler: `make test-tpu`."""

import importlib
import json
import sys

import pytest
from helpers.paths import REPOSITORY

pytest.importorskip("libtpu", reason="run by `make test-tpu`")

SMALL = {
    "hidden_dim": 128,
    "intermediate_dim": 256,
    "num_heads": 2,
    "num_layers": 1,
}
WIDE = {"hidden_dim": 256, "intermediate_dim": 512, "num_heads": 4}
# Without dropout and at a length of 128 Keras would take its kernel.
COMMON = ["--field", "dropout=0.0", "--batch-size", "16"]
TEXT = [
    *COMMON,
    "--sequence-length=128",
    "--field=vocabulary_size=512",
    "--field=max_sequence_length=128",
]
TOYS = {
    "gpt2": ["train_gpt2.py", "--model", "gpt2_base", *TEXT],
    "bert": ["train_bert.py", "--model", "bert_base", *TEXT],
    "vit": [
        "train_deit.py",
        "--model",
        "deit_small",
        "--field=image_size=32",
        "--field=num_classes=16",
        *COMMON,
    ],
}
LAYOUTS = {
    "data": ["--mesh", "8x1"],
    "model": ["--mesh", "4x2", "--layout", "model"],
}


@pytest.fixture
def checks(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "tpu_scripts"))
    return importlib.import_module("common.slice_checks")


def compiled(checks, folder, toy, layout, **growth):
    """The rows of a schedule of two stages."""
    path = folder / "schedule.json"
    stages = [
        {"until": 5, "config": SMALL},
        {"until": 9, "config": WIDE, **growth},
    ]
    path.write_text(json.dumps({"stages": stages}))
    given = [*TOYS[toy], *LAYOUTS[layout], "--schedule", str(path)]
    given += ["--slice", "v5e-8", "--precision", "mixed_bfloat16"]
    return {
        (row["stage"], row["step"]): row
        for row in checks.rows(given, python=sys.executable)
    }


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("toy", TOYS)
def test_every_step_fits_and_communicates_as_it_should(
    checks, tmp_path, toy, layout
):
    found = compiled(checks, tmp_path, toy, layout, ramp=3)
    assert list(found) == [(2, "train"), (2, "gated"), (1, "train")]
    for row in found.values():
        assert "error" not in row and not row["recomputed"]
        assert not row["gathered_weights"] and not row["kernels"]
        assert row["cycles"] > 0
        # XLA counts what is no product of matrices, too.
        assert 1 <= row["flops"] / row["counted_flops"] < 1.5
    # Gradients, and with weights in pieces the sums over these.
    ways = {kind: found[2, kind]["collectives"] for kind in ("train", "gated")}
    least = 1 if layout == "data" else 4
    assert ways["train"]["all-reduce"][0] > least
    assert ways["train"].keys() == ways["gated"].keys()
    # The state is in pieces.
    whole = 3 * 4 * found[2, "train"]["parameters"]
    held = found[2, "train"]["arguments"] / whole
    assert held > 1 if layout == "data" else held < 0.8


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_operator_is_learned_on_a_slice(checks, tmp_path, layout):
    found = compiled(checks, tmp_path, "bert", layout, strategy="ligo")
    row = found[2, "operator"]
    assert "error" not in row and row["flops"] > 0 and not row["kernels"]
