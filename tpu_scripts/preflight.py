"""Looks whether a run can begin, on the machine that is to run it.

    python tpu_scripts/preflight.py train_gpt2.py \\
        --config tpu_scripts/configs/msg_gpt2.toml --mesh 4x2 --layout model \\
        --field vocabulary_size=50304 --checkpoints gs://BUCKET/gpt2/checkpoints

The first argument is the program, the others are what it will be given;
`--json` prints JSON. Looked at are processes and devices, mesh, batches, that
every size of every stage divides its axis of the mesh, what a stage
needs on a device, how often is compiled, the first batch, and whether folders
can be written to. Nothing is trained and nothing is compiled. Exit code 1 says
that something is not well.

    python tpu_scripts/preflight.py train_gpt2.py \\
        --config tpu_scripts/configs/msg_gpt2.toml --slice v5e-8 --stages 6

With `--slice` no TPU is needed: the step of every stage is compiled for that
slice by the TPU's own compiler, last stage first, on this machine. Exit code 1
says that one does not fit, computes values twice to fit, fills its memory,
gathers weights whole, or runs attention by a kernel that is wrong. `--stages`
says which, `--quick` halves the time.
"""

import importlib
import pathlib
import sys

import common  # noqa: F401
import compile_stages
import keras
from common import (
    checking,
    devices,
    folders,
    outlook,
    pretraining,
    settings,
    slice_checks,
    slices,
    widths,
)

import kgrow
from kgrow.algebra.errors import GrowthError
from kgrow.schedules import device_checks

PROGRAMS = ("train_gpt2.py", "train_bert.py", "train_deit.py")


class Preflight:
    """The checks of one run.

    Args:
        program: `Program`.
        options: flags.
    """

    def __init__(self, program, options):
        self.program = program
        self.options = options
        self.checks = checking.Checks()

    def run(self):
        """Runs all checks, and gives them."""
        add, options = self.checks.run, self.options
        add("devices", self.devices)
        add("schedule", self.schedule)
        add("mesh", self.mesh, ["devices", "schedule"])
        add("batches", self.batches, ["mesh"])
        add("layout", self.layout, ["mesh"])
        add("memory", self.memory, ["layout", "batches"])
        add("compilations", self.compilations, ["schedule"])
        add("data", self.data, ["batches"])
        for name in ("checkpoints", "logs"):
            folder = getattr(options, name)
            if folder is not None:
                add(name, lambda folder=folder: self.writable(folder))
        return self.checks

    def devices(self):
        """Processes, and devices of each."""
        import jax

        devices.start(self.options)
        found = jax.devices()
        kinds = sorted({device.device_kind for device in found})
        values = {
            "devices": len(found),
            "processes": jax.process_count(),
            "local_devices": jax.local_device_count(),
            "kinds": kinds,
        }
        return (
            f"{len(found)} of {', '.join(kinds)}, {jax.process_count()} "
            f"processes, {jax.local_device_count()} devices here",
            values,
        )

    def schedule(self):
        """The stages, as the flags give them."""
        options = self.options
        self.fields = pretraining.fields_of(self.program, options)
        self.whole = pretraining.schedule_of(options, self.fields)
        self.stages = pretraining.without_first(self.whole, options)
        self.family = getattr(kgrow.models, self.fields.pop("family"))
        last = self.stages.sizes[-1]
        return f"{len(self.stages)} stages, to {last}", {
            "stages": len(self.stages),
            "sizes": self.stages.sizes,
        }

    def mesh(self):
        """Whether the mesh has as many devices as there are."""
        self.distribution = devices.distribution(self.options, self.family.axes)
        if self.distribution is None:
            return "one device", {"mesh": [1]}
        shape = list(self.distribution.device_mesh.shape)
        return f"{'x'.join(map(str, shape))}, {self.options.layout}", {
            "mesh": shape
        }

    def batches(self):
        """Whether every stage's batch can be shared out."""
        sizes = []
        for index in range(len(self.stages)):
            size = pretraining.batch_size_of(self.stages, index, self.options)
            devices.check_batch(size, self.distribution)
            sizes.append(size)
        parts = devices.batch_parts(self.distribution)
        number, count = devices.data_shard(self.distribution)
        return (
            f"{sorted(set(sizes))} in {parts} parts; this process reads part "
            f"{number + 1} of {count}",
            {"batch_sizes": sizes, "parts": parts},
        )

    def layout(self):
        """Whether every size of every stage divides its axis of the mesh."""
        if self.distribution is None:
            return "nothing is split", {}

        def make():
            return self.family(**{**self.fields, **self.whole.sizes[0]})

        device_checks.check_layout(make, self.whole, self.distribution)
        return f"every stage divides ({len(self.whole)} stages)", {}

    def memory(self):
        """What each stage needs on a device, without activations."""
        run = pretraining.Run(self.program, self.options)
        found = run.stages()
        limit = _limit()
        rows = [
            {"stage": s.number, "parameters": s.parameters, "bytes": s.bytes}
            for s in found
        ]
        most = max(found, key=lambda stage: stage.bytes)
        detail = ", ".join(outlook.size(stage.bytes) for stage in found)
        detail += " of weights, gradients and slots"
        if limit is not None:
            detail += f", of {outlook.size(limit)}"
            if most.bytes > limit:
                raise GrowthError(
                    f"Stage {most.number} needs {outlook.size(most.bytes)} on "
                    f"a device, without activations, and it has "
                    f"{outlook.size(limit)}. Split more: `--layout model` and "
                    "a longer second axis of `--mesh`."
                )
        return detail, {"stages": rows, "limit": limit}

    def compilations(self):
        """How many training steps are compiled: one a stage, and one more
        where the gates of a growth have opened and are taken away."""
        grown = range(1, len(self.stages))
        gated = sum(bool(self.stages.ramp(index)) for index in grown)
        count = len(self.stages) + gated
        return f"{count}, of these {gated} behind ramps", {
            "compilations": count
        }

    def data(self):
        """The first batch, as this process reads it."""
        source = self.program.source(
            self.options, self.fields, devices.data_shard(self.distribution)
        )
        batch = source.batches(
            pretraining.batch_size_of(self.stages, 0, self.options),
            self.stages.setting(0, "sequence_length")
            or self.options.sequence_length,
            steps=1,
        )
        first = (
            batch[0]
            if isinstance(batch, keras.utils.PyDataset)
            else next(iter(batch))
        )
        shapes = [tuple(a.shape) for a in keras.tree.flatten(first)]
        return f"{self.options.data}: {shapes}", {"shapes": shapes}

    def writable(self, folder):
        """Whether a folder can be written to."""
        folders.check_writable(folder)
        return folder, {}


