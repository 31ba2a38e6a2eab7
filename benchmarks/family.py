"""A family of three sizes from one run, against runs from scratch.

A small GPT-2, S, trains on text, by default the bytes of Python's standard
library's source. It grows to M, trains, grows to L, trains, and is projected
back to M and to S. What is printed is the validation loss of each size: as it
was before its growth, right after the projection, after some more steps, and
from scratch at as many FLOPs as the whole run took until then. All train at one
constant rate.

    KERAS_BACKEND=jax python benchmarks/family.py
"""

import pathlib
import statistics

import keras
from report import Flags, add_text_flags, publish, text_of, text_suffix

import kgrow
from kgrow.backend.flops import training_flops

LENGTH, BATCH = 64, 8
SIZES = {
    "S": dict(hidden_dim=32, num_heads=2, intermediate_dim=128, num_layers=2),
    "M": dict(hidden_dim=64, num_heads=4, intermediate_dim=256, num_layers=2),
    "L": dict(hidden_dim=64, num_heads=4, intermediate_dim=256, num_layers=4),
}
# The growth that each size begins with.
STRATEGIES = {"M": "lemon", "L": "net2net"}
RATE = 1e-3
QUICK = {"steps": 2, "more": 1, "seeds": 1}
COLUMNS = ["kept", "projected", "and trained", "scratch"]


def make_model(text, size):
    model = kgrow.models.GPT2(
        vocabulary_size=text.vocabulary_size,
        max_sequence_length=LENGTH,
        head_dim=16,
        dropout=0.0,
        **SIZES[size],
    )
    model.compile(
        keras.optimizers.Adam(RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


class Run:
    """A model in training, with the FLOPs that it has cost.

    Args:
        model: `GrowableModel`.
        train: dataset of batches.
        valid: the same.
    """

    def __init__(self, model, train, valid):
        self.model, self.train, self.valid = model, train, valid
        self.flops = 0

    def fit(self, steps):
        self.model.fit(self.train, epochs=1, steps_per_epoch=steps, verbose=0)
        self.flops += steps * self.step_flops()

    def step_flops(self):
        shape = keras.KerasTensor((BATCH, LENGTH), dtype="int32")
        return training_flops(self.model.network, shape)

    def loss(self):
        return self.model.evaluate(self.valid, verbose=0)


def family(run, options, seed):
    """`({size: {column: loss}}, {size: FLOPs})` of one run."""
    losses = {size: {} for size in SIZES}
    for size, sizes in SIZES.items():
        if size in STRATEGIES:
            run.model.grow(sizes, STRATEGIES[size], seed=seed)
        run.fit(options.steps)
        losses[size]["kept"] = run.loss()
    flops = {"L": run.flops}
    for size in ("M", "S"):
        run.model.project()
        losses[size]["projected"] = run.loss()
        run.fit(options.more)
        losses[size]["and trained"] = run.loss()
        flops[size] = run.flops
    return losses, flops


def scratch(text, size, flops, train, valid, seed):
    """The loss of a size that trained alone for so many FLOPs."""
    keras.utils.set_random_seed(seed)
    run = Run(make_model(text, size), train, valid)
    run.fit(max(1, round(flops / run.step_flops())))
    return run.loss()


def main(args=None):
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--steps", type=int, default=400, help="of each size")
    parser.add_argument("--more", type=int, default=100, help="after the way")
    parser.add_argument("--seeds", type=int, default=3)
    add_text_flags(parser)
    options = parser.parse_args(args)
    text = text_of(options, pathlib.Path("runs") / "family")
    train = text.dataset("train", LENGTH, BATCH, seed=0)
    valid = text.dataset("validation", LENGTH, 32, steps=16)
    found = {size: {column: [] for column in COLUMNS} for size in SIZES}
    for seed in range(options.seeds):
        keras.utils.set_random_seed(seed)
        run = Run(make_model(text, "S"), train, valid)
        losses, flops = family(run, options, seed)
        for size, by_column in losses.items():
            by_column["scratch"] = scratch(
                text, size, flops[size], train, valid, seed
            )
            print(seed, size, by_column, flush=True)
            for column, loss in by_column.items():
                found[size][column].append(loss)
    publish(
        f"family{text_suffix(options)}",
        f"Validation loss (nats a token, {text}), {options.seeds} seeds: kept "
        "before its growth, projected, and trained on; from scratch at equal "
        "FLOPs",
        ["size", *COLUMNS],
        [[size, *map(_spread, found[size].values())] for size in SIZES],
        folder=options.results,
        corpus=text.fingerprint,
        losses=found,
        sizes=SIZES,
        strategies=STRATEGIES,
        batch=[BATCH, LENGTH],
        options=vars(options),
    )


def _spread(values):
    """Mean and standard deviation over seeds, as text."""
    if not values:
        return ""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.3f} ± {spread:.3f}"


if __name__ == "__main__":
    main()
