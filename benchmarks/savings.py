"""What does growing save? The operators of the papers, side by side.

A model of one size is trained from scratch at several budgets, and arrived at
by growing in a dozen ways. One command does a family, and goes on where it was
broken off:

    KERAS_BACKEND=jax python benchmarks/savings.py GPT2
    KERAS_BACKEND=jax python benchmarks/savings.py BERT --minutes 120
    KERAS_BACKEND=jax python benchmarks/savings.py ViT --seeds 5

All learning rates are warmed up and decayed to zero at their own run's end,
those of small models too. What a run costs is booked by
`kgrow.callbacks.Ledger`: growing, compiling and learning operators included.
Two kinds of runs:

- From a small model, half as wide and half as deep, trained for `--share` of
  the steps: `aki` (bert2BERT, with its first stage of parts of the model),
  `ki`, `ligo`, `mango`, `lemon`, `net2net+stack`. They train on for as many
  steps as the reference of 70 %. The small model counts, and is taken off in
  a column of its own.
- In stages, within one run of as many steps as the longest reference:
  `msg` (Sch1-B), `compoundgrow`, `stackbert`, `mslt`, `one-jump` (depth 1
  until 60 %).

`kgrow.savings` reads what was saved off the references, seed by seed, with a
confidence interval. `--minutes` sizes the runs to the machine: a step of the
large model is timed first.
"""

import argparse
import json
import math
import pathlib
import time
import warnings

import keras
from report import RESULTS, publish
from rich.progress import Progress

import kgrow
from kgrow.callbacks import Growth, Ledger, SubModels
from kgrow.corpus import VOCABULARY_SIZE, ByteDataset
from kgrow.images import digits
from kgrow.masked_corpus import MASK, MaskedByteDataset
from kgrow.schedules import GrowthSchedule, Stage
from kgrow.strategies import AKI, MSG, Copy, KnowledgeInheritance, LiGO, Mango

BUDGETS = (0.4, 0.55, 0.7, 1.0)  # references, of the longest
GROWN = 0.7  # how long runs from a small model train on
LOOKS = 8  # readings of the validation loss a run


def sizes(options):
    hidden, layers = options.hidden, options.layers
    return dict(
        hidden_dim=hidden,
        num_heads=hidden // 32,
        intermediate_dim=4 * hidden,
        num_layers=layers,
    )


