"""What does growing save? The operators of the papers, side by side.

A model of one size is trained from scratch at several budgets, and arrived at
by growing in a dozen ways. One command does a family, and goes on where it was
broken off:

    KERAS_BACKEND=jax python benchmarks/savings.py GPT2
    KERAS_BACKEND=jax python benchmarks/savings.py BERT --minutes 120
    KERAS_BACKEND=jax python benchmarks/savings.py ViT --seeds 5
    KERAS_BACKEND=jax python benchmarks/savings.py GPT2 --text notes \
        --tokenizer subwords --vocabulary 4096

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
large model is timed first. Beside the loss, in nats a token, stands that in
bits a byte, by which runs with other tokenizers compare; hidden tokens and
images have none.

`--size gpt2-124m` sets the sizes of GPT-2, for one H200, where with `--dtype
mixed_bfloat16 --tokenizer subwords --vocabulary 50257` there are 124 million
parameters. That has not been tried on such a device.
"""

import json
import math
import pathlib
import time
import warnings

import keras
import numpy as np
from pictures import draw
from report import Flags, add_text_flags, publish, text_of, text_suffix
from rich.progress import Progress

import kgrow
from kgrow.callbacks import Growth, Ledger, SubModels
from kgrow.datasets.images import digits
from kgrow.schedules import GrowthSchedule, Stage
from kgrow.strategies import (
    AKI,
    MSG,
    Combine,
    KnowledgeInheritance,
    LiGO,
    Mango,
)

BUDGETS = (0.4, 0.55, 0.7, 1.0)  # references, of the longest
GROWN = 0.7  # how long runs from a small model train on
LOOKS = 8  # readings of the validation loss a run

SIZES = {
    "small": {},
    "gpt2-124m": {
        "hidden": 768,
        "head_size": 64,
        "layers": 12,
        "length": 1024,
        "batch": 16,
        "rate": 6e-4,
        "operator": 100,
        "minutes": 24 * 60,
    },
}
QUICK = {
    "steps": 3 * LOOKS,
    "seeds": 1,
    "length": 16,
    "batch": 2,
    "operator": 2,
}


def sizes(options):
    hidden, layers = options.hidden, options.layers
    return dict(
        hidden_dim=hidden,
        num_heads=hidden // options.head_size,
        head_dim=options.head_size,
        intermediate_dim=4 * hidden,
        num_layers=layers,
    )


