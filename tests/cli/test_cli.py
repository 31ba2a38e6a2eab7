"""The command `kgrow`: what it prints, writes, refuses, and its exit codes."""

import json
import pathlib
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import asdict

import keras
import numpy as np
import pytest
from typer.testing import CliRunner

import kgrow
from kgrow.analysis.ledger import CostRecord, StageCost
from kgrow.analysis.run_log import RunFile
from kgrow.backend.flops import forward_flops, training_flops
from kgrow_cli import app as front
from kgrow_cli import outcomes, settings
from kgrow_cli.app import app
from kgrow_cli.commands import demo, html_page
from kgrow_cli.commands.model_files import read_model, replacing
from kgrow_cli.commands.run_records import read_records

pytestmark = pytest.mark.compiles

ROOT = pathlib.Path(front.__file__).parents[1]
SIZES = dict(
    vocabulary_size=11,
    max_sequence_length=8,
    num_layers=2,
    num_heads=2,
    hidden_dim=8,
    intermediate_dim=12,
    dropout=0.0,
)
TOKENS = np.random.default_rng(0).integers(0, 11, (4, 8)).astype("int32")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one small saved model, and arrays to learn from."""
    folder = tmp_path_factory.mktemp("cli")
    model = kgrow.models.GPT2(**SIZES)
    model.compile(
        "adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.optimizer.build(model.trainable_variables)
    model.save(folder / "small.keras")
    np.savez(folder / "arrays.npz", x=TOKENS, y=np.roll(TOKENS, -1, 1))
    np.savez(folder / "half.npz", x=TOKENS)
    np.savez(folder / "scalars.npz", x=1, y=2)
    np.savez(folder / "empty.npz", x=TOKENS[:0], y=TOKENS[:0])
    np.savez(folder / "uneven.npz", x=TOKENS, y=TOKENS[:1])
    (folder / "text.keras").write_text("no model")
    return folder


def call(*arguments, code=0):
    """Runs the command in this process.

    Returns:
        what it printed, and what it said of an error, with single spaces.
    """
    result = CliRunner().invoke(
        app, [str(a) for a in arguments], env={"COLUMNS": "200"}
    )
    said = f"{result.stdout} {result.stderr}"
    assert result.exit_code == code, said
    assert "Traceback" not in said
    return " ".join(said.split())


def listing(folder):
    return sorted(p.name for p in folder.iterdir())


# --- help, start -------------------------------------------------------------


COMMANDS = ["demo", "inspect", "plan", "grow", "vocabulary", "strip"]
COMMANDS += ["report", "advise"]
SCHEDULE = ["list", "show", "scale", "validate"]


def test_help_imports_neither_keras_nor_kgrow():
    code = (
        "import sys; from kgrow_cli.app import app\n"
        "try: app(['plan', '--help'])\n"
        "except SystemExit as end: assert end.code == 0, end\n"
        "heavy = {'keras', 'kgrow', 'jax', 'tensorflow', 'torch', 'numpy'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert "HEAVY []" in done.stdout
    assert "--set" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_examples(name):
    said = call(name, "--help")
    assert "Examples" in said and f"kgrow {name}" in said
    assert "--debug" in said


@pytest.mark.parametrize("name", SCHEDULE)
def test_every_schedule_command_has_examples(name):
    assert f"kgrow schedule {name}" in call("schedule", name, "--help")


def test_all_commands_are_listed_with_the_exit_codes():
    said = call("--help")
    assert all(name in said for name in [*COMMANDS, "schedule"])
    assert "1 growth refused" in said


def test_the_version_is_that_of_the_imported_package():
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout == f"kgrow {kgrow.__version__}\n"


def test_script_and_packages_are_declared():
    """The script names a function that is there, in a packaged package."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert project["project"]["scripts"] == {"kgrow": "kgrow_cli.app:main"}
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {"kgrow", "kgrow_cli"} <= set(packages)
    assert callable(front.main)


# --- values ------------------------------------------------------------------


def test_sizes_of_all_forms():
    found = settings.sizes(["num_layers=12", "depths=[2, 2,18,2]"])
    assert found == {"num_layers": 12, "depths": [2, 2, 18, 2]}


@pytest.mark.parametrize(
    "wrong", ["num_layers", "=4", "a=x", "a=1.5", "a=[]", "a=[1,'b']", "a=true"]
)
def test_sizes_that_are_none(folder, wrong):
    said = call("plan", folder / "small.keras", "--set", wrong, code=2)
    assert "Received" in said