def _limit():
    """Bytes of a device, or `None` where it does not say."""
    import jax

    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit")


def slice_preflight(arguments, options):
    """Compiles the steps of the stages for a slice, and judges them.

    Args:
        arguments: list of strings, the program and its flags.
        options: flags.

    Returns:
        `(Checks, notes)`, a list of lines.
    """
    checks, found = checking.Checks(), []
    chosen = slices.get(options.slice)
    advised = {}

    def compile():
        for row in slice_checks.rows(arguments):
            found.append(row)
            print(f"stage {row['stage']}, {row['step']}", file=sys.stderr)
        return f"{len(found)} steps for {chosen.name}", {}

    checks.run("compiler", compile)
    for row in sorted(found, key=lambda row: row["stage"]):

        def judge(row=row):
            detail = slice_checks.judged(row, found, chosen, options)
            return detail, row

        checks.run(f"stage {row['stage']}, {row['step']}", judge)
        advised[row["stage"]] = widths.advice(row["sizes"], chosen.tile)
    notes = [
        f"stage {stage}: {'; '.join(lines)}"
        for stage, lines in advised.items()
        if lines
    ]
    return checks, [*notes, *slice_checks.limits(options)]


def main(arguments=None):
    """Prints the checks; gives the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = pathlib.Path(given[0]).name if given else ""
    name = name if name.endswith(".py") else f"{name}.py"
    if name not in PROGRAMS:
        asks = given and given[0] in ("-h", "--help")
        print(
            __doc__
            if asks
            else f"preflight.py: say for which program, one "
            f"of {', '.join(PROGRAMS)}",
            file=None if asks else sys.stderr,
        )
        return 0 if asks else 2
    module = importlib.import_module(name.removesuffix(".py"))
    parser = pretraining.parser(module.PROGRAM, __doc__)
    compile_stages.add_flags(parser)
    parser.add_argument("--json", action="store_true")
    try:
        options = settings.read(parser, given[1:])
        if options.slice is None:
            checks, notes = Preflight(module.PROGRAM, options).run(), []
        else:
            passed_on = [flag for flag in given[1:] if flag != "--json"]
            checks, notes = slice_preflight([name, *passed_on], options)
    except GrowthError as error:
        print(f"preflight.py: {error}", file=sys.stderr)
        return 2
    print(checks.json() if options.json else checks.table())
    for note in [] if options.json else notes:
        print(note)
    return 0 if checks.passed else 1


if __name__ == "__main__":
    sys.exit(main())
