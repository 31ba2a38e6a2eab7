"""Text by flags: the benchmarks' harness, and the demo."""

import importlib
import json
import pathlib

import keras
import numpy as np
import pytest
from helpers.paths import BENCHMARKS
from typer.testing import CliRunner

import kgrow
from kgrow.analysis.cost_estimate import cost as estimate
from kgrow.datasets.text.text import Text
from kgrow_cli.app import app
from kgrow_cli.commands import demo

pytestmark = pytest.mark.compiles


@pytest.fixture(autouse=True)
def _importable(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        words = rng.choice("to grow a small model in place".split(), 200)
        (folder / f"{number}.txt").write_text(" ".join(words) + "\n")
    return folder


def script(name):
    return importlib.import_module(name)


# --- the harness -------------------------------------------------------------


def test_what_is_said_goes_before_presets_and_those_before_defaults():
    flags = script("report").Flags(
        "A doc.", {"steps": 1}, {"small": {}, "large": {"steps": 9, "width": 9}}
    )
    flags.add_argument("--steps", type=int, default=5)
    flags.add_argument("--width", type=int, default=5)

    def said(*args):
        options = flags.parse_args([*args])
        return options.steps, options.width

    assert said("--steps", "2", "--size", "large", "--quick") == (2, 9)
    assert said("--quick", "--size", "large") == (1, 9)


@pytest.mark.parametrize("args", [[], ["--size", "large"], ["--quick"]])
def test_flags_have_no_memory_of_each_other(args):
    flags = script("report").Flags(
        "A doc.", {"steps": 1}, {"small": {}, "large": {"steps": 9}}
    )
    flags.add_argument("--steps", type=int, default=5)
    expected = {"--quick": 1, "--size": 9}.get(args[0] if args else "", 5)
    assert flags.parse_args(args).steps == expected


def test_quick_results_stay_apart():
    report = script("report")
    flags = report.Flags("A doc.", {})
    assert flags.parse_args([]).results == report.RESULTS
    assert flags.parse_args(["--quick"]).results == report.QUICK
    said = flags.parse_args(["--quick", "--results", "here"]).results
    assert said == pathlib.Path("here")


def test_results_say_on_which_machine(tmp_path, capsys):
    report = script("report")
    options = {"steps": 3, "results": tmp_path}
    path = report.publish(
        "name",
        "title",
        ["a"],
        [[1.5]],
        folder=tmp_path / "results",
        place=tmp_path / "below",
        options=options,
    )
    assert "1.500" in capsys.readouterr().out
    record = json.loads(path.read_text())
    assert path.name == f"name_{keras.backend.backend()}.json"
    assert record["rows"] == [[1.5]] and record["columns"] == ["a"]
    # Of a path, only its end: folders are the machine's own affair.
    assert record["place"] == "below"
    assert record["options"] == {"steps": 3}
    assert set(options) == {"steps", "results"}
    machine = record["machine"]
    assert machine["processor"] and machine["cores"] >= 1
    assert machine["memory_gib"] > 0.5
    assert isinstance(machine["accelerators"], list)
    assert machine["packages"]["numpy"] == np.__version__
    for name in ("load_at_start", "load_at_end"):
        assert len(machine[name]) == 3


@pytest.mark.parametrize(
    "args, suffix, size",
    [
        ([], "", 256),
        (["--text", "notes"], "_notes", 256),
        (
            ["--tokenizer", "subwords", "--vocabulary", "300"],
            "_subwords300",
            300,
        ),
        (["--text", "tfds:lm1b@train[:5%]"], "_lm1b-train--5--", 256),
    ],
)
def test_text_by_flags(args, suffix, size):
    report = script("report")
    flags = report.Flags("A doc.", {})
    report.add_text_flags(flags)
    options = flags.parse_args(args)
    text = report.text_of(options, "runs")
    assert report.text_suffix(options) == suffix
    assert text.vocabulary_size == size
    assert text.folder == pathlib.Path("runs")


SCRIPTS = [
    path.stem
    for path in sorted(BENCHMARKS.glob("*.py"))
    if path.stem not in ("report", "pictures", "gpt2_task", "plain_gpt2")
]


@pytest.mark.parametrize("name", SCRIPTS)
def test_scripts_share_their_flags_and_presets_are_of_flags(name, monkeypatch):
    class Seen(Exception):
        pass

    def seen(flags, *args):
        raise Seen(flags)

    monkeypatch.setattr(script("report").Flags, "parse_args", seen)
    with pytest.raises(Seen) as caught:
        script(name).main()
    (flags,) = caught.value.args
    names = {action.dest for action in flags._actions}
    presets = [flags._quick, *(flags._sizes or {}).values()]
    assert flags._quick
    for preset in presets:
        assert set(preset) <= names - {"quick", "results", "size"}


# --- savings -----------------------------------------------------------------


def test_runs_of_other_flags_are_not_mixed(tmp_path):
    savings = script("savings")
    usual = ["GPT2", "--out", str(tmp_path)]
    savings.check_settings(savings.parse(usual))
    savings.check_settings(savings.parse([*usual, "--seeds", "5"]))
    with pytest.raises(SystemExit, match="--layers 4, --dtype float32"):
        other = ["--layers", "6", "--dtype", "mixed_bfloat16"]
        savings.check_settings(savings.parse([*usual, *other]))


def test_results_are_called_by_what_is_not_as_usual():
    savings = script("savings")
    assert savings.parse([]).name == "savings_gpt2"
    assert savings.parse(["ViT"]).out == pathlib.Path("runs/savings_vit")
    options = savings.parse(
        "BERT --size gpt2-124m --dtype mixed_bfloat16 --tokenizer subwords "
        "--vocabulary 50257".split()
    )
    assert options.name == (
        "savings_bert_subwords50257_gpt2-124m_mixed_bfloat16"
    )
    published = dict(
        hidden_dim=768, num_heads=12, intermediate_dim=3072, num_layers=12
    )
    assert savings.sizes(options).items() >= published.items()


def test_the_large_preset_is_gpt2_of_124_million():
    savings = script("savings")
    options = savings.parse(["--size", "gpt2-124m"])
    fields = dict(vocabulary_size=50257, max_sequence_length=options.length)
    cost = estimate(
        kgrow.models.GPT2, {**savings.sizes(options), **fields}, length=2
    )
    assert round(cost.parameters / 1e6) == 124


@pytest.mark.parametrize("family, masked", [("GPT2", 0), ("BERT", 1)])
def test_models_know_the_tokens_of_their_text(folder, family, masked):
    savings = script("savings")
    options = savings.parse(
        [family, "--text", "notes", "--tokenizer", "subwords"]
        + ["--vocabulary", "270", "--length", "8", "--batch", "2"]
        + ["--hidden", "32", "--dtype", "mixed_bfloat16"]
    )
    bench = savings.Bench(options, 8)
    model = bench.make(savings.sizes(options), seed=0)
    assert model.growth_config["vocabulary_size"] == 270 + masked
    assert model.network.dtype_policy.name == "mixed_bfloat16"
    x, y = bench.task.train(0)[0]
    assert keras.tree.flatten(model(x))[0].shape[-1] == 270 + masked
    bits = bench.task.bits_per_byte(1.0)
    assert bits is None if masked else 0 < bits < 1 / np.log(2)
    kept = f"subwords-270-{bench.task.text.fingerprint}.json"
    assert (options.out / kept).exists()


def test_schedules_are_made_when_they_are_run():
    """Sch1-B goes through two thirds of the width, and 64 has none."""
    savings = script("savings")
    options = savings.parse(["--hidden", "64", "--only", "one-jump"])
    found = savings.Bench(options, 80).schedules()
    assert found["one-jump"]().sizes == [{"num_layers": 1}, {"num_layers": 4}]
    with pytest.raises(kgrow.GrowthError, match="hidden_dim"):
        found["msg"]()


def test_images_take_no_text(folder):
    savings = script("savings")
    with pytest.raises(SystemExit, match="takes no text"):
        savings.Bench(savings.parse(["ViT", "--text", "notes"]), 8)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["learned", "msg", "savings"])
