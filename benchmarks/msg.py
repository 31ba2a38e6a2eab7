"""Does growing in stages pay? MSG's schedule against training from scratch.

A GPT-2 or BERT learns text, by default the bytes of the source of Python's
standard library. Grown runs follow MSG's Sch1-B, made smaller for the target
model: with gates, without them ("No Mask"), and by copies (net2net and
stacking); StackBERT's schedule grows in depth alone. All train for as many
steps as the longest run from scratch, on the same data in the same order.

What a grown run saves is read off runs from scratch of several lengths, each
with its own learning rate, decayed to zero at its own end: how many FLOPs such
a run needs for the grown run's loss, by interpolation, or, where a grown run
ends lower than the longest of them, by drawing the line on. All that a grown
run trains is counted, its small stages too. Every figure is a mean over seeds
with its standard deviation.

    KERAS_BACKEND=jax python benchmarks/msg.py
    KERAS_BACKEND=jax python benchmarks/msg.py --steps 4000 --hidden 192
    KERAS_BACKEND=jax python benchmarks/msg.py --text notes \
        --tokenizer subwords --vocabulary 2048
"""

import pathlib
import statistics
import time
import warnings

import keras
import numpy as np
from pictures import draw
from report import Flags, add_text_flags, publish, text_of, text_suffix

import kgrow
from kgrow.backend.flops import training_flops
from kgrow.callbacks import Growth
from kgrow.strategies import MSG, Combine

PARTS = (0.4, 0.55, 0.75, 1.0)  # of the longest run from scratch
QUICK = {"steps": 24, "length": 16, "batch": 2, "ramp": 2, "seeds": 1}


def target(options):
    return dict(
        hidden_dim=options.hidden,
        intermediate_dim=4 * options.hidden,
        num_heads=options.hidden // 32,
        num_layers=options.layers,
        head_dim=32,
    )


def schedules(options):
    """`{name: GrowthSchedule}`."""
    final = target(options)
    stages = kgrow.schedules.get("Sch1-B").resized(**final)
    stages = stages.scaled(total_steps=options.steps)
    stack = kgrow.schedules.get("StackBERT-tuned")
    known = {f: v for f, v in final.items() if f in stack.sizes[-1]}
    stack = stack.resized(**known).scaled(total_steps=options.steps)
    return {
        "msg": with_strategy(stages, lambda: MSG(options.ramp)),
        "no mask": with_strategy(stages, lambda: MSG(0)),
        "copies": with_strategy(stages, lambda: Combine("net2net", "stack")),
        "stackbert": with_strategy(stack, lambda: "stack"),
    }


def with_strategy(schedule, make):
    """The same stages by another strategy, under one decaying rate."""
    first, *others = schedule.stages
    stages = [first.replaced(learning_rate=None)]
    for stage in others:
        stages.append(
            kgrow.schedules.Stage(
                stage.until,
                stage.config,
                make(),
                optimizer_state="carry",
            )
        )
    return kgrow.schedules.GrowthSchedule(stages, name=schedule.name)


def is_masked(options):
    return options.family == "BERT"


