"""Runs the notebooks of this folder and stores their outputs in place.

python notebooks/execute.py [--fast] [NAME ...]

A name is a notebook's file, or the beginning of it: `01` is enough. Without
names all are run, each in a kernel of its own, on the backend that
`KERAS_BACKEND` names, JAX if none.

With `--fast` the runs are short, and nothing is stored: behind the cell tagged
`parameters` another is run, as papermill does, which assigns the values of
`fast.toml`.

What is stored does not depend on the machine: no times in the metadata, no
warnings, no paths, no version of Python.
"""

import argparse
import base64
import io
import os
import pathlib
import re
import sys
import tempfile
import time
import tomllib

import nbclient
import nbformat
import PIL.Image

FOLDER = pathlib.Path(__file__).resolve().parent
PARAMETERS = "parameters"  # the tag of a cell
FAST = tomllib.loads((FOLDER / "fast.toml").read_text("utf-8"))

# Of one cell, in seconds: for hangs, not for slow machines.
_TIMEOUT = 3600

# Short runs wait for the compiler, on JAX and on TensorFlow.
_QUICK_TO_COMPILE = (
    "--xla_backend_optimization_level=0 "
    "--xla_llvm_disable_expensive_passes=true"
)

# What takes the place of the machine's own folders in stored text, the longest
# first, as one may lie in another.
_FOLDERS = {
    str(FOLDER.parent): "kgrow",
    sys.prefix: "python",
    tempfile.gettempdir(): "temporary",
    str(pathlib.Path.home()): "home",
}


def notebooks(names=()):
    """The files whose names begin as one of `names`, or all of them.

    Args:
        names: Sequence of strings.

    Returns:
        A list of `pathlib.Path`, in the order of `names`.

    Raises:
        ValueError: if there is none for a name.
    """
    paths = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
    chosen = []
    for name in names:
        stem = pathlib.Path(name).name.removesuffix(".ipynb")
        found = [path for path in paths if path.stem.startswith(stem)]
        if not found:
            raise ValueError(
                "A name is the beginning of one of "
                f"{[path.stem for path in paths]}. Received: {name!r}"
            )
        chosen += found
    return list(dict.fromkeys(chosen)) if names else paths


def executed(path, fast=False):
    """A notebook with fresh outputs, which are not stored.

    Args:
        path: `pathlib.Path` of the notebook.
        fast: Boolean. Whether the runs are short.

    Returns:
        `nbformat.NotebookNode`, with nothing of the machine in it.

    Raises:
        nbclient.exceptions.CellExecutionError: if a cell raises.
        RuntimeError: if a figure cannot be drawn.
    """
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=_TIMEOUT,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    environment = {"KERAS_BACKEND": "jax", **os.environ}
    if fast:
        given = environment.get("XLA_FLAGS", "")
        environment["XLA_FLAGS"] = f"{given} {_QUICK_TO_COMPILE}"
        place = _inject(notebook, FAST[path.stem])
    client.execute(env=environment)
    if fast:
        del notebook.cells[place]
    _check_pictures(notebook)
    return with_small_pictures(anonymous(notebook))


def parameters_cell(notebook):
    """Place of the cell tagged `parameters`.

    Raises:
        ValueError: if there is not exactly one.
    """
    places = [
        place
        for place, cell in enumerate(notebook.cells)
        if PARAMETERS in cell.metadata.get("tags", ())
    ]
    if len(places) != 1:
        raise ValueError(
            f"A notebook has one cell tagged {PARAMETERS!r}. Received: "
            f"cells {places}"
        )
    return places[0]


def _inject(notebook, values):
    """Puts a cell that assigns `values` behind the parameters.

    Returns:
        Its place.
    """
    lines = [f"{name} = {value!r}" for name, value in values.items()]
    place = parameters_cell(notebook) + 1
    cell = nbformat.v4.new_code_cell("\n".join(lines))
    notebook.cells.insert(place, cell)
    return place


def anonymous(notebook):
    """The notebook itself, after the machine's traces were taken out of it.

    Cells get their places as ids, so that running one again changes outputs
    only.
    """
    notebook.metadata = {
        "kernelspec": {
            "display_name": "Python 3",
            "language": "python",
            "name": "python3",
        },
        "language_info": {"name": "python"},
    }
    count = 0
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number:02d}"
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        cell.outputs = [
            _without_folders(output)
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]
        for output in cell.outputs:
            if "execution_count" in output:
                output.execution_count = count
    return notebook


def with_small_pictures(notebook):
    """The notebook itself, its pictures in 256 colours: a third of the bytes,
    and nobody sees the difference in heat maps and lines."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                data["image/png"] = _small(data["image/png"])
    return notebook


def _small(picture):
    read = io.BytesIO(base64.b64decode(picture))
    written = io.BytesIO()
    image = PIL.Image.open(read).convert("RGB").quantize(256)
    image.save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def _check_pictures(notebook):
    """Raises where a figure could not be drawn, which Jupyter only warns of."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "Error in callback" in output.get("text", ""):
                raise RuntimeError(f"{output.text}\nafter\n{cell.source}")


def _without_folders(output):
    """An output in whose texts no folder of the machine is named."""

    def cleaned(text):
        for folder in sorted(_FOLDERS, key=len, reverse=True):
            text = re.sub(
                re.escape(folder) + r"(?=/|\b)", _FOLDERS[folder], text
            )
        return text

    if "text" in output:
        output.text = cleaned(output.text)
    for kind, value in output.get("data", {}).items():
        if kind.startswith("text/") and isinstance(value, str):
            output.data[kind] = cleaned(value)
    return output


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument(
        "--fast", action="store_true", help="run short, and store nothing"
    )
    options = parser.parse_args(arguments)
    for path in notebooks(options.names):
        started = time.perf_counter()
        notebook = executed(path, options.fast)
        if not options.fast:
            nbformat.write(notebook, path)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
