"""What the command prints at 80 and 60 columns, and what a shell completes."""

import functools
import os
import re
import types

import pytest
from helpers.hf_folders import write_llama, write_tokenizer
from rich.console import Console
from typer.testing import CliRunner

import kgrow
from kgrow.analysis.ledger import CostRecord, StageCost
from kgrow.schedules.published import registry as published
from kgrow.strategies import registry
from kgrow_cli import completion
from kgrow_cli.app import app
from kgrow_cli.commands.fitting import AlignedRows, bands, print_table

pytestmark = pytest.mark.once

SHOWN = [
    ["inspect", "small.keras"],
    ["plan", "small.keras", "--set", "num_layers=3", "--no-time"],
    ["plan", "small.keras", "--set", "hidden_dim=12", "--no-time"],
    ["grow", "small.keras", "--set", "num_layers=4", "-o", "big.keras"],
    ["strip", "small.keras", "-o", "plain.keras"],
    ["schedule", "list"],
    *(["schedule", "show", name] for name in published.names()),
    ["schedule", "scale", "Sch1-B", "--factor", "0.1"],
    ["schedule", "validate", "MSLT"],
    [
        *("advise", "--from", "hidden_dim=4096", "--from", "num_layers=8"),
        *("--set", "num_layers=32", "--tokens", "100e9"),
    ],
    ["vocabulary", "llama", "--tokenizer", "other", "-o", "OUT"],
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with one small model, the present folder of these tests."""
    folder, before = tmp_path_factory.mktemp("fitting"), os.getcwd()
    os.chdir(folder)
    kgrow.models.GPT2(
        vocabulary_size=11,
        max_sequence_length=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=12,
    ).save("small.keras")
    write_llama(folder / "llama")
    for name, tokens in (("llama", "abcd"), ("other", "bx")):
        write_tokenizer(folder / name, tokens)
    yield folder
    os.chdir(before)


@functools.cache
def printed(*arguments, columns):
    if arguments[0] in ("grow", "strip"):
        arguments = [*arguments, "--force"]
    # A folder that is there is not written over.
    arguments = [f"out{columns}" if a == "OUT" else a for a in arguments]
    done = CliRunner().invoke(app, arguments, env={"COLUMNS": str(columns)})
    assert done.exit_code == 0, done.stderr
    return done.stdout


def words(text):
    return set(re.findall(r"[\w.*/|+-]+", text))


@pytest.mark.sample
@pytest.mark.parametrize("columns", [80, 60])
def test_nothing_is_wider_than_the_terminal_cut_or_broken(folder, columns):
    """Each word of the widest output is in the narrow one as well."""
    for arguments in SHOWN:
        said = printed(*arguments, columns=columns)
        wide = [line for line in said.splitlines() if len(line) > columns]
        assert not wide, (arguments, wide)
        assert "…" not in said, (arguments, said)
        if arguments[0] not in ("grow", "strip"):  # these print times
            wide = printed(*arguments, columns=1000)
            lost = words(wide.replace("out1000", f"out{columns}")) - words(said)
            assert not lost, (arguments, lost)


def test_every_command_that_prints_a_result_is_covered():
    named = {arguments[0] for arguments in SHOWN}
    names = {c.name or c.callback.__name__ for c in app.registered_commands}
    # The demo trains for minutes, and a report is a page in a file.
    assert names - named == {"demo", "report"}


@pytest.mark.parametrize("columns", [80, 60])
def test_a_ledger_of_large_numbers_keeps_its_digits(columns, capsys):
    stage = StageCost(
        "stage 1: 123,456,789 parameters",
        parameters=123_456_789,
        flops=1.234e21,
        seconds=123_456.7,
        steps=1_234_567,
        tokens=123_456_789_012,
    )
    record = CostRecord("run", [stage])
    print_table(Console(width=columns), record.__rich__())
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= columns
    assert words(str(record)) <= words(said)


def test_bands_repeat_the_first_column():
    table = CostRecord("run", [StageCost("a", 3, flops=4.5)]).__rich__()
    found = bands(Console(width=30), table)
    assert len(found) > 1
    assert {band.columns[0].header for band in found} == {"name"}
    headers = [c.header for band in found for c in band.columns[1:]]
    assert headers == [c.header for c in table.columns[1:]]


def test_rows_without_room_take_two_lines(capsys):
    rows = AlignedRows([("a/long/path/of/a/kernel", "(2, 3)", "a -> b")])
    Console(width=24).print(rows)
    first, second = capsys.readouterr().out.splitlines()
    assert first.strip() == "a/long/path/of/a/kernel"
    assert "(2, 3)" in second and "a -> b" in second


def test_completion_knows_what_is_registered():
    own = {
        cls.registered_name
        for cls in registry.classes()
        if cls.__module__.startswith("kgrow.")
    }
    assert completion.strategies("") == sorted(own - {None})
    assert completion.schedules("") == sorted(published.names())


def test_completion_of_fields_is_read_off_the_file(folder):
    context = types.SimpleNamespace(params={"model": "small.keras"})
    assert completion.fields(context, "num_") == ["num_heads=", "num_layers="]
    assert "hidden_dim=" in completion.fields(context, "")
    context.params["model"] = "none.keras"
    assert completion.fields(context, "") == []


def test_the_shell_is_given_the_names():
    """The program that a shell asks, as `_KGROW_COMPLETE` starts it."""
    done = CliRunner().invoke(
        app,
        prog_name="kgrow",
        env={
            "_KGROW_COMPLETE": "complete_bash",
            "COMP_WORDS": "kgrow plan x.keras --strategy lem",
            "COMP_CWORD": "4",
        },
    )
    assert "lemon" in done.stdout


def test_data_that_is_missing_is_named(folder):
    arguments = ["grow", "small.keras", "--set", "hidden_dim=16"]
    done = CliRunner().invoke(
        app, [*arguments, "-s", "ligo", "-o", "learned.keras"]
    )
    assert done.exit_code == 1
    assert "--data" in done.stderr
