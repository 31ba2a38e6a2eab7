"""What growing costs: time against copying, memory against the states.

BERT-Small(6, 512) to BERT-Base(12, 768), vocabulary 30522, as in the papers.

- Time of `Plan.apply` over the time of `numpy.copy` of the grown weights, the
  floor for anything that makes them; both the medians of several rounds, in
  turns, in this process.
- Peak memory of `model.grow()` with a trained Adam over the bytes of the old
  and the new training state (weights, slots) together.

    KERAS_BACKEND=jax python benchmarks/growth_cost.py
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
from kgrow import backend
from kgrow.architecture.architecture import relative_path
from kgrow.backend.memory import PeakMemory

SMALL = {
    "num_layers": 6,
    "num_heads": 8,
    "hidden_dim": 512,
    "intermediate_dim": 2048,
}
BASE = {
    "num_layers": 12,
    "num_heads": 12,
    "hidden_dim": 768,
    "intermediate_dim": 3072,
}
STRATEGIES = {
    "net2net + stack": lambda: kgrow.strategies.Combine("net2net", "stack"),
    "net2net": lambda: kgrow.strategies.Net2Net(),
    "direct": lambda: kgrow.strategies.Direct(),
    "random": lambda: kgrow.strategies.Random(),
}
QUICK = {"rounds": 2, "vocabulary": 100}


def make_model(vocabulary_size):
    return kgrow.models.BERT(vocabulary_size=vocabulary_size, **SMALL)


def measure_time(model, strategy, rounds):
    """Median seconds of `Plan.apply` and of copying its result."""
    architecture = model.architecture
    _, target = architecture.build(architecture.check(BASE))
    plan = strategy.plan(architecture.spec, target, 0)
    values = {
        relative_path(model.network, w): np.asarray(
            backend.to_numpy_if_cpu(backend.storage(w))
        )
        for w in model.network.weights
    }
    grow, copy = [], []
    for _ in range(rounds):
        start = time.perf_counter()
        grown = plan.apply(values)
        middle = time.perf_counter()
        copies = [np.copy(v) for v in grown.values()]
        end = time.perf_counter()
        grow.append(middle - start)
        copy.append(end - middle)
        del grown, copies
    return statistics.median(grow[1:]), statistics.median(copy[1:])


def state_bytes(model):
    variables = [*model.network.weights, *model.optimizer.variables]
    return sum(
        int(np.prod(v.shape)) * np.dtype("float32").itemsize for v in variables
    )


def measure_memory(model, strategy):
    """Peak bytes of a growth over those of both training states, and its
    seconds."""
    model.compile(
        optimizer=keras.optimizers.Adam(1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    before = state_bytes(model)
    probe = model.network.example_inputs(1)
    with PeakMemory() as memory:
        receipt = model.grow(BASE, strategy, probe=probe, seed=0)
    after = state_bytes(model)
    peak = before + memory.extra_bytes
    return peak / (before + after), receipt.seconds


def in_process(name, options):
    """Measures one strategy in a process of its own: memory that an earlier
    one gave back would hide what the next one takes."""
    command = [sys.executable, __file__, "--only", name]
    command += ["--rounds", str(options.rounds)]
    command += ["--vocabulary", str(options.vocabulary)]
    out = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(out.stdout.strip().splitlines()[-1])


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--only", choices=list(STRATEGIES))
    options = parser.parse_args()
    if options.only:
        model = make_model(options.vocabulary)
        make = STRATEGIES[options.only]
        memory, seconds = measure_memory(model, make())
        model = make_model(options.vocabulary)
        grow, copy = measure_time(model, make(), options.rounds)
        print(json.dumps([grow, copy, grow / copy, memory, seconds]))
        return
    rows = [[name, *in_process(name, options)] for name in STRATEGIES]
    publish(
        "growth_cost",
        "BERT-Small(6, 512) to BERT-Base(12, 768)",
        [
            "strategy",
            "apply [s]",
            "copy [s]",
            "apply / copy",
            "peak / (old + new state)",
            "grow() [s]",
        ],
        rows,
        folder=options.results,
        source=SMALL,
        target=BASE,
        rounds=options.rounds,
        vocabulary=options.vocabulary,
    )


if __name__ == "__main__":
    main()