def halves(options):
    return {field: n // 2 for field, n in sizes(options).items()}


class Text:
    """Language models on the source of Python's standard library."""

    def __init__(self, options, masked):
        self.options = options
        self.kind = MaskedByteDataset if masked else ByteDataset
        self.family = kgrow.models.BERT if masked else kgrow.models.GPT2
        self.fields = dict(
            vocabulary_size=MASK + 1 if masked else VOCABULARY_SIZE,
            max_sequence_length=options.length,
            dropout=0.0,
        )

    def train(self, seed):
        return self.kind(
            "train", self.options.length, self.options.batch, seed=seed
        )

    def test(self):
        return self.kind("validation", self.options.length, 64, steps=16)


class Digits:
    """A Vision Transformer on scikit-learn's digits."""

    family = kgrow.models.ViT
    fields = dict(image_size=8, patch_size=2, num_channels=1, num_classes=10)

    def __init__(self, options):
        self.options = options

    def train(self, seed):
        return digits(self.options.batch, seed=seed)

    def test(self):
        return digits(359, split="test")


def task_of(options):
    if options.family == "ViT":
        return Digits(options)
    return Text(options, masked=options.family == "BERT")


class Bench:
    """All runs of one family, each in a file of its own.

    Args:
        options: the command's.
        steps: int, of the longest reference.
    """

    def __init__(self, options, steps):
        self.options, self.steps = options, steps
        self.task = task_of(options)
        self.folder = options.out

    def make(self, fields, seed):
        keras.utils.set_random_seed(seed)
        return self.task.family(**{**self.task.fields, **fields})

    def compiled(self, model, steps):
        warmup = max(1, steps // 20)
        rate = keras.optimizers.schedules.CosineDecay(
            0.0,
            max(1, steps - warmup),
            warmup_target=self.options.rate,
            warmup_steps=warmup,
        )
        model.compile(
            keras.optimizers.AdamW(rate, beta_2=0.99, clipnorm=1.0),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        return model

    def path(self, name, seed):
        return self.folder / f"{name.replace(' ', '_')}-{seed}.jsonl"

    def is_done(self, name, seed):
        path = self.path(name, seed)
        if not path.exists():
            return False
        if kgrow.Run.load(path).finished:
            return True
        path.unlink()
        return False

    def fit(self, model, name, seed, steps, source, callbacks=()):
        part = max(1, math.ceil(steps / LOOKS))
        costs = Ledger(
            self.path(name, seed), source=source, name=name, seed=seed
        )
        model.fit(
            self.task.train(seed),
            epochs=math.ceil(steps / part),
            steps_per_epoch=part,
            shuffle=False,
            verbose=0,
            validation_data=self.task.test(),
            callbacks=[*callbacks, costs],
        )

    # The runs

    def reference(self, part, seed):
        name = f"scratch {part:.0%}"
        if not self.is_done(name, seed):
            steps = rounded(part * self.steps)
            model = self.compiled(self.make(sizes(self.options), seed), steps)
            self.fit(model, name, seed, steps, "scratch")
        return self.path(name, seed)

    def small(self, seed):
        """The small model, trained once a seed."""
        weights = self.folder / f"small-{seed}.weights.h5"
        if not (self.is_done("small", seed) and weights.exists()):
            steps = rounded(self.options.share * self.steps)
            model = self.compiled(self.make(halves(self.options), seed), steps)
            self.path("small", seed).unlink(missing_ok=True)
            self.fit(model, "small", seed, steps, "scratch")
            # The network's alone: what was booked is in the small run's file.
            model.network.save_weights(weights)
        return self.path("small", seed), weights

    def from_small(self, name, seed):
        if not self.is_done(name, seed):
            source, weights = self.small(seed)
            model = self.make(halves(self.options), seed)
            model.network.load_weights(weights)
            steps = rounded(GROWN * self.steps)
            strategy, callbacks = self.operators(steps)[name]
            self.compiled(model, steps)
            model.grow(
                sizes(self.options),
                strategy,
                data=self.task.train(seed + 1000),
                seed=seed,
            )
            self.fit(model, name, seed, steps, str(source), callbacks)
        return self.path(name, seed)

    def operators(self, steps):
        """`{name: (strategy, callbacks)}`."""
        fitted = self.options.operator
        found = {
            "net2net+stack": (Copy("net2net", "stack"), ()),
            "lemon": ("lemon", ()),
            "ki": (KnowledgeInheritance(steps=max(1, steps // 2)), ()),
            "ligo": (LiGO(steps=fitted, verbose=0), ()),
            "mango": (Mango(steps=fitted, verbose=0), ()),
        }
        parts = ()
        if self.options.family != "ViT":
            depths = range(1, self.options.layers + 1)
            parts = [SubModels(list(depths), max(1, steps // 10))]
        found["aki"] = (AKI(), parts)
        return found

    def in_stages(self, name, seed):
        if not self.is_done(name, seed):
            schedule = self.schedules()[name]
            start = {**sizes(self.options), **schedule.sizes[0]}
            model = self.compiled(self.make(start, seed), self.steps)
            growth = Growth(schedule, verbose=0)
            self.fit(model, name, seed, self.steps, "scratch", [growth])
        return self.path(name, seed)

    def schedules(self):
        final, ramp = sizes(self.options), max(1, self.steps // 20)
        found = {
            "msg": of(self.published("Sch1-B"), lambda: MSG(ramp)),
            "stackbert": of(self.published("StackBERT-tuned"), lambda: "stack"),
            "mslt": of(self.published("MSLT"), lambda: "mslt"),
            "one-jump": GrowthSchedule(
                [
                    Stage(rounded(0.6 * self.steps), {"num_layers": 1}),
                    Stage(
                        self.steps,
                        {"num_layers": final["num_layers"]},
                        "stack",
                    ),
                ]
            ),
            "compoundgrow": GrowthSchedule(
                [
                    Stage(
                        rounded(0.5 * self.steps),
                        {
                            "num_layers": max(1, final["num_layers"] // 2),
                            "intermediate_dim": final["intermediate_dim"] // 2,
                        },
                    ),
                    Stage(
                        self.steps,
                        {
                            "num_layers": final["num_layers"],
                            "intermediate_dim": final["intermediate_dim"],
                        },
                        "compoundgrow",
                    ),
                ]
            ),
        }
        return found

    def published(self, name):
        schedule = kgrow.schedules.get(name)
        final = sizes(self.options)
        known = {f: n for f, n in final.items() if f in schedule.sizes[-1]}
        return schedule.resized(**known).scaled(total_steps=self.steps)

    def run(self, seeds):
        """All runs that are not done yet; `{name: paths}` of each kind."""
        names = [*self.operators(1), *self.schedules()]
        if self.options.only:
            names = [n for n in names if n in self.options.only]
        scratch, grown = [], {name: [] for name in names}
        total = len(seeds) * (len(BUDGETS) + len(names))
        with Progress() as bar, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            task = bar.add_task(self.options.family, total=total)
            for seed in seeds:
                for part in BUDGETS:
                    bar.update(task, description=f"scratch, seed {seed}")
                    scratch.append(self.reference(part, seed))
                    bar.advance(task)
                for name in names:
                    bar.update(task, description=f"{name}, seed {seed}")
                    staged = name in self.schedules()
                    way = self.in_stages if staged else self.from_small
                    grown[name].append(way(name, seed))
                    bar.advance(task)
        return scratch, grown


def of(schedule, strategy):
    """The same stages by one strategy, under one decaying rate."""
    first, *others = schedule.stages
    stages = [first.replaced(learning_rate=None)]
    for stage in others:
        stages.append(
            Stage(
                stage.until,
                stage.config,
                strategy(),
                optimizer_state="carry",
            )
        )
    return GrowthSchedule(stages, name=schedule.name)


def rounded(steps):
    return max(LOOKS, round(steps / LOOKS) * LOOKS)


def steps_for(options):
    """As many steps as fit the minutes, by the time that one takes."""
    if options.steps:
        return rounded(options.steps)
    bench = Bench(options, 2 * LOOKS)
    model = bench.compiled(bench.make(sizes(options), 0), 20)
    data = bench.task.train(0)
    model.fit(data, steps_per_epoch=4, epochs=1, verbose=0, shuffle=False)
    start = time.perf_counter()
    model.fit(data, steps_per_epoch=16, epochs=1, verbose=0, shuffle=False)
    step = (time.perf_counter() - start) / 16
    # In steps of the large model: references, six that grow from a small one,
    # five in stages at about half the cost; and compiling, some seconds each.
    runs = options.seeds * (len(BUDGETS) + 11)
    units = options.seeds * (sum(BUDGETS) + options.share + 6 * GROWN + 2.5)
    left = 60 * options.minutes - 15 * runs
    if left <= 0:
        raise SystemExit(
            f"{runs} runs take {15 * runs / 60:.0f} minutes to compile alone. "
            f"Received: --minutes {options.minutes}"
        )
    return rounded(left / units / step)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("family", choices=["GPT2", "BERT", "ViT"])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, help="in place of --minutes")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--operator", type=int, default=20, help="steps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    name = f"savings_{options.family.lower()}"
    options.out = options.out or pathlib.Path("runs") / name
    options.out.mkdir(parents=True, exist_ok=True)
    plan = options.out / "steps.json"
    if plan.exists() and not options.steps:
        # Runs that are there were sized before.
        steps = json.loads(plan.read_text())
    else:
        steps = steps_for(options)
        plan.write_text(json.dumps(steps))
    scratch, grown = Bench(options, steps).run(range(options.seeds))
    found = kgrow.savings(grown, scratch)
    print(found)
    backend = keras.backend.backend()
    print(found.plot(RESULTS / f"{name}_{backend}.png"))
    settings = {k: v for k, v in vars(options).items() if k != "out"}
    publish(
        name,
        f"{options.family}: {steps} steps, {options.seeds} seeds",
        ["table"],
        [[line] for line in found.to_markdown().splitlines()],
        options=settings,
        steps=steps,
    )


if __name__ == "__main__":
    main()
