"""What a step costs while gates are opening, over a step of the plain model.

GPT-2 of one size, plain and with gates along each dimension and along all of
them at once, and after its gates have opened and gone. All models take turns
on the same batches in this process; the ratio is the median over rounds of the
medians.

    KERAS_BACKEND=jax python benchmarks/gate_step.py
"""

import statistics
import time

import keras
import numpy as np
from report import Flags, publish

import kgrow
from kgrow.strategies import MSG

BEFORE = dict(
    hidden_dim=192, num_heads=3, intermediate_dim=768, num_layers=3, head_dim=64
)
AFTER = dict(
    hidden_dim=256,
    num_heads=4,
    intermediate_dim=1024,
    num_layers=6,
    head_dim=64,
)
GATED = {
    "hidden": ["hidden_dim"],
    "ffn": ["intermediate_dim"],
    "heads": ["num_heads"],
    "depth": ["num_layers"],
    "all four": ["hidden_dim", "intermediate_dim", "num_heads", "num_layers"],
}
QUICK = {"rounds": 1, "steps": 1, "batch": 1, "length": 8, "vocabulary": 32}


def make(family, options, **sizes):
    model = getattr(kgrow.models, family)(
        vocabulary_size=options.vocabulary,
        max_sequence_length=options.length,
        dropout=0.0,
        **sizes,
    )
    model.compile(
        keras.optimizers.Adam(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def gated(family, options, fields, ramp):
    """The large model with gates along some of its dimensions."""
    small = {**AFTER, **{f: BEFORE[f] for f in fields}}
    model = make(family, options, **small)
    target = {f: AFTER[f] for f in fields}
    model.grow(target, MSG(ramp, initializer="layer"), seed=0)
    return model


def step(model, x, y):
    start = time.perf_counter()
    model.train_on_batch(x, y)
    return time.perf_counter() - start


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--family", default="GPT2", choices=["GPT2", "BERT"])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=3, help="a round")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=2048)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.batch, options.length)
    x = rng.integers(options.vocabulary, size=shape, dtype="int32")
    y = np.roll(x, -1, 1)
    family = options.family
    models = {"plain": make(family, options, **AFTER)}
    for name, fields in GATED.items():
        models[name] = gated(family, options, fields, 10**6)
    models["opened"] = gated(family, options, GATED["all four"], 1)
    models["opened"].force_open_gates()
    for model in models.values():
        for _ in range(2):
            step(model, x, y)
    rounds = []
    for number in range(options.rounds):
        times = {name: [] for name in models}
        for _ in range(options.steps):
            for name, model in models.items():
                times[name].append(step(model, x, y))
        medians = {k: statistics.median(v) for k, v in times.items()}
        rounds.append(medians)
        print(f"round {number + 1} of {options.rounds}", flush=True)
    rows = []
    for name in models:
        ratios = [r[name] / r["plain"] for r in rounds]
        seconds = statistics.median(r[name] for r in rounds)
        rows.append(
            [name, seconds, statistics.median(ratios), min(ratios), max(ratios)]
        )
    publish(
        "gate_step" if family == "GPT2" else f"gate_step_{family.lower()}",
        f"Seconds of a training step of {family}, and over the plain one's",
        ["gates", "seconds", "ratio", "lowest", "highest"],
        rows,
        folder=options.results,
        options=vars(options),
        before=BEFORE,
        after=AFTER,
    )


if __name__ == "__main__":
    main()
