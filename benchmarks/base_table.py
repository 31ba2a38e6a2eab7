"""Every strategy between two sizes of the papers: seconds, and memory.

BERT-Small(6, 512) to BERT-Base(12, 768), or with `--pair gpt2` GPT2-Base(12,
768) to GPT2-Medium(24, 1024). A strategy that grows only width is combined with
stacking, one that grows only depth with net2net; those that learn take a few
steps on a small batch. Each runs in a process of its own, with an Adam that has
its slots. Beside the seconds of `model.grow()` stand those of copying the grown
weights and slots once, the floor for anything that makes them; beside the peak
of memory, the bytes of the old and the new state together.

    KERAS_BACKEND=jax python benchmarks/base_table.py
    KERAS_BACKEND=jax python benchmarks/base_table.py --pair gpt2
"""

import json
import signal
import subprocess
import sys
import time

import keras
import numpy as np
from growth_cost import BASE, SMALL, state_bytes
from report import Flags, publish

from kgrow import GrowthError, models, strategies
from kgrow.analysis.preservation.completion import completed
from kgrow.backend.memory import PeakMemory
from kgrow.strategies import InitializeNew, LiGO, Mango

GPT2_BASE = BASE
GPT2_MEDIUM = {
    "num_layers": 24,
    "num_heads": 16,
    "hidden_dim": 1024,
    "intermediate_dim": 4096,
}
# Family, sizes before and after, vocabulary, name.
PAIRS = {
    "bert": (models.BERT, SMALL, BASE, 30522, "BERT-Small to BERT-Base"),
    "gpt2": (
        models.GPT2,
        GPT2_BASE,
        GPT2_MEDIUM,
        50257,
        "GPT2-Base to GPT2-Medium",
    ),
}
LEARNED = {
    "ligo": lambda steps: LiGO(steps=steps, verbose=0),
    "mango": lambda steps: Mango(steps=steps, verbose=0),
    "initialize_new": lambda steps: InitializeNew(
        "lemon", LiGO(steps=steps, verbose=0)
    ),
}
QUICK = {
    "vocabulary": 100,
    "steps": 1,
    "batch": 1,
    "only": ["net2net", "stack"],
}


def make_strategy(name, model, target, steps):
    """The strategy, completed where it grows only one of width and depth."""
    if name in LEARNED:
        return LEARNED[name](steps)
    source = model.architecture
    _, spec = source.build(source.check(target))
    return completed(name, source.spec, spec)


def measure(name, options):
    family, small, large, vocabulary, _ = PAIRS[options.pair]
    vocabulary = options.vocabulary or vocabulary
    model = family(vocabulary_size=vocabulary, **small)
    model.compile(
        keras.optimizers.Adam(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.optimizer.build(model.trainable_variables)
    try:
        strategy = make_strategy(name, model, large, options.steps)
    except GrowthError as error:
        return {"refuses": str(error)}
    rng = np.random.default_rng(0)
    x = rng.integers(vocabulary, size=(options.batch, 32))
    before = state_bytes(model)
    with PeakMemory() as memory:
        receipt = model.grow(large, strategy, data=(x, x), seed=0)
    after = state_bytes(model)
    arrays = [
        np.asarray(keras.ops.convert_to_numpy(v))
        for v in (*model.network.weights, *model.optimizer.variables)
    ]
    start = time.perf_counter()
    copies = [np.copy(a) for a in arrays]
    floor = time.perf_counter() - start
    del copies
    learned = receipt.learned or {}
    return {
        "strategy": repr(strategy),
        "seconds": receipt.seconds,
        "operator": learned.get("seconds"),
        "floor": floor,
        "peak": (before + memory.extra_bytes) / (before + after),
        "relative difference": receipt.relative_diff,
        "exact": receipt.exact,
    }


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--pair", choices=sorted(PAIRS), default="bert")
    parser.add_argument("--vocabulary", type=int, help="the pair's by default")
    parser.add_argument("--steps", type=int, default=5, help="operator's")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=strategies.names(False))
    parser.add_argument("--here", action="store_true")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measure(options.only[0], options)))
        return
    rows = []
    for name in options.only:
        command = [sys.executable, __file__, "--here", "--only", name]
        for flag in ("pair", "vocabulary", "steps", "batch"):
            value = getattr(options, flag)
            if value is not None:
                command += [f"--{flag}", str(value)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == -signal.SIGKILL:
            found = {"refuses": "killed (SIGKILL), as for want of memory"}
        elif done.returncode:
            print(done.stderr, file=sys.stderr)
            raise SystemExit(f"{name} failed")
        else:
            found = json.loads(done.stdout.strip().splitlines()[-1])
        if "refuses" in found:
            rows.append([name, found["refuses"].split(".")[0], *[""] * 6])
        else:
            rows.append([name, found["strategy"], *list(found.values())[1:]])
        print(rows[-1], flush=True)
    publish(
        "base_table" if options.pair == "bert" else "base_table_gpt2",
        PAIRS[options.pair][-1],
        [
            "name",
            "strategy",
            "seconds",
            "of these learning",
            "copying once",
            "peak over both states",
            "relative difference",
            "exact",
        ],
        rows,
        folder=options.results,
        options=vars(options),
    )


if __name__ == "__main__":
    main()
