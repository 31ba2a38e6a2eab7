"""Slices, and the verdict on what the compiler says of a step."""

import argparse
import importlib
import sys

import pytest
from helpers.paths import REPOSITORY

from kgrow.algebra.errors import GrowthError

ROW = {
    "stage": 2,
    "step": "train",
    "bytes": 4 * 2**30,
    "recomputed": 0,
    "gathered_weights": [],
    "kernels": {},
    "flops": 3e12,
    "counted_flops": 2.9e12,
    "cycles": 3_000_000,
    "collectives": {"all-reduce": [2, 2**20]},
    "seconds": 5.0,
}
OPTIONS = argparse.Namespace(precision="float32", batch_size=64, layout="data")


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "tpu_scripts"))
    return lambda name: importlib.import_module(f"common.{name}")


def test_every_slice_has_a_topology_and_memory(common):
    slices = common("slices")
    assert {name.partition("-")[0] for name in slices.names()} == {
        *("v2", "v3", "v4", "v5e", "v5p", "v6e", "7x")
    }
    for name in slices.names():
        chosen = slices.get(name)
        assert 7 * 2**30 < chosen.hbm < 96 * 2**30
        assert chosen.tile in (128, 256) and ":" in chosen.topology


def test_an_unknown_slice_is_named(common):
    with pytest.raises(GrowthError, match="v5e-9.*v5e-8"):
        common("slices").get("v5e-9")


def test_a_missing_compiler_is_said_with_how_to_install_it(common):
    try:
        import libtpu  # noqa: F401
    except ImportError:
        with pytest.raises(GrowthError, match=r"jax\[tpu\].*slice='v6e-8'"):
            common("slices").get("v6e-8").devices()


def judged(common, *others, **changed):
    row = {**ROW, **changed}
    return common("slice_checks").judged(
        row, [row, *others], common("slices").get("v5e-8"), OPTIONS
    )


def test_a_step_that_is_well(common):
    before = {**ROW, "stage": 1, "cycles": 2_000_000}
    assert judged(common, before) == (
        "4.0 GiB of 15.8 GiB a device; 3.00e+12 FLOPs (kgrow counts "
        "2.90e+12); 3.00 Mcycles, 1.50 times stage 1's; 2 all-reduce of "
        "1.0 MiB; compiled in 5 s"
    )


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"bytes": int(15.2 * 2**30)}, "less than 5%.*--batch-size 32"),
        ({"recomputed": 110}, "110 values are computed twice.*mixed_bfloat16"),
        ({"error": "RESOURCE_EXHAUSTED: a"}, "not fit into 15.8 GiB: RESOU"),
        ({"gathered_weights": [[8, 4]]}, r"gathered whole, \[\(8, 4\)\]"),
        ({"kernels": {"tpu_custom_call": 3}}, "disable_flash_attention"),
    ],
)
def test_what_a_run_should_not_begin_with(common, changed, message):
    with pytest.raises(GrowthError, match=message):
        judged(common, **changed)


def test_what_the_compiler_s_process_says_is_passed_on(
    common, tmp_path, monkeypatch
):
    (tmp_path / "compile_stages.py").write_text(
        "import sys; print('{}', flush=True); sys.exit('no such thing')"
    )
    checks = common("slice_checks")
    monkeypatch.setattr(checks, "_SCRIPTS", tmp_path)
    rows = checks.rows([], python=sys.executable)
    assert next(rows) == {}
    with pytest.raises(GrowthError, match="no such thing"):
        next(rows)


def test_preflight_says_what_to_change_and_what_was_not_tested(
    common, monkeypatch, capsys
):
    preflight = importlib.import_module("preflight")
    found = [{**ROW, "sizes": {"hidden_dim": 168}}]
    checks = common("slice_checks")
    monkeypatch.setattr(checks, "rows", lambda arguments: iter(found))
    given = ["train_gpt2", "--slice", "v5e-8", "--batch-size", "64", "--quick"]
    assert preflight.main(given) == 0
    text = capsys.readouterr().out
    for part in ("stage 2, train", "as 256", "compiled, not run", "quickly"):
        assert part in text
    found[0]["recomputed"] = 3
    assert preflight.main(given) == 1
    assert "--batch-size 32" in capsys.readouterr().out
    assert preflight.main([*given[:2], "v9-8"]) == 2
