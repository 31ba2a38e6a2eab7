"""How long training stands still for a growth.

The stall is the growth itself plus the first step after it, less what a step
costs; the baseline is what a fresh model of the target size takes to be built,
compiled and to do its first step, less a step. Each is measured in a process
of its own, in turns: within one process the second would find compiled code of
the first.

    KERAS_BACKEND=jax python benchmarks/stall.py
"""

import json
import statistics
import subprocess
import sys
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
VOCABULARY, LENGTH, BATCH = 4096, 128, 8
QUICK = {"rounds": 1}


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

    def __init__(self, grow_at=None):
        super().__init__()
        self.grow_at = grow_at
        self.seconds = []
        self.growth = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])
        self.seconds.append(time.perf_counter() - self.start)
        if batch == self.grow_at:
            start = time.perf_counter()
            self.model.grow(
                TARGET, kgrow.strategies.Combine("net2net", "stack")
            )
            self.growth = time.perf_counter() - start


def data(steps):
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, VOCABULARY, (BATCH * steps, LENGTH + 1))
    return tokens[:, :-1], tokens[:, 1:]


def grown():
    clock = Clock(grow_at=2)
    x, y = data(7)
    make(SOURCE).fit(x, y, batch_size=BATCH, callbacks=[clock], verbose=0)
    step = min(clock.seconds[4:])
    return {
        "event": clock.growth,
        "first step": clock.seconds[3] - step,
        "total": clock.growth + clock.seconds[3] - step,
    }


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


def in_process(which):
    out = subprocess.run(
        [sys.executable, __file__, "--only", which],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(out.stdout.strip().splitlines()[-1])


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["grown", "fresh"])
    options = parser.parse_args()
    if options.only:
        print(json.dumps({"grown": grown, "fresh": fresh}[options.only]()))
        return
    results = {"grown": [], "fresh": []}
    for _ in range(options.rounds):
        for which, runs in results.items():
            runs.append(in_process(which))
    median = {
        which: {k: statistics.median(r[k] for r in runs) for k in runs[0]}
        for which, runs in results.items()
    }
    rows = [[which, *median[which].values()] for which in results]
    ratio = median["grown"]["total"] / median["fresh"]["total"]
    rows.append(["grown / fresh", "", "", ratio])
    publish(
        "stall",
        "GPT2(4, 256) to GPT2(8, 384): seconds training stands still",
        ["", "grow or build [s]", "compile [s]", "total [s]"],
        rows,
        folder=options.results,
        source=SOURCE,
        target=TARGET,
        rounds=options.rounds,
    )


if __name__ == "__main__":
    main()
