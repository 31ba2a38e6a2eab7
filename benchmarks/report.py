"""What all benchmarks share: their flags, a table, and a JSON file that says
on which machine it was made."""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform

import keras
from rich.console import Console
from rich.table import Table

from kgrow.datasets.text.text import TOKENIZERS, Text

RESULTS = pathlib.Path(__file__).parent / "results"
QUICK = pathlib.Path("runs") / "quick"

# Every script imports this module before it does anything.
_LOAD_AT_START = os.getloadavg()

_THREADS = (
    "OMP_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "XLA_FLAGS",
)
_PACKAGES = ("numpy", "keras-hub", "jax", "jaxlib", "tensorflow", "torch")


class Flags(argparse.ArgumentParser):
    """A script's flags, with those that all scripts have.

    `--results` is the folder of what is written. `--quick` runs the script in
    miniature, to see that it runs: its results say nothing, and go to another
    folder. `--size`, where there is one, sets several flags by one name. What
    is said of a flag itself goes before both.

    Args:
        doc: string, the script's docstring.
        quick: dict, what flags are by default under `--quick`.
        sizes: optional dict of dicts, what flags are by default under a
            `--size`; the first is where nothing is said.
    """

    def __init__(self, doc, quick, sizes=None):
        super().__init__(description=doc.strip().splitlines()[0])
        self._quick, self._sizes = quick, sizes
        self.add_argument(
            "--quick", action="store_true", help="tiny, to see that it runs"
        )
        self.add_argument(
            "--results",
            type=pathlib.Path,
            help=f"folder; by default {RESULTS.name} beside this script, or "
            f"{QUICK} with --quick",
        )
        if sizes:
            self.add_argument(
                "--size", default=next(iter(sizes)), choices=sizes
            )

    def parse_args(self, args=None, namespace=None):
        known, _ = self.parse_known_args(args)
        if self._sizes:
            self.set_defaults(**self._sizes[known.size])
        if known.quick:
            self.set_defaults(**self._quick)
        options = super().parse_args(args, namespace)
        if options.results is None:
            options.results = QUICK if options.quick else RESULTS
        return options


def add_text_flags(parser):
    """`--text`, `--tokenizer`, `--vocabulary`, `--data-dir`."""
    parser.add_argument(
        "--text",
        default="stdlib",
        help="stdlib, english, a folder of text files, or tfds:NAME[@SPLIT]",
    )
    parser.add_argument("--tokenizer", default="bytes", choices=TOKENIZERS)
    parser.add_argument(
        "--vocabulary", type=int, help="how many subwords are learned"
    )
    parser.add_argument("--data-dir", help="TFDS's folder")


def text_of(options, folder):
    """The `kgrow.datasets.text.text.Text` that the flags name.

    Args:
        options: parsed flags.
        folder: path, where subwords and tokens are kept.
    """
    return Text(
        options.text,
        options.tokenizer,
        options.vocabulary,
        folder,
        options.data_dir,
    )


def text_suffix(options):
    """What the name of a result says of the text; nothing of the default."""
    if (options.text, options.tokenizer) == ("stdlib", "bytes"):
        return ""
    name = options.text.removeprefix("tfds:")
    parts = [pathlib.Path(name).name] if name != "stdlib" else []
    if options.vocabulary:
        parts.append(f"subwords{options.vocabulary}")
    words = "".join(c if c.isalnum() else "-" for c in "_".join(parts))
    return f"_{words}"


def machine():
    """What a benchmark runs on, as a dict for JSON."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "cores_of_this_process": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_gib": round(pages / 2**30, 1),
        "accelerators": _accelerators(),
        "system": platform.platform(),
        "packages": {
            name: importlib.metadata.version(name)
            for name in _PACKAGES
            if _is_installed(name)
        },
        "threads": {
            name: os.environ[name] for name in _THREADS if name in os.environ
        },
        "load_at_start": _rounded(_LOAD_AT_START),
        "load_at_end": _rounded(os.getloadavg()),
    }


def _processor():
    """The name that the system knows it by."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [
        line.partition(":")[2].strip()
        for line in lines
        if line.startswith("model name")
    ]
    return names[0] if names else platform.processor() or platform.machine()


def _accelerators():
    """Their names, as the backend knows them; none on a CPU."""
    backend = keras.backend.backend()
    if backend == "jax":
        import jax

        return [d.device_kind for d in jax.devices() if d.platform != "cpu"]
    if backend == "tensorflow":
        import tensorflow as tf

        return [
            tf.config.experimental.get_device_details(d).get(
                "device_name", d.name
            )
            for d in tf.config.list_physical_devices()
            if d.device_type in ("GPU", "TPU")
        ]
    import torch

    return [
        torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
    ]


def _is_installed(name):
    try:
        importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _rounded(load):
    return [round(x, 2) for x in load]


def publish(name, title, columns, rows, folder=RESULTS, **facts):
    """Prints a table and writes `<folder>/<name>_<backend>.json`.

    Args:
        name: string, the benchmark.
        title: string, what the table shows.
        columns: list of strings.
        rows: list of lists, numbers or strings.
        folder: path, `--results`.
        **facts: what else belongs to the result (sizes, seeds), parsed flags
            as `options`. Paths are written without the folders above them.

    Returns:
        The file's path.
    """
    backend = keras.backend.backend()
    table = Table(title=f"{title} [{backend}]", title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if not rows else "right")
    for row in rows:
        table.add_row(*(_text(cell) for cell in row))
    Console().print(table)
    folder.mkdir(parents=True, exist_ok=True)
    if "options" in facts:
        # Where it is written to says nothing of what was measured.
        kept = {k: v for k, v in facts["options"].items() if k != "results"}
        facts = {**facts, "options": kept}
    record = {
        "benchmark": name,
        "backend": backend,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "processor_count": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        **facts,
        "columns": columns,
        "rows": rows,
    }
    path = folder / f"{name}_{backend}.json"
    text = json.dumps(record, indent=1, default=_of_a_path)
    path.write_text(text + "\n")
    return path


def _of_a_path(value):
    if isinstance(value, pathlib.PurePath):
        return value.name
    raise TypeError(f"{type(value).__name__} is no JSON")


def _text(cell):
    return f"{cell:.3f}" if isinstance(cell, float) else str(cell)
