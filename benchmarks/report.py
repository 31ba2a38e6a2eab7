"""What every benchmark does with its numbers: a table, and a JSON file."""

import json
import pathlib
import platform

import keras
from rich.console import Console
from rich.table import Table

RESULTS = pathlib.Path(__file__).parent / "results"


def publish(name, title, columns, rows, **facts):
    """Prints a table and writes `results/<name>_<backend>.json`.

    Args:
        name: string, the benchmark.
        title: string, what the table shows.
        columns: list of strings.
        rows: list of lists, numbers or strings.
        **facts: what else belongs to the result (sizes, seeds).
    """
    backend = keras.backend.backend()
    table = Table(title=f"{title} [{backend}]", title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if not rows else "right")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    Console().print(table)
    RESULTS.mkdir(exist_ok=True)
    record = {
        "benchmark": name,
        "backend": backend,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "processor_count": __import__("os").cpu_count(),
        **facts,
        "columns": columns,
        "rows": rows,
    }
    path = RESULTS / f"{name}_{backend}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")


def _text(cell):
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
