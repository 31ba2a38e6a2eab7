"""What growing holds on each of several devices, and what it gathers.

Eight simulated CPU devices, in a mesh of 1 x 8 and one of 2 x 4: the weights
and Adam's slots of a GPT-2 are divided along hidden axes and units, and grow
to one and a half times the width, by copies (`net2net`) and by products of
matrices (`lemon`). XLA says of every program that the growth compiles what it
gathers and what it holds beside its arguments. A second table compares, for one
copy of a matrix whose columns are divided, kgrow's exchange of pieces with the
same gather left to XLA's partitioner.

- `gathered`: bytes of the largest array that a program puts together on a
  device from the pieces of several (`all-gather`, `all-reduce`).
- `held`: bytes that the largest program holds on a device beside its
  arguments, its result among them.
- `whole`, `piece`: bytes of the largest grown variable, and of the largest
  piece of one that a device holds.

    KERAS_BACKEND=jax python benchmarks/sharded_growth.py
"""

import json
import math
import os
import pathlib
import re
import subprocess
import sys
import tempfile

import keras
import numpy as np
from report import Flags, publish

import kgrow

DEVICES = 8
MESHES = {"1 x 8": (1, 8), "2 x 4": (2, 4)}
STRATEGIES = ("net2net", "lemon")
# A device's part of what is cut along an axis of the mesh.
SPLIT = {
    ".*token_embedding/embeddings": (None, "model"),
    ".*(query|key|value)/kernel": ("data", "model", None),
    ".*attention_output/kernel": ("model", None, "data"),
    ".*feedforward_intermediate_dense/kernel": ("data", "model"),
    ".*feedforward_output_dense/kernel": ("model", "data"),
}
# The programs that grow; those that compare outputs are not counted.
PROGRAMS = "jit_(run|contract|copy|choose).*"
QUICK = {"width": 64}
_BYTES = {"f64": 8, "f32": 4, "s64": 8, "s32": 4, "bf16": 2, "f16": 2}
_COLLECTED = re.compile(
    r"= \(?(\w+)\[([\d,]*)\][^=]*? (?:all-gather|all-reduce)\("
)


def make_model(mesh, width):
    devices = keras.distribution.list_devices("cpu")
    mesh = keras.distribution.DeviceMesh(mesh, ["data", "model"], devices)
    layout = keras.distribution.LayoutMap(mesh)
    for path, axes in SPLIT.items():
        layout[path] = axes
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout, batch_dim_name="data"
        )
    )
    model = kgrow.models.GPT2(
        vocabulary_size=8 * width,
        num_layers=2,
        num_heads=16,
        hidden_dim=width,
        intermediate_dim=4 * width,
        max_sequence_length=16,
        dropout=0.0,
    )
    model.compile(
        keras.optimizers.Adam(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    return model


def measure(mesh, strategy, width, dumps):
    """Grows one model; what its programs gather and hold."""
    model = make_model(MESHES[mesh], width)
    target = {"hidden_dim": 3 * width // 2, "intermediate_dim": 6 * width}
    target["num_heads"] = 24
    for file in dumps.glob("*.txt"):
        file.unlink()
    receipt = model.grow(
        target, strategy, probe=np.ones((8, 16), "int32"), seed=0
    )
    values = [v.value for v in model.network.weights]
    pieces = [
        math.prod(v.sharding.shard_shape(v.shape)) * v.dtype.itemsize
        for v in values
    ]
    return {
        "programs": len(list(dumps.glob("*after_optimizations.txt"))),
        "gathered": max(_gathered(dumps), default=0),
        "held": max(_held(dumps), default=0),
        "piece": max(pieces),
        "whole": max(v.nbytes for v in values),
        "seconds": receipt.seconds,
    }


def _gathered(dumps):
    for file in dumps.glob("*after_optimizations.txt"):
        text = file.read_text()
        for kind, shape in _COLLECTED.findall(text):
            sizes = [int(n) for n in shape.split(",") if n]
            yield math.prod(sizes) * _BYTES.get(kind, 1)


def _held(dumps):
    """Bytes of all allocations of a program that are no arguments of it."""
    for file in dumps.glob("*buffer-assignment.txt"):
        lines = file.read_text().splitlines()
        sizes = [
            int(re.search(r"size (\d+)", line)[1])
            for line in lines
            if line.startswith("allocation ")
            and "parameter " not in line
            and "constant" not in line
        ]
        yield sum(sizes)


def measure_copy(width):
    """Bytes that two ways of one gather hold on a device beside arguments."""
    import jax

    from kgrow.algebra.arrays import WHOLE
    from kgrow.algebra.linear_maps import GatherMap
    from kgrow.backend import jax_sharded_maps

    count = jax.device_count()
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("model",))
    spec = jax.sharding.PartitionSpec(None, "model")
    place = jax.sharding.NamedSharding(mesh, spec)
    value = jax.device_put(np.zeros((width, 2 * width), "float32"), place)
    copies = GatherMap(2 * width, np.arange(4 * width) % (2 * width))
    segments = [(1, 2, (4 * width,), [(2 * width, copies)])]
    exchange, tables = jax_sharded_maps.program_of(value, segments, place)
    alone = jax.jit(
        lambda value: WHOLE.contract(value, segments), out_shardings=place
    )
    held = [
        program.lower(*arguments).compile().memory_analysis()
        for program, arguments in (
            (exchange, (value, tables)),
            (alone, (value,)),
        )
    ]
    whole = 4 * width * width * value.dtype.itemsize
    return {
        "devices": count,
        "exchange": held[0].temp_size_in_bytes,
        "partitioner": held[1].temp_size_in_bytes,
        "piece": whole // count,
        "whole": whole,
    }


def in_process(*arguments, devices=DEVICES):
    """Measures in a process of its own, where nothing is compiled yet."""
    with tempfile.TemporaryDirectory() as folder:
        flags = (
            f"--xla_force_host_platform_device_count={devices} "
            f"--xla_dump_to={folder} --xla_dump_hlo_as_text "
            f"--xla_dump_hlo_module_re={PROGRAMS}"
        )
        command = [sys.executable, __file__, *arguments, "--dumps", folder]
        done = subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "XLA_FLAGS": flags, "KERAS_BACKEND": "jax"},
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--only", nargs=2)
    parser.add_argument("--copy", action="store_true")
    parser.add_argument("--dumps", type=pathlib.Path)
    options = parser.parse_args()
    if options.only:
        found = measure(*options.only, options.width, options.dumps)
        print(json.dumps(found))
        return
    if options.copy:
        print(json.dumps(measure_copy(options.width)))
        return
    width = ["--width", str(options.width)]
    rows = []
    for mesh in MESHES:
        for strategy in STRATEGIES:
            found = in_process("--only", mesh, strategy, *width)
            rows.append([f"{strategy}, {mesh}", *found.values()])
    publish(
        "sharded_growth",
        f"GPT-2 ({options.width}) to 1.5 times the width on {DEVICES} devices",
        ["growth", *found],
        rows,
        folder=options.results,
        width=options.width,
    )
    copies = [in_process("--copy", *width, devices=n) for n in (8, 32)]
    publish(
        "sharded_copy",
        f"({options.width}, {2 * options.width}) to twice the columns",
        list(copies[0]),
        [list(found.values()) for found in copies],
        folder=options.results,
        width=options.width,
    )


if __name__ == "__main__":
    main()
