"""What the compiler said of a run's steps, judged."""

import json
import pathlib
import subprocess
import sys

from common import outlook
from kgrow.algebra.errors import GrowthError

# Of a device's memory: more leaves no room for what else lies there.
FULL = 0.95
_SCRIPTS = pathlib.Path(__file__).parents[1]
_OWN = _SCRIPTS.parent / ".venv-tpu" / "bin" / "python"


def rows(arguments, python=None):
    """Compiles the steps, in a process of its own.

    Args:
        arguments: list of strings, for `compile_stages.py`.
        python: optional path of the interpreter; by default that of
            `.venv-tpu` where there is one, else this one.

    Yields:
        dict, see `StageSteps.compiled()`, as each is done.

    Raises:
        GrowthError: they cannot be compiled; with what to do about it.
    """
    python = python or (str(_OWN) if _OWN.exists() else sys.executable)
    command = [python, str(_SCRIPTS / "compile_stages.py"), *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            yield json.loads(line)
        said = process.stderr.read()
    if process.returncode:
        raise GrowthError(said.strip()[-3000:] or f"exit {process.returncode}")


def limits(options):
    """What was not tested, as lines."""
    yield (
        "compiled, not run: values, speed and the loading of data were not "
        "tested"
    )
    if options.quick:
        yield (
            "compiled quickly: a real compilation takes other memory and cycles"
        )


def judged(row, found, chosen, options):
    """Judges one step.

    Args:
        row: dict, of the step.
        found: list of all rows, the stage before among them.
        chosen: `Slice`.
        options: flags, for what to change.

    Returns:
        string, what the step takes.

    Raises:
        GrowthError: the run should not begin so; with what to change.
    """
    problems = [*_memory(row, chosen, options), *_program(row)]
    if "error" in row:
        raise GrowthError(" ".join(problems))
    detail = _detail(row, _before(row, found), chosen)
    if problems:
        raise GrowthError(f"{' '.join(problems)} {detail}")
    return detail


def _memory(row, chosen, options):
    """What is wrong with a step's memory, and what to change."""
    limit = outlook.size(chosen.hbm)
    if "error" in row:
        said = row["error"].strip().splitlines()[0]
        yield f"Does not fit into {limit}: {said}"
    elif row["recomputed"]:
        yield (
            f"{row['recomputed']} values are computed twice, to fit into "
            f"{limit}."
        )
    elif row["bytes"] > FULL * chosen.hbm:
        yield f"Leaves less than {1 - FULL:.0%} of {limit} free."
    else:
        return
    yield f"Change one of: {', '.join(_remedies(options))}."


def _remedies(options):
    if options.precision == "float32":
        yield "`--precision mixed_bfloat16`"
    if options.batch_size:
        yield f"`--batch-size {options.batch_size // 2}`"
    if options.layout == "data":
        yield "`--layout model` with a second axis of `--mesh`"
    yield "a larger `--slice`"


def _program(row):
    """What is wrong with the program."""
    if row.get("gathered_weights"):
        shapes = sorted({tuple(s) for s in row["gathered_weights"]})
        yield (
            f"Weights that lie in pieces are gathered whole, {shapes}: lay "
            "them out otherwise, by a JSON file for `--layout`."
        )
    if row.get("kernels"):
        yield (
            f"Attention runs by a kernel, {row['kernels']}, which computes "
            "something else on TPUs: `keras.config.disable_flash_attention()` "
            "before layers are made."
        )


def _before(row, found):
    """The step that the run trains with before this one, or `None`."""
    return next(
        (
            other
            for other in found
            if other["stage"] == row["stage"] - 1
            and other["step"] == "train"
            and "error" not in other
        ),
        None,
    )


def _detail(row, before, chosen):
    size = outlook.size
    parts = [f"{size(row['bytes'])} of {size(chosen.hbm)} a device"]
    if row["flops"]:
        counted = row.get("counted_flops")
        beside = f" (kgrow counts {counted:.2e})" if counted else ""
        parts.append(f"{row['flops']:.2e} FLOPs{beside}")
    if row["cycles"]:
        ratio = ""
        if before is not None and before["cycles"]:
            times = row["cycles"] / before["cycles"]
            ratio = f", {times:.2f} times stage {before['stage']}'s"
        parts.append(f"{row['cycles'] / 1e6:.2f} Mcycles{ratio}")
    parts += [
        f"{count} {kind} of {size(total)}"
        for kind, (count, total) in row["collectives"].items()
    ]
    parts.append(f"compiled in {row['seconds']:.0f} s")
    return "; ".join(parts)
