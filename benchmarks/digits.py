"""Does growing pay on images? A ViT on digits, grown and from scratch.

A Vision Transformer of hidden 64 and 4 layers learns scikit-learn's digits, at
several budgets of training FLOPs. From scratch, the whole budget goes to the
large model. A grown run spends a part of it on a small model, grows that by a
strategy, and spends what is left on the large one; the steps in which an
operator is learned are taken off as well, at what they cost. So all runs of a
column have cost the same. Every stage has a learning rate of its own, warmed
up and decayed to zero at the stage's end, in small and large models and from
scratch alike.

`stack` grows in depth only, and starts from a model of the full width. Every
figure is a mean over seeds with its standard deviation; differences are taken
seed by seed, against the run from scratch of the same budget.

    KERAS_BACKEND=jax python benchmarks/digits.py
"""

import statistics
import time
import warnings

import keras
from operator_step import operator_model
from pictures import draw
from report import Flags, publish

import kgrow
from kgrow.analysis.ledger import CostRecord, StageCost
from kgrow.backend.flops import training_flops
from kgrow.datasets.images import digits
from kgrow.models import ViT
from kgrow.strategies import MSG, Combine, LiGO

LARGE = dict(hidden_dim=64, num_heads=4, intermediate_dim=256, num_layers=4)
SMALL = dict(hidden_dim=32, num_heads=2, intermediate_dim=128, num_layers=2)
SHALLOW = {**LARGE, "num_layers": 2}
SCRATCH = "scratch"
QUICK = {"steps": [8], "operator": 2, "ramp": 2, "seeds": 1}


def strategies(options):
    """`{name: (sizes to start from, strategy)}`."""
    return {
        "net2net+stack": (SMALL, lambda: Combine("net2net", "stack")),
        "lemon": (SMALL, lambda: "lemon"),
        "ligo": (SMALL, lambda: LiGO(steps=options.operator, verbose=0)),
        "msg": (SMALL, lambda: MSG(options.ramp)),
        "stack": (SHALLOW, lambda: "stack"),
    }


def make(options, sizes):
    return ViT(
        image_size=8,
        patch_size=options.patch,
        num_channels=1,
        num_classes=10,
        **sizes,
    )