def test_a_field_named_twice(folder):
    arguments = ["--set", "a=1", "--set", "a=2"]
    assert "twice" in call("plan", folder / "small.keras", *arguments, code=2)


@pytest.mark.each
def test_another_backend_than_the_running_one(folder):
    other = "torch" if keras.backend.backend() != "torch" else "jax"
    said = call("inspect", folder / "small.keras", "--backend", other, code=2)
    assert "in this process already" in said


# --- inspect -----------------------------------------------------------------


def test_inspect_says_all(folder):
    said = call("inspect", folder / "small.keras")
    for part in (
        "GPT2 of GPT2Network, float32",
        "hidden_dim 8",
        "ffn 12 set by intermediate_dim; copies only; inside the blocks",
        "layers 2 set by num_layers; pre-norm",
        "token_embedding/embeddings (11, 8) vocab -> hidden",
        "transformer_layer_{layers}/",
        "self_attention/query/kernel (8, 2, 4) hidden -> heads qk | qk^0.5",
        "training step",
        "growths 0",
    ):
        assert part in said, part


def test_inspect_counts_right(folder):
    path = folder / "small.keras"
    facts = json.loads(call("inspect", path, "--json", "--batch", 3))
    model = keras.models.load_model(path)
    assert facts["parameters"] == model.count_params()
    assert facts["parameters"] == sum(
        v["parameters"] for v in facts["variables"]
    )
    assert facts["inputs"] == "(3, 8) int32"
    flops = forward_flops(model.network, (3, 8), "int32")
    assert facts["forward_flops"] == flops
    assert facts["training_flops"] == 3 * flops


def test_inspect_refuses_lengths_that_do_not_fit(folder):
    said = call("inspect", folder / "small.keras", "--length", 9, code=1)
    assert "at most 8 tokens" in said and "--length 9" in said


@pytest.mark.parametrize(
    ("name", "message"),
    [("gone.keras", "there is no file"), ("text.keras", "is no `.keras` file")],
)
def test_files_that_are_no_models(folder, name, message):
    assert message in call("inspect", folder / name, code=outcomes.FILES)


def test_a_damaged_file(folder, tmp_path):
    path = tmp_path / "cut.keras"
    with (
        zipfile.ZipFile(folder / "small.keras") as whole,
        zipfile.ZipFile(path, "w") as cut,
    ):
        cut.writestr("config.json", whole.read("config.json"))
    said = call("inspect", path, code=outcomes.FILES)
    assert "cannot be loaded" in said


def test_a_class_that_is_not_imported(tmp_path):
    @keras.saving.register_keras_serializable("gone")
    class Doubled(keras.layers.Layer):
        def call(self, x):
            return 2 * x

    path = tmp_path / "doubled.keras"
    keras.Sequential([keras.Input((2,)), Doubled()]).save(path)
    del keras.saving.get_custom_objects()["gone>Doubled"]
    said = call("inspect", path, code=outcomes.FILES)
    assert "'Doubled'" in said and "--import" in said
    # What Keras appends: the config of all that was to be built.
    assert "build_config" not in said


def test_a_module_that_is_not_there(folder):
    arguments = ["inspect", folder / "small.keras", "--import", "no_such_one"]
    assert "no_such_one" in call(*arguments, code=outcomes.MISSING)


def test_a_module_in_the_present_folder(tmp_path, monkeypatch):
    (tmp_path / "kgrow_users_module.py").write_text("FOUND = True")
    monkeypatch.chdir(tmp_path)
    # As it is for a command that pip has installed.
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    with pytest.raises(FileNotFoundError):
        read_model("none.keras", ["kgrow_users_module"])
    assert sys.modules.pop("kgrow_users_module").FOUND


# --- plan --------------------------------------------------------------------


