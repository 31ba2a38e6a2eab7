"""How long training stands still for a growth.

The stall is the growth itself plus the first step after it, less what a step
costs; the baseline is what a fresh model of the target size takes to be built,
compiled and to do its first step, less a step. Each is measured in a process
of its own, in turns: within one process the second would find compiled code of
the first.

`prepared` is a growth whose step was compiled ahead: `fit` waits for that here,
so that it is ready at any load of the machine, and the wait is not counted.
`restarted` is one in a process that finds the programs of another on the disk,
on JAX.

    KERAS_BACKEND=jax python benchmarks/stall.py
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time

import keras
import numpy as np
from report import Flags, publish

import kgrow

SOURCE = {
    "num_layers": 4,
    "num_heads": 4,
    "hidden_dim": 256,
    "intermediate_dim": 1024,
}
TARGET = {
    "num_layers": 8,
    "num_heads": 6,
    "hidden_dim": 384,
    "intermediate_dim": 1536,
}
STRATEGY = kgrow.strategies.Combine("net2net", "stack")
VOCABULARY, LENGTH, BATCH = 4096, 128, 8
QUICK = {"rounds": 1, "layers": 2}


def make(sizes):
    model = kgrow.models.GPT2(
        vocabulary_size=VOCABULARY,
        max_sequence_length=LENGTH,
        dropout=0.0,
        **sizes,
    )
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


class Clock(keras.callbacks.Callback):
    """Times steps, and grows the model at the end of one."""

    def __init__(self, grow_at=None, prepare=False):
        super().__init__()
        self.grow_at = grow_at
        self.prepare = prepare
        self.seconds = []
        self.growth = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])
        self.seconds.append(time.perf_counter() - self.start)
        if batch == self.grow_at:
            if self.prepare:
                self.model.prepare(TARGET, STRATEGY).wait()
            start = time.perf_counter()
            self.model.grow(TARGET, STRATEGY)
            self.growth = time.perf_counter() - start


def data(steps):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCABULARY, (BATCH * steps, LENGTH + 1))
    return tokens[:, :-1], tokens[:, 1:]


def grown(prepare=False):
    clock = Clock(grow_at=2, prepare=prepare)
    x, y = data(7)
    make(SOURCE).fit(x, y, batch_size=BATCH, callbacks=[clock], verbose=0)
    step = min(clock.seconds[4:])
    return {
        "event": clock.growth,
        "first step": clock.seconds[3] - step,
        "total": clock.growth + clock.seconds[3] - step,
    }


def prepared():
    return grown(prepare=True)


def fresh():
    clock = Clock()
    x, y = data(4)
    # A first, tiny model: what only ever happens once in a process is not
    # what is measured.
    make({**SOURCE, "num_layers": 1}).fit(
        x, y, batch_size=BATCH, verbose=0, callbacks=[Clock()]
    )
    start = time.perf_counter()
    model = make(TARGET)
    built = time.perf_counter() - start
    start = time.perf_counter()
    model.fit(x, y, batch_size=BATCH, callbacks=[clock], verbose=0)
    until_end = time.perf_counter() - start
    step = min(clock.seconds[1:])
    first = until_end - sum(clock.seconds[1:]) - step
    return {"event": built, "first step": first, "total": built + first}


RUNS = {
    "grown": grown,
    "prepared": prepared,
    "restarted": grown,
    "fresh": fresh,
}


def in_process(which, *arguments):
    command = [sys.executable, __file__, "--only", which, *arguments]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.strip().splitlines()[-1])


def measure(which, layers):
    arguments = ["--layers", str(layers)]
    if which != "restarted":
        return in_process(which, *arguments)
    with tempfile.TemporaryDirectory() as folder:
        arguments += ["--programs", folder]
        in_process(which, *arguments)
        return in_process(which, *arguments)


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--layers", type=int, default=8, help="in the end; half before"
    )
    parser.add_argument("--only", choices=list(RUNS))
    parser.add_argument("--programs", help="folder, of `restarted`")
    options = parser.parse_args()
    TARGET["num_layers"] = options.layers
    SOURCE["num_layers"] = options.layers // 2
    if options.only:
        if options.programs:
            kgrow.backend.keep_programs(options.programs)
        print(json.dumps(RUNS[options.only]()))
        return
    results = {which: [] for which in RUNS}
    if keras.backend.backend() != "jax":
        del results["restarted"]
    for _ in range(options.rounds):
        for which, runs in results.items():
            runs.append(measure(which, options.layers))
    median = {
        which: {k: statistics.median(r[k] for r in runs) for k in runs[0]}
        for which, runs in results.items()
    }
    rows = [[which, *median[which].values()] for which in results]
    for which in list(results)[:-1]:
        ratio = median[which]["total"] / median["fresh"]["total"]
        rows.append([f"{which} / fresh", "", "", ratio])
    publish(
        "stall",
        f"GPT2({SOURCE['num_layers']}, 256) to GPT2({options.layers}, 384): "
        "seconds training stands still",
        ["", "grow or build [s]", "compile [s]", "total [s]"],
        rows,
        folder=options.results,
        source=SOURCE,
        target=TARGET,
        rounds=options.rounds,
    )


if __name__ == "__main__":
    main()