def compiled(options, model, steps):
    """The model with an optimizer for a stage of so many steps."""
    warmup = max(1, round(options.warmup * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        0.0,
        max(1, steps - warmup),
        warmup_target=options.rate,
        warmup_steps=warmup,
    )
    model.compile(
        keras.optimizers.AdamW(rate, weight_decay=0.05, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def cost(options, model):
    """FLOPs of a training step."""
    return training_flops(model, keras.KerasTensor((options.batch, 8, 8, 1)))


class Run:
    """One run: what it has spent, and how far it came."""

    def __init__(self, options, name, seed):
        self.options = options
        self.seed = seed
        self.ledger = CostRecord(name)
        self.steps = 0
        keras.utils.set_random_seed(seed)

    def fit(self, model, steps, source=False):
        """Trains a model for a stage, on the data that come next."""
        start = time.perf_counter()
        price = cost(self.options, model)
        compiled(self.options, model, steps).fit(
            self._data(),
            epochs=1,
            steps_per_epoch=steps,
            shuffle=False,
            verbose=0,
        )
        self._record("small" if source else "large", steps, price, start)

    def grow(self, model, strategy):
        """Grows the model; what an operator took is spent."""
        start = time.perf_counter()
        strategy = kgrow.strategies.get(strategy)
        price = 0
        if isinstance(strategy, LiGO):
            price = cost(self.options, operator_model(model, LARGE, strategy))
        receipt = model.grow(LARGE, strategy, data=self._data(), seed=self.seed)
        steps = receipt.learned["steps"] if receipt.learned else 0
        self._record("operator", steps, price, start)

    def finish(self, model, test):
        """Loss and error (in per cent) on the test split."""
        loss, accuracy = model.evaluate(test, verbose=0)
        self.loss, self.error = loss, 100 * (1 - accuracy)
        print(
            f"{self.ledger.name:>22} seed {self.seed}: loss {loss:.3f}, error "
            f"{self.error:.1f} %, {self.ledger.total():.3g} FLOPs, "
            f"{self.ledger.total('seconds'):.0f} s",
            flush=True,
        )
        return self

    def _data(self):
        return digits(self.options.batch, seed=self.seed, first=self.steps)

    def _record(self, name, steps, price, start):
        self.steps += steps
        self.ledger.record(
            StageCost(
                name,
                steps,
                steps * self.options.batch,
                steps * price,
                time.perf_counter() - start,
                source=name == "small",
            )
        )


def from_scratch(options, steps, seed, test):
    run = Run(options, f"{SCRATCH} {steps}", seed)
    model = make(options, LARGE)
    run.fit(model, steps)
    return run.finish(model, test)


def grown(options, name, steps, seed, test):
    """A run that costs as much as `steps` steps of the large model."""
    sizes, strategy = strategies(options)[name]
    run = Run(options, f"{name} {steps}", seed)
    large = cost(options, make(options, LARGE))
    budget = steps * large
    model = make(options, sizes)
    part = options.share * budget
    run.fit(model, round(part / cost(options, model)), source=True)
    run.grow(model, strategy())
    left = budget - run.ledger.total()
    run.fit(model, round(left / large))
    return run.finish(model, test)


def main():
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--steps", type=int, nargs="*", default=[150, 500])
    parser.add_argument("--share", type=float, default=0.2, help="the small's")
    parser.add_argument("--operator", type=int, default=20, help="steps")
    parser.add_argument("--ramp", type=int, default=40)
    parser.add_argument("--patch", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--warmup", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    test = digits(359, split="test")
    names = [
        n for n in strategies(options) if not options.only or n in options.only
    ]
    runs = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(options.seeds):
            for steps in options.steps:
                runs[SCRATCH, steps, seed] = from_scratch(
                    options, steps, seed, test
                )
                for name in names:
                    runs[name, steps, seed] = grown(
                        options, name, steps, seed, test
                    )
            # After every seed, so that a run that is broken off is of use.
            show(options, [SCRATCH, *names], runs, range(seed + 1))


def show(options, names, runs, seeds):
    """Publishes the runs of some seeds."""
    rows = [
        summary(
            name,
            steps,
            [runs[name, steps, s] for s in seeds],
            [runs[SCRATCH, steps, s] for s in seeds],
        )
        for steps in options.steps
        for name in names
    ]
    path = publish(
        "digits",
        f"Digits, budgets in steps of the large model, {len(seeds)} seeds",
        [
            "budget",
            "run",
            "TFLOP",
            "error %",
            "against scratch",
            "loss",
            "against scratch",
            "seconds",
        ],
        rows,
        folder=options.results,
        large=LARGE,
        small=SMALL,
        options=vars(options),
        runs=[
            {
                "run": name,
                "steps": steps,
                "seed": seed,
                "loss": run.loss,
                "error": run.error,
                "stages": {s.name: s.flops for s in run.ledger.stages},
            }
            for (name, steps, seed), run in runs.items()
        ],
    )
    print(draw(path))


def summary(name, steps, mine, scratch):
    def difference(field, kind):
        if name == SCRATCH:
            return ""
        pairs = zip(mine, scratch, strict=True)
        return spread(
            [getattr(a, field) - getattr(b, field) for a, b in pairs], kind
        )

    return [
        steps,
        name,
        spread([r.ledger.total() / 1e12 for r in mine], ".4f"),
        spread([r.error for r in mine], ".1f"),
        difference("error", "+.1f"),
        spread([r.loss for r in mine], ".3f"),
        difference("loss", "+.3f"),
        spread([r.ledger.total("seconds") for r in mine], ".0f"),
    ]


def spread(values, kind):
    mean = format(statistics.mean(values), kind)
    if len(values) < 2:
        return mean
    deviation = format(statistics.stdev(values), kind.lstrip("+"))
    return f"{mean} ± {deviation}"


if __name__ == "__main__":
    main()