def test_plan_says_what_grow_then_does(folder):
    path = folder / "small.keras"
    arguments = ["--set", "hidden_dim=12", "--set", "num_layers=3"]
    before = listing(folder)
    said = call(
        "plan", path, *arguments, "-s", "net2net", "--json", "--batch", 2
    )
    assert listing(folder) == before
    facts = json.loads(said)
    model = keras.models.load_model(path)
    receipt = model.grow({"hidden_dim": 12, "num_layers": 3}, "net2net", seed=0)
    assert facts["before"]["parameters"] == receipt.parameters_before
    assert facts["after"]["parameters"] == receipt.parameters_after
    assert facts["after"]["weight_bytes"] == 4 * receipt.parameters_after
    assert {c["dim"]: c["reason"] for c in facts["claims"]} == receipt.claims
    assert all(c["exact"] for c in facts["claims"]) == receipt.exact
    flops = training_flops(model.network, (2, 8), "int32")
    assert facts["after"]["training_flops"] == flops
    took = facts["time"]
    assert took["step_seconds_after"] / took["step_seconds_before"] == (
        pytest.approx(flops / facts["before"]["training_flops"])
    )
    assert took["growth_seconds"] > 0
    # Adam keeps two numbers a weight.
    assert facts["after"]["slot_bytes"] == 2 * facts["after"]["weight_bytes"]


def test_plan_says_why_not_exact(folder):
    said = call(
        "plan",
        folder / "small.keras",
        *("--set", "hidden_dim=12", "--strategy", "net2net", "--no-time"),
    )
    assert "entries copied in unequal numbers" in said
    assert "the grown model computes something else at first" in said
    assert "a forward pass of the present model took" not in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "hidden_dim=4"], "cannot shrink: 8 -> 4"),
        (["--set", "hiden_dim=16"], "Did you mean `hidden_dim`?"),
        (["--set", "num_layers=3", "-s", "lemom"], "Did you mean 'lemon'?"),
        (["--set", "num_layers=3", "--option", "k=1"], "takes no ['k']"),
    ],
)
def test_what_cannot_grow_is_refused(folder, arguments, message):
    said = call("plan", folder / "small.keras", *arguments, code=1)
    assert message in said and said.startswith("kgrow refused:")


# --- grow, strip -------------------------------------------------------------


@pytest.mark.compiles
def test_grow_and_strip(folder, tmp_path):
    big, plain = tmp_path / "big.keras", tmp_path / "plain.keras"
    said = call(
        *("grow", folder / "small.keras", "--set", "num_layers=4"),
        *("--strategy", "lemon", "-o", big, "--data", folder / "arrays.npz"),
    )
    assert "function kept" in said and "written:" in said and "loss" in said
    assert listing(tmp_path) == ["big.keras"]
    small = keras.models.load_model(folder / "small.keras")
    grown = keras.models.load_model(big)
    assert grown.growth_config["num_layers"] == 4
    assert len(grown.growth_history) == 1
    tolerance = grown.growth_history[0].tolerance
    outputs = small.predict_on_batch(TOKENS)
    scale = np.abs(outputs).max()
    np.testing.assert_allclose(
        grown.predict_on_batch(TOKENS), outputs, atol=tolerance * scale
    )
    call("strip", big, "-o", plain)
    network = keras.models.load_model(plain)
    assert not isinstance(network, kgrow.GrowableModel)
    np.testing.assert_allclose(
        network.predict_on_batch(TOKENS), outputs, atol=tolerance * scale
    )


def test_nothing_is_replaced_unless_asked(folder, tmp_path):
    out = tmp_path / "big.keras"
    out.write_text("precious")
    arguments = ["grow", folder / "small.keras", "--set", "num_layers=3"]
    said = call(*arguments, "-o", out, code=outcomes.FILES)
    assert "is there already; --force" in said
    assert out.read_text() == "precious"
    call(*arguments, "-o", out, "--force")
    assert keras.models.load_model(out).growth_config["num_layers"] == 3


def test_a_refused_growth_writes_nothing(folder, tmp_path):
    arguments = ["--set", "num_layers=1", "-o", tmp_path / "big.keras"]
    call("grow", folder / "small.keras", *arguments, code=1)
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["-o", "big.txt"], 2, "ends in .keras"),
        (["-o", "none/big.keras"], 3, "there is no folder"),
        (["-o", "b.keras", "--data", "gone.npz"], 3, "There is no file"),
        (["-o", "b.keras", "--data", "half.npz"], 3, "the arrays `x` and `y`"),
        (["-o", "b.keras", "--data", "stdlib"], 1, "vocabulary_size=11"),
        (["-o", "b.keras", "--loss", "zzz"], 1, "no such loss"),
        (["-o", "b.keras", "--loss", "mse from_logits"], 1, "no such loss"),
        (["-o", "b.keras", "--loss", ""], 1, "There is no such loss"),
        (["-o", "b.keras", "--import", ""], 2, "--import takes the name"),
        (["-o", "b.keras", "--import", "."], 2, "--import takes the name"),
        (["-o", "b.keras", "--import", "..x"], 2, "--import takes the name"),
        (["-o", "."], 2, "ends in .keras"),
        (["-o", "b.keras", "--data", "."], 3, "There is no file"),
        (["-o", "b.keras", "--data", ""], 3, "There is no file"),
        (["-o", "b.keras", "--data", "scalars.npz"], 3, "for each example"),
        (["-o", "b.keras", "--data", "empty.npz"], 3, "for each example"),
        (["-o", "b.keras", "--data", "uneven.npz"], 3, "as many in each"),
        (["-o", "b.keras", "-s", "ligo"], 1, "needs data: --data ARRAYS.npz"),
        (
            ["-o", "b.keras", "--trainable", "old"],
            1,
            "`trainable` must be 'all', 'new'",
        ),
    ],
)
def test_wrong_arguments_of_grow(folder, monkeypatch, arguments, code, message):
    monkeypatch.chdir(folder)
    before = listing(folder)
    said = call(
        "grow", "small.keras", "--set", "num_layers=3", *arguments, code=code
    )
    assert message in said
    assert listing(folder) == before


