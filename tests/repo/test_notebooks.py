"""The notebooks: each runs through in short, and holds the outputs of a run."""

import ast
import base64
import pathlib
import re

import keras
import pytest
from helpers.paths import REPOSITORY

pytestmark = pytest.mark.once

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

FOLDER = REPOSITORY / "notebooks"
PATHS = sorted(FOLDER.glob("*.ipynb"))

# Folders of somebody's machine, wherever they stand in a text.
MACHINE = re.compile(
    r"(?<![\w.])/(work|tmp|home|root|opt|Users|usr|var|mnt|private)/\w"
)

each = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


@pytest.fixture
def execute(monkeypatch):
    """The script that runs the notebooks."""
    monkeypatch.syspath_prepend(str(FOLDER))
    import execute

    return execute


def stored(path):
    return nbformat.read(path, as_version=4)


def codes(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(notebook):
    """Every text that the cells put out."""
    for cell in codes(notebook):
        for output in cell.outputs:
            yield output.get("text", "")
            for kind, value in output.get("data", {}).items():
                if kind.startswith("text/"):
                    yield value


def pictures(notebook):
    """The PNG files that the cells put out, as bytes."""
    return [
        base64.b64decode(output.data["image/png"])
        for cell in codes(notebook)
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]


def runs_on(number):
    """The first one is quick, where nothing is compiled."""
    return keras.backend.backend() == "torch" and number == 0


@pytest.mark.each
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path, id=path.stem, marks=() if runs_on(i) else pytest.mark.slow
        )
        for i, path in enumerate(PATHS)
    ],
)
def test_runs_through_and_puts_out_what_is_stored(path, execute):
    fresh, before = execute.executed(path, fast=True), stored(path)
    for new, old in zip(codes(fresh), codes(before), strict=True):
        kinds = [
            sorted({output.output_type for output in cell.outputs})
            for cell in (new, old)
        ]
        assert kinds[0] == kinds[1], new.source
    assert len(pictures(fresh)) == len(pictures(before))


@each
def test_outputs_are_stored_in_order_and_without_errors(path):
    notebook = stored(path)
    nbformat.validate(notebook)
    cells = codes(notebook)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    assert any(cell.outputs for cell in cells)
    for cell in cells:
        assert not any(
            output.output_type == "error" or output.get("name") == "stderr"
            for output in cell.outputs
        ), cell.source


@each
def test_nothing_of_a_machine_is_stored(path, execute):
    notebook = stored(path)
    for text in texts(notebook):
        assert not MACHINE.search(text), MACHINE.search(text)[0]
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    assert notebook.metadata.language_info == {"name": "python"}
    assert {tuple(cell.metadata) for cell in notebook.cells} <= {(), ("tags",)}
    # What the script would store is what is there.
    assert (
        nbformat.writes(execute.anonymous(stored(path))).strip()
        == path.read_text("utf-8").strip()
    )


@each
def test_begins_ends_and_shows_as_every_notebook(path):
    notebook = stored(path)
    first, last = notebook.cells[0], notebook.cells[-1]
    assert first.cell_type == last.cell_type == "markdown"
    assert first.source.startswith(f"# {path.stem[:2]} ")
    assert "colab-badge.svg" in first.source
    assert "## Conclusion" in last.source
    assert "## What to try next" in last.source
    assert codes(notebook)[0].source.startswith("# %pip install ")
    assert pictures(notebook)
    assert path.stat().st_size < 400_000


@each
def test_short_runs_change_parameters_alone(path, execute):
    """The reader sees no switch: short runs assign parameters anew, each of
    which the notebook assigns and uses."""
    notebook = stored(path)
    place = execute.parameters_cell(notebook)
    names = assigned(notebook.cells[place].source)
    assert set(execute.FAST[path.stem]) <= names
    later = [cell.source for cell in notebook.cells[place + 1 :]]
    for name in names:
        assert any(re.search(rf"\b{name}\b", text) for text in later), name
    for cell in codes(notebook):
        assert not re.search(r"environ\.get|getenv|\bfast\b", cell.source)


def assigned(source):
    """The names that a cell assigns."""
    return {
        target.id
        for statement in ast.parse(source).body
        if isinstance(statement, ast.Assign)
        for target in ast.walk(statement.targets[0])
        if isinstance(target, ast.Name)
    }


def test_the_first_notebook_is_short():
    cells = codes(stored(PATHS[0]))
    lines = [
        line
        for cell in cells
        for line in cell.source.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    assert len(cells) < 10 and len(lines) <= 70


def test_parameters_are_overridden_behind_their_cell(execute):
    v4 = execute.nbformat.v4
    cell = v4.new_code_cell("STEPS = 300")
    cell.metadata["tags"] = ["parameters"]
    notebook = v4.new_notebook(cells=[cell, v4.new_code_cell("STEPS")])
    assert execute._inject(notebook, {"STEPS": 3, "SIZES": {"a": [1]}}) == 1
    assert notebook.cells[1].source == "STEPS = 3\nSIZES = {'a': [1]}"
    with pytest.raises(ValueError, match="one cell tagged 'parameters'"):
        execute.parameters_cell(v4.new_notebook())


def test_the_page_names_every_notebook_by_its_title():
    page = (FOLDER / "README.md").read_text("utf-8")
    named = re.findall(r"\[([^\]]+)\]\((\d\d_\w+\.ipynb)\)", page)
    titles = [stored(path).cells[0].source.splitlines()[0] for path in PATHS]
    assert named == [
        (re.sub(r"^# \d\d ", "", title), path.name)
        for title, path in zip(titles, PATHS, strict=True)
    ]


def test_a_machine_s_folders_and_warnings_are_taken_out(execute):
    written = nbformat.v4.new_code_cell("print(1)")
    written.metadata["execution"] = {"iopub.status.busy": "2026-01-01"}
    written.outputs = [
        nbformat.v4.new_output("stream", name="stderr", text="a warning"),
        nbformat.v4.new_output(
            "stream", text=f"saved to {FOLDER.parent}/model.keras"
        ),
        nbformat.v4.new_output(
            "execute_result",
            data={"text/plain": f"'{pathlib.Path.home()}/x'"},
            execution_count=7,
        ),
    ]
    notebook = execute.anonymous(nbformat.v4.new_notebook(cells=[written]))
    (cell,) = notebook.cells
    assert cell.metadata == {}
    assert [output.output_type for output in cell.outputs] == [
        "stream",
        "execute_result",
    ]
    assert cell.outputs[0].text == "saved to kgrow/model.keras"
    assert cell.outputs[1].data["text/plain"] == "'home/x'"
    assert cell.execution_count == cell.outputs[1].execution_count == 1


def test_names_choose_notebooks(execute):
    assert execute.notebooks() == PATHS
    assert execute.notebooks([PATHS[0].stem[:2]]) == PATHS[:1]
    assert execute.notebooks([PATHS[0].name]) == PATHS[:1]
    with pytest.raises(ValueError, match="beginning of one of"):
        execute.notebooks(["99"])