def make(options, sizes, steps, seed):
    keras.utils.set_random_seed(seed)
    model = getattr(kgrow.models, options.family)(
        # The mask is a token more.
        vocabulary_size=options.data.vocabulary_size + is_masked(options),
        max_sequence_length=options.length,
        dropout=0.0,
        **sizes,
    )
    rate = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=options.rate, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(rate, beta_2=0.99, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def inputs_of(options):
    """What a batch looks like."""
    shape = options.batch, options.length
    tokens = keras.KerasTensor(shape, "int32")
    if not is_masked(options):
        return tokens
    data = options.data.dataset("validation", options.length, 1, masked=True)
    count = data.predictions
    places = keras.KerasTensor((options.batch, count), "int32")
    return {"token_ids": tokens, "masked_positions": places}


class Meter(keras.callbacks.Callback):
    """FLOPs and seconds of training, and the validation loss along the way."""

    def __init__(self, options, steps, valid):
        super().__init__()
        self.options, self.valid = options, valid
        self.looks = {round(steps * k / 8) for k in range(1, 9)}
        self.flops = self.seconds = 0.0
        self.taken, self.points = 0, []
        self._sizes = self._cost = None

    def on_train_batch_begin(self, batch, logs=None):
        sizes = self.model.growth_config
        if sizes != self._sizes:
            self._sizes = sizes
            self._cost = training_flops(self.model, inputs_of(self.options))
        self._start = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds += time.perf_counter() - self._start
        self.flops += self._cost
        self.taken += 1

    def look(self):
        loss = self.model.evaluate(self.valid, verbose=0)
        self.points.append((self.flops, loss, self.seconds))


def train(options, name, sizes, steps, seed, schedule=None):
    """One run: `Meter` with the validation loss at its end."""
    masked = is_masked(options)
    valid = options.data.dataset(
        "validation", options.length, 64, steps=16, masked=masked
    )
    model = make(options, sizes, steps, seed)
    meter = Meter(options, steps, valid)
    callbacks = [meter]
    if schedule is not None:
        # Before the meter, so that growths count as the larger model's steps.
        callbacks.insert(0, Growth(schedule, verbose=0))
    part = max(1, steps // 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = 0
        while done < steps:
            more = min(part, steps - done)
            rest = options.data.dataset(
                "train",
                options.length,
                options.batch,
                seed=seed,
                first=done,
                masked=masked,
            )
            model.fit(
                rest,
                epochs=1,
                steps_per_epoch=more,
                shuffle=False,
                verbose=0,
                callbacks=callbacks,
            )
            done += more
            meter.look()
    flops, loss, seconds = meter.points[-1]
    print(
        f"{name:>14} seed {seed}: loss {loss:.4f} after {flops:.3g} FLOPs, "
        f"{seconds:.0f} s",
        flush=True,
    )
    return meter


def flops_needed(scratch, loss):
    """FLOPs of a run from scratch, fully decayed, that ends with a loss; the
    line through the two nearest budgets is drawn on where none is beyond."""
    costs = np.log([m.points[-1][0] for m in scratch])
    losses = np.array([m.points[-1][1] for m in scratch])
    order = np.argsort(costs)
    costs, losses = costs[order], losses[order]
    index = int(np.clip(np.sum(losses > loss) - 1, 0, len(losses) - 2))
    slope = (costs[index + 1] - costs[index]) / (
        losses[index + 1] - losses[index]
    )
    return float(np.exp(costs[index] + slope * (loss - losses[index])))


def main(args=None):
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--family", default="GPT2", choices=["GPT2", "BERT"])
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--hidden", type=int, default=96)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--ramp", type=int, default=50)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*")
    add_text_flags(parser)
    options = parser.parse_args(args)
    options.data = text_of(options, pathlib.Path("runs") / "msg")
    chosen = schedules(options)
    print(chosen["msg"])
    sizes, seeds = target(options), range(options.seeds)
    scratch = {
        (part, seed): train(
            options,
            f"scratch {part:.0%}",
            sizes,
            round(part * options.steps),
            seed,
        )
        for seed in seeds
        for part in PARTS
    }
    grown = {
        (name, seed): train(
            options,
            name,
            {**sizes, **schedule.sizes[0]},
            options.steps,
            seed,
            schedule,
        )
        for seed in seeds
        for name, schedule in chosen.items()
        if not options.only or name in options.only
    }
    rows = [
        summary(f"scratch {part:.0%}", [scratch[part, s] for s in seeds])
        for part in PARTS
    ]
    for name in dict.fromkeys(name for name, _ in grown):
        runs = [grown[name, seed] for seed in seeds]
        shares = [
            run.points[-1][0]
            / flops_needed(
                [scratch[part, seed] for part in PARTS], run.points[-1][1]
            )
            for seed, run in zip(seeds, runs, strict=True)
        ]
        rows.append(summary(name, runs, shares))
    name = f"msg_{options.family.lower()}{text_suffix(options)}"
    settings = {k: v for k, v in vars(options).items() if k != "data"}
    path = publish(
        name,
        f"{options.family}: {options.steps} steps, {options.seeds} seeds",
        ["run", "loss", "TFLOP", "seconds", "saving %", "speed-up"],
        rows,
        folder=options.results,
        corpus=options.data.fingerprint,
        options=settings,
        parts=list(PARTS),
    )
    print(draw(path))


def summary(name, runs, shares=()):
    last = [run.points[-1] for run in runs]
    savings = [100 * (1 - share) for share in shares]
    return [
        name,
        spread([loss for _, loss, _ in last], ".3f"),
        spread([flops / 1e12 for flops, _, _ in last], ".3f"),
        spread([seconds for _, _, seconds in last], ".0f"),
        spread(savings, ".1f") if shares else "",
        spread([1 / share for share in shares], ".2f") if shares else "",
    ]


def spread(values, kind):
    mean = format(statistics.mean(values), kind)
    if len(values) < 2:
        return mean
    return f"{mean} ± {format(statistics.stdev(values), kind)}"


if __name__ == "__main__":
    main()