@pytest.mark.compiles
def test_grow_learns(folder, tmp_path):
    said = call(
        *("grow", folder / "small.keras", "--set", "num_layers=3"),
        *("--strategy", "ligo", "--option", "steps=2"),
        *("--option", "verbose=0", "--data", folder / "arrays.npz"),
        *("-o", tmp_path / "big.keras"),
    )
    assert "in 2 steps" in said


def test_a_plain_keras_model_goes_on(tmp_path, monkeypatch):
    """A model of another class is wrapped, and its optimizer goes along."""
    family = kgrow.models.MLP(
        input_dim=4,
        output_dim=2,
        hidden_dim=6,
        intermediate_dim=8,
        num_layers=1,
    )
    plain, axes = family.network, family.architecture.axes
    plain.compile("adam", "mse")
    x = np.ones((4, 4), "float32")
    plain.train_on_batch(x, np.ones((4, 2), "float32"))
    plain.save(tmp_path / "plain.keras")
    # Deriving is tested elsewhere, and takes a while.
    monkeypatch.setattr(
        "kgrow.growth.growable_model.derive", lambda network: axes
    )
    model = read_model(tmp_path / "plain.keras")
    assert type(model) is kgrow.GrowableModel
    assert model.compiled and model.loss == "mse"
    assert int(model.optimizer.iterations) == 1
    receipt = model.grow({"num_layers": 2}, "identity")
    assert receipt.exact and receipt.slots_carried > 0
    assert model.train_on_batch(x, np.ones((4, 2), "float32")) > 0


def test_a_file_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as beside:
        beside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert listing(tmp_path) == ["a.txt"]


# --- schedule ----------------------------------------------------------------


def test_schedules_are_shown_scaled_and_validated(folder, tmp_path):
    assert "Sch1-B" in call("schedule", "list")
    out = tmp_path / "short.json"
    said = call("schedule", "scale", "Sch1-B", "--steps", 300, "-o", out)
    assert "published: 1.80x" in said
    scaled = kgrow.schedules.GrowthSchedule.from_json(out)
    assert scaled.total_steps == 300
    picture = tmp_path / "short.png"
    said = call("schedule", "show", out, "--picture", picture)
    assert "num_layers" in said
    assert picture.read_bytes()[:4] == b"\x89PNG"
    assert "valid by itself" in call("schedule", "validate", out)
    model = folder / "small.keras"
    said = call("schedule", "validate", out, "--model", model, code=1)
    assert "refused" in said


def test_a_schedule_that_fits_its_model(folder, tmp_path):
    stage = kgrow.schedules.Stage
    schedule = kgrow.schedules.GrowthSchedule(
        [
            stage(10, {"num_layers": 2, "hidden_dim": 8}),
            stage(20, {"num_layers": 4}, "stack"),
        ]
    )
    schedule.to_json(tmp_path / "mine.json")
    model = folder / "small.keras"
    said = call(
        "schedule", "validate", tmp_path / "mine.json", "--model", model
    )
    assert "valid on" in said and "num_layers 4" in said


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["show", "Sch9"], 1, "Unknown schedule"),
        (["show", "gone.json"], 3, "there is no file"),
        (["scale", "MSLT"], 2, "nothing to do"),
        (["scale", "MSLT", "--steps", "9", "--factor", "2"], 2, "not both"),
        (["scale", "MSLT", "--set", "num_layers=7"], 1, "num_layers"),
    ],
)
def test_wrong_arguments_of_schedule(arguments, code, message):
    assert message in call("schedule", *arguments, code=code)