def halves(options):
    """Half of everything, but for the size of a head."""
    found = {field: n // 2 for field, n in sizes(options).items()}
    return {**found, "head_dim": options.head_size}


class Text:
    """Language models on a text, see `kgrow.datasets.text.text`."""

    def __init__(self, options, masked):
        self.options, self.masked = options, masked
        self.text = text_of(options, options.out)
        self.family = kgrow.models.BERT if masked else kgrow.models.GPT2
        self.fields = dict(
            # The mask is a token more.
            vocabulary_size=self.text.vocabulary_size + masked,
            max_sequence_length=options.length,
            dropout=0.0,
            dtype=options.dtype,
        )

    def train(self, seed):
        return self.text.dataset(
            "train",
            self.options.length,
            self.options.batch,
            seed=seed,
            masked=self.masked,
        )

    def test(self):
        return self.text.dataset(
            "validation", self.options.length, 64, steps=16, masked=self.masked
        )

    def bits_per_byte(self, loss):
        """A validation loss in bits a byte, or `None`."""
        if self.masked:
            return None
        return self.text.bits_per_byte(loss, self.test())

    def facts(self):
        return {"text": str(self.text), "corpus": self.text.fingerprint}


class Digits:
    """A Vision Transformer on scikit-learn's digits."""

    family = kgrow.models.ViT

    def __init__(self, options):
        self.options = options
        self.fields = dict(
            image_size=8,
            patch_size=2,
            num_channels=1,
            num_classes=10,
            dtype=options.dtype,
        )

    def train(self, seed):
        return digits(self.options.batch, seed=seed)

    def test(self):
        return digits(359, split="test")

    def bits_per_byte(self, loss):
        return None

    def facts(self):
        return {}


def task_of(options):
    if options.family == "ViT":
        said = options.text, options.tokenizer, options.vocabulary
        if said != ("stdlib", "bytes", None):
            raise SystemExit("ViT learns from images, and takes no text.")
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
            "net2net+stack": (Combine("net2net", "stack"), ()),
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
            schedule = self.schedules()[name]()
            start = {**sizes(self.options), **schedule.sizes[0]}
            model = self.compiled(self.make(start, seed), self.steps)
            growth = Growth(schedule, verbose=0)
            self.fit(model, name, seed, self.steps, "scratch", [growth])
        return self.path(name, seed)

    def schedules(self):
        """`{name: a function that makes the schedule}`: a schedule that does
        not fit the model is an error only if it is run."""
        ramp = max(1, self.steps // 20)
        return {
            "msg": lambda: of(self.published("Sch1-B"), lambda: MSG(ramp)),
            "stackbert": lambda: of(
                self.published("StackBERT-tuned"), lambda: "stack"
            ),
            "mslt": lambda: of(self.published("MSLT"), lambda: "mslt"),
            "one-jump": self.one_jump,
            "compoundgrow": self.compoundgrow,
        }

    def one_jump(self):
        """One block for most of the run, then all of them."""
        layers = sizes(self.options)["num_layers"]
        until = rounded(0.6 * self.steps)
        return GrowthSchedule(
            [
                Stage(until, {"num_layers": 1}),
                Stage(self.steps, {"num_layers": layers}, "stack"),
            ]
        )

    def compoundgrow(self):
        """Half the blocks and feedforward units, then all of both."""
        final = sizes(self.options)
        fields = ("num_layers", "intermediate_dim")
        half = {field: max(1, final[field] // 2) for field in fields}
        whole = {field: final[field] for field in fields}
        return GrowthSchedule(
            [
                Stage(rounded(0.5 * self.steps), half),
                Stage(self.steps, whole, "compoundgrow"),
            ]
        )

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
    stages = []
    for number, stage in enumerate(schedule.stages):
        stage = stage.replaced(learning_rate=None)
        if number and stage.config:
            stage = stage.replaced(
                strategy=strategy(), ramp=None, optimizer_state="carry"
            )
        stages.append(stage)
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


def parse(args=None):
    parser = Flags(__doc__, QUICK, SIZES)
    parser.add_argument(
        "family", nargs="?", choices=["GPT2", "BERT", "ViT"], default="GPT2"
    )
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--steps", type=int, help="in place of --minutes")
    # Sch1-B goes through two thirds of it, and half models need even counts.
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--head-size", type=int, default=16)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--share", type=float, default=0.4)
    parser.add_argument("--operator", type=int, default=20, help="steps")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "mixed_bfloat16"]
    )
    add_text_flags(parser)
    parser.add_argument(
        "--out", type=pathlib.Path, help="folder of the runs, and of subwords"
    )
    options = parser.parse_args(args)
    options.name = name_of(options)
    if options.out is None:
        options.out = pathlib.Path("runs")
        if options.quick:
            options.out /= "quick"
        options.out /= options.name
    return options


def name_of(options):
    """What the result is called, by what is not as usual."""
    name = f"savings_{options.family.lower()}{text_suffix(options)}"
    if options.size != "small":
        name += f"_{options.size}"
    if options.dtype != "float32":
        name += f"_{options.dtype}"
    return name


# What makes runs of one folder comparable.
SETTINGS = (
    "family",
    "hidden",
    "head_size",
    "layers",
    "length",
    "batch",
    "rate",
    "share",
    "operator",
    "dtype",
    "text",
    "tokenizer",
    "vocabulary",
)


def check_settings(options):
    """Refuses a folder whose runs were made with other flags.

    Raises:
        SystemExit: they were, and which.
    """
    settings = {name: getattr(options, name) for name in SETTINGS}
    path = options.out / "settings.json"
    if not path.exists():
        path.write_text(json.dumps(settings))
        return
    before = json.loads(path.read_text())
    changed = [
        f"--{name.replace('_', '-')} {before.get(name)}"
        for name, value in settings.items()
        if before.get(name) != value
    ]
    if changed:
        raise SystemExit(
            f"The runs in {options.out} were made with {', '.join(changed)}. "
            "Say so again, or name another folder with --out."
        )


def bits_per_byte(task, found):
    """`{run: [of each seed]}` at the runs' ends; none without bytes."""
    runs = {}
    for run in [*found.reference, *found.runs]:
        loss = run.values("val_loss")[-1][1]
        bits = task.bits_per_byte(loss)
        if bits is not None:
            runs.setdefault(run.name, []).append(bits)
    return runs


COLUMNS = [
    "run",
    "loss",
    "TFLOP",
    "saving %",
    "95 %",
    "saving without the small model %",
    "better at equal FLOPs",
]


def summary(found):
    """A line a method: its end, its cost, and what it saved of the cost of a
    reference that ends as good; see `kgrow.savings` for all the answers."""
    lines = []
    for runs in grouped(found.reference):
        ends = [run.values("val_loss")[-1] for run in runs]
        lines.append(
            [
                runs[0].name,
                spread([value for _, value in ends], 3),
                spread([reading["flops"] / 1e12 for reading, _ in ends], 3),
                *[""] * 4,
            ]
        )
    for row in found.rows:
        runs = [run for run in found.runs if run.name == row.name]
        flops = [
            (run.source_cost("flops") + run.values("val_loss")[-1][0]["flops"])
            / 1e12
            for run in runs
        ]
        with_small, without = (row.own_end["flops", s] for s in (True, False))
        gain = row.equal_flops[True]
        lines.append(
            [
                row.name,
                spread(row.final, 3),
                spread(flops, 3),
                percent(with_small),
                between(with_small),
                percent(without),
                "" if gain.mean is None else f"{gain.mean:.3f}",
            ]
        )
    return lines


def grouped(runs):
    names = list(dict.fromkeys(run.name for run in runs))
    return [[run for run in runs if run.name == name] for name in names]


def spread(values, digits):
    mean = f"{np.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {np.std(values, ddof=1):.{digits}f}"


def percent(estimate):
    """A saving, with a star for each seed whose line was drawn on."""
    if estimate.saving is None:
        return "–"
    stars = "*" * estimate.extrapolated
    if estimate.spread is None:
        return f"{100 * estimate.saving:.0f}{stars}"
    return f"{100 * estimate.saving:.0f} ± {100 * estimate.spread:.0f}{stars}"


def between(estimate):
    if estimate.interval is None:
        return ""
    low, high = estimate.interval
    return f"{100 * low:.0f} to {100 * high:.0f}"


def main(args=None):
    options = parse(args)
    options.out.mkdir(parents=True, exist_ok=True)
    check_settings(options)
    plan = options.out / "steps.json"
    if plan.exists() and not options.steps:
        # Runs that are there were sized before.
        steps = json.loads(plan.read_text())
    else:
        steps = steps_for(options)
        plan.write_text(json.dumps(steps))
    bench = Bench(options, steps)
    scratch, grown = bench.run(range(options.seeds))
    found = kgrow.savings(grown, scratch)
    print(found)
    bits = bits_per_byte(bench.task, found)
    for name, values in bits.items():
        ends = ", ".join(f"{value:.4f}" for value in values)
        print(f"{name}: {ends} bits a byte")
    settings = {k: v for k, v in vars(options).items() if k != "out"}
    path = publish(
        options.name,
        f"{options.family}: {steps} steps, {options.seeds} seeds",
        COLUMNS,
        summary(found),
        folder=options.results,
        options=settings,
        steps=steps,
        bits_per_byte=bits,
        answers=found.lines(),
        notes=found.notes,
        **bench.task.facts(),
    )
    print(draw(path))


if __name__ == "__main__":
    main()
