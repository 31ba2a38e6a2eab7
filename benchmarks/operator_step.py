"""What a step of a learned operator costs, over a step of the large model.

GPT-2 from hidden 170 to 256 at 4,096 tokens a batch. Both steps are taken in
turns in this process, on the same batches; the ratio is the median over rounds
of the medians. Beside it stand the floor, the arithmetic of the expansion over
that of the large model's step, and the peak of memory that each adds.

    KERAS_BACKEND=jax python benchmarks/operator_step.py
"""

import statistics
import time

import keras
import numpy as np
from report import Flags, publish

import kgrow
from kgrow.growth.context import Task
from kgrow.growth.operator_fit import OperatorModel
from kgrow.strategies import LiGO, Mango

SMALL = dict(
    hidden_dim=170,
    num_heads=2,
    head_dim=85,
    intermediate_dim=680,
    num_layers=3,
)
LARGE = dict(
    hidden_dim=256,
    num_heads=2,
    head_dim=128,
    intermediate_dim=1024,
    num_layers=6,
)
OPERATORS = {"ligo": LiGO, "mango": Mango}
QUICK = {"rounds": 1, "steps": 1, "batch": 1, "length": 8, "vocabulary": 32}


def make(config, vocabulary, length):
    model = kgrow.models.GPT2(
        vocabulary_size=vocabulary,
        max_sequence_length=length,
        dropout=0.0,
        **config,
    )
    model.compile(
        keras.optimizers.Adam(1e-4),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def operator_model(small, large_config, strategy):
    """The model whose training is the operator's."""
    source = small.architecture
    network, spec = source.build(source.check(large_config))
    task = Task(small, network, large_config, None, 0)
    parameters, make_plan = strategy.operator(source.spec, spec, 0)
    model = OperatorModel(
        {n: v.astype("float32") for n, v in parameters.items()},
        make_plan,
        task.values,
        network,
        small.compute_loss,
    )
    model.compile(optimizer=keras.optimizers.Adam(1e-4))
    return model


def step(model, x, y):
    start = time.perf_counter()
    model.train_on_batch(x, y)
    return time.perf_counter() - start


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3, help="a round")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--only", nargs="*", choices=list(OPERATORS))
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.batch, options.length)
    x = rng.integers(options.vocabulary, size=shape, dtype="int32")
    y = np.roll(x, -1, 1)
    rows = []
    for name in options.only or OPERATORS:
        strategy = OPERATORS[name]()
        model = make(SMALL, options.vocabulary, options.length)
        large = make(LARGE, options.vocabulary, options.length)
        fitted = operator_model(model, LARGE, strategy)
        for m in (large, fitted):
            for _ in range(2):
                step(m, x, y)
        ratios, seconds = [], []
        for _ in range(options.rounds):
            times = {"large": [], "operator": []}
            for _ in range(options.steps):
                times["large"].append(step(large, x, y))
                times["operator"].append(step(fitted, x, y))
            medians = {k: statistics.median(v) for k, v in times.items()}
            ratios.append(medians["operator"] / medians["large"])
            seconds.append(medians["large"])
        rows.append(
            [
                name,
                statistics.median(seconds),
                statistics.median(ratios),
                min(ratios),
                max(ratios),
            ]
        )
        print(rows[-1], flush=True)
    publish(
        "operator_step",
        "Seconds of the large model's step, and the operator's step over it",
        ["operator", "large step", "ratio", "lowest", "highest"],
        rows,
        folder=options.results,
        small=SMALL,
        large=LARGE,
        options=vars(options),
    )


if __name__ == "__main__":
    main()