@pytest.mark.parametrize("text", ["{", "{}", '{"stages": 3}', "[1]"])
def test_files_that_are_no_schedules(tmp_path, text):
    path = tmp_path / "bad.json"
    path.write_text(text)
    said = call("schedule", "validate", path, code=1)
    assert said.startswith("kgrow refused:")


# --- report ------------------------------------------------------------------


def reading(step, flops, loss, stages):
    return dict(
        kind="reading",
        step=step,
        epoch=step,
        flops=flops,
        seconds=step * 1.5,
        tokens=step * 100,
        parameters=10,
        learning_rate=None,
        logs={"val_loss": loss, "flops": flops},
        stages=[asdict(stage) for stage in stages],
    )


@pytest.fixture
def run_dir(tmp_path):
    """Two runs: one that grew, one from scratch that was cut off."""
    grown, scratch = tmp_path / "runs" / "grown", tmp_path / "runs" / "scratch"
    grown.mkdir(parents=True)
    scratch.mkdir()
    (grown / "log.csv").write_text(
        "epoch,val_loss,flops,seconds,growths,parameters\n"
        "0,3.5,1e9,1.5,0,100\n1,3.0,2e9,3.0,1,200\n2,2.5,4e9,5.0,1,200\n"
    )
    ledger = CostRecord(
        "grown", [StageCost("<2 blocks>", 9, 90, 1e9, 1.5, 100)]
    )
    (grown / "ledger.json").write_text(ledger.to_json())
    file = RunFile(scratch / "run.jsonl")
    file.begin({"name": "from scratch", "seed": 3, "source": "unknown"}, 0, 0)
    stages = [StageCost("1: 8 x 2", 2, 200, 4e9, 3.0, 10)]
    file.append(**reading(1, 2e9, 3.4, stages))
    file.append(
        "growth",
        number=1,
        step=1,
        flops=2e9,
        seconds=1.5,
        tokens=100,
        label="num_layers 1 to 2, hidden_dim 8 to 16",
        strategy="Stack()",
        exact=False,
        growing_seconds=0.5,
        fitting_seconds=0.0,
        fitting_flops=0,
    )
    file.append(**reading(2, 4e9, 2.75, stages))
    with file.path.open("a") as opened:
        opened.write('{"kind": "reading", "st')
    return tmp_path / "runs"


def test_report_is_one_page(run_dir, folder):
    model = keras.models.load_model(folder / "small.keras")
    model.grow({"num_layers": 3}, "identity")
    model.save(run_dir / "grown" / "last.keras")
    said = call("report", run_dir)
    assert "from scratch, seed 3: run.jsonl: the run did not come" in said
    text = (run_dir / "report.html").read_text()
    assert (run_dir / "report.png").read_bytes()[:4] == b"\x89PNG"
    for part in (
        "<td>2.5000</td>",
        "<td>2.7500</td>",
        "4.00 GFLOP",
        "<td>unknown</td>",
        "num_layers 2 to 3",
        "num_layers 1 to 2, +1",
        "Identity(",
        "&lt;2 blocks&gt;",
        "did not come to its end",
        "data:image/png;base64,iVBOR",
    ):
        assert part in text, part
    # It needs no other file, and nothing from the net.
    assert "http" not in text and "<script" not in text
    assert "src=" not in text.replace('src="data:', "")
    call("report", run_dir, code=outcomes.FILES)
    call("report", run_dir, "--force")


def test_marks_lie_where_the_growths_were(run_dir):
    grown, scratch = read_records(run_dir)
    assert grown.marks == [(2e9, "growth")]
    assert grown.columns["epochs"] == [1, 2, 3]
    assert scratch.marks == [(2e9, "num_layers 1 to 2, +1")]
    assert scratch.columns["val_loss"] == [3.4, 2.75]
    assert scratch.columns["steps"] == [1, 2]
    assert scratch.metrics == ["val_loss"]