def test_benchmarks_learn_from_other_texts(folder, name):
    args = ["--quick", "--results", "results", "--text", "notes"]
    args += ["--tokenizer", "subwords", "--vocabulary", "270"]
    only = {"learned": "lemon", "msg": "copies", "savings": "lemon"}[name]
    script(name).main([*args, "--only", only])
    (path,) = pathlib.Path("results").glob("*.json")
    record = json.loads(path.read_text())
    backend = keras.backend.backend()
    assert path.name.endswith(f"_notes-subwords270_{backend}.json")
    assert record["corpus"] == Text(folder).fingerprint
    if name == "savings":
        assert set(record["bits_per_byte"]) > {"lemon"}


# --- the demo ----------------------------------------------------------------


def test_the_demo_goes_on_in_subwords(folder):
    text = Text(folder, "subwords", 270)
    model = demo.small_gpt(text, **demo.SMALL)
    assert model.growth_config["vocabulary_size"] == 270
    said = demo.continuation(model, text, b"to grow", 3, 0.7, seed=0)
    assert said.startswith("to grow") and len(said) >= len("to grow") + 3


@pytest.mark.slow
def test_the_demo_learns_a_folder(folder):
    args = "--text notes --tokenizer subwords --vocabulary 270 --out demo"
    done = CliRunner().invoke(app, ["demo", "--scale", "0.01", *args.split()])
    assert done.exit_code == 0, done.output
    said = " ".join(done.stdout.split())
    assert "nats/subword" in said and "bits/byte" in said
    assert list(pathlib.Path("demo").glob("subwords-270-*.json"))


@pytest.mark.parametrize(
    "args, match",
    [
        (["--text", "nowhere"], "no such folder"),
        (["--tokenizer", "words"], "bytes, subwords"),
        (["--vocabulary", "300"], "vocabulary=300"),
    ],
)
def test_the_demo_refuses_what_is_no_text(args, match):
    done = CliRunner().invoke(app, ["demo", "--out", "demo", *args])
    assert done.exit_code == 1
    assert match in " ".join(done.stderr.split())
    assert not pathlib.Path("demo").exists()