def test_files_of_one_name_are_of_one_run(tmp_path):
    """Where several ledgers lie in a folder, as those of the demo do."""
    for name in ("grown", "scratch"):
        file = RunFile(tmp_path / f"{name}.jsonl")
        file.begin({"name": name, "seed": 0, "source": "scratch"}, 0, 0)
        file.append(**reading(1, 2e9, 3.4, [StageCost("1: 8 x 2", 1)]))
        file.append("end", step=1, peak_learning_rate=None)
    (tmp_path / "scratch.csv").write_text("epoch,val_accuracy\n0,0.5\n")
    (tmp_path / "other.csv").write_text("epoch,val_accuracy\n0,0.25\n")
    grown, scratch, other = read_records(tmp_path)
    assert grown.sources == ["grown.jsonl"] and grown.metrics == ["val_loss"]
    assert scratch.sources == ["scratch.jsonl", "scratch.csv"]
    assert scratch.columns["val_accuracy"] == [0.5]
    assert other.sources == ["other.csv"]
    assert other.columns["val_accuracy"] == [0.25]


def test_a_file_that_is_no_ledger_is_named(run_dir):
    (run_dir / "scratch" / "other.jsonl").write_text("{}\n")
    said = call("report", run_dir)
    assert "other.jsonl" in said and "is no record of a run" in said


def test_reports_of_nothing(tmp_path):
    said = call("report", tmp_path, code=outcomes.FILES)
    assert "nothing of a run is in" in said
    assert listing(tmp_path) == []
    call("report", tmp_path / "gone", code=outcomes.FILES)


def test_a_metric_that_nobody_wrote(run_dir):
    said = call("report", run_dir, "--metric", "val_acc", code=1)
    assert "There are: ['val_loss']" in said
    assert not (run_dir / "report.html").exists()


def test_a_page_escapes_what_it_is_given():
    text = html_page.make_page("<a>", [html_page.table(["<b>"], [["<c>"]])])
    assert not any(f"<{tag}>" in text for tag in "abc")


# --- errors ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (kgrow.GrowthError("no"), outcomes.REFUSED),
        (kgrow.FileError("no"), outcomes.FILES),
        (OSError("no"), outcomes.FILES),
        (ImportError("no", name="matplotlib"), outcomes.MISSING),
        (ImportError("no", name="kgrow.algebra.linear_maps"), outcomes.BUG),
        (RuntimeError("no"), outcomes.BUG),
        (KeyboardInterrupt(), outcomes.INTERRUPTED),
    ],
)
def test_exit_codes(monkeypatch, error, code):
    def fail(backend):
        raise error

    monkeypatch.setattr(front, "choose", fail)
    said = call("inspect", "any.keras", code=code)
    assert ("--debug" in said) == (code == outcomes.BUG)


def test_debug_shows_the_traceback(monkeypatch):
    def fail(backend):
        raise RuntimeError("inside")

    monkeypatch.setattr(front, "choose", fail)
    result = CliRunner().invoke(app, ["inspect", "any.keras", "--debug"])
    assert result.exit_code == outcomes.BUG
    assert "Traceback" in result.stderr and "inside" in result.stderr


# --- demo --------------------------------------------------------------------


@pytest.mark.slow
def test_the_demo_leaves_a_grown_model_ledgers_and_a_picture(tmp_path):
    # Of an earlier demo, which came to its end.
    old = RunFile(tmp_path / "grown.jsonl")
    old.begin({"name": "old", "seed": 0, "source": "scratch"}, 0, 0)
    old.append("end", step=1)
    call("demo", "--scale", 0.02, "--out", tmp_path)
    assert listing(tmp_path) == [
        "from_scratch.jsonl",
        "grown.jsonl",
        "grown.keras",
        "loss_over_flops.png",
    ]
    model = keras.models.load_model(tmp_path / "grown.keras")
    sizes = [r.target_config["num_layers"] for r in model.growth_history]
    assert sizes == [2, 4]
    runs = [
        kgrow.Run.load(tmp_path / f"{name}.jsonl")
        for name in ("grown", "from_scratch")
    ]
    assert [run.finished for run in runs] == [True, True]
    assert [len(run.growths) for run in runs] == [2, 0]
    # Of the large model, as many steps as the grown one's FLOPs pay for.
    grown, scratch = (run.ledger for run in runs)
    step = training_flops(model, (8, 128), "int32")
    assert grown.stages[-1].flops == grown.stages[-1].steps * step
    excess = scratch.total("flops") - grown.total("flops")
    assert 0 <= excess < 20 * step
    books = demo.books(runs[0])
    assert [stage.source for stage in books.stages] == [True, False, False]
    assert not demo.books(runs[1]).stages[0].source
    assert demo.curve(runs[0]).events[0][1] == "32 x 2 to 64 x 2"
    call("report", tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "hidden_dim 32 to 64, +2" in text and "grown.keras" in text
