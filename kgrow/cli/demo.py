"""The demo: a byte-level GPT grows inside one `fit`; did it pay?

A small GPT-2 learns the source of Python's standard library. Twice during a
single call of `fit` it grows: first in width, then in depth. The large model
is then trained from scratch, for as many training FLOPs and with its own
learning-rate schedule, fully decayed. The tables say who won.
"""

import pathlib
import time

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from kgrow.corpus import VOCABULARY_SIZE, ByteDataset, fingerprint
from kgrow.flops import training_flops
from kgrow.ledger import Ledger, Stage, cost_to_reach
from kgrow.models import GPT2
from kgrow.plots import Curve, loss_over_flops
from kgrow.strategies import Copy

LENGTH, BATCH = 128, 8
LEARNING_RATE = 2e-3  # at its peak, in both runs

SMALL = dict(hidden_dim=32, num_heads=2, intermediate_dim=128, num_layers=2)
WIDER = dict(hidden_dim=64, num_heads=4, intermediate_dim=256)
DEEPER = dict(num_layers=4)

# Epochs after which the model grows, and the end; an epoch ends with a look at
# the validation loss.
STEPS_PER_EPOCH = 100
GROWN_EPOCHS = 23
EVENTS = {10: WIDER, 17: DEEPER}

console = Console(highlight=False)


class GrowAt(keras.callbacks.Callback):
    """Grows the model at the end of chosen epochs.

    Args:
        events: dict. The number of epochs done, and the config to grow to.
        strategy: passed to `model.grow()`.
        data: one batch, on which the receipt states the loss.
    """

    def __init__(self, events, strategy, data):
        super().__init__()
        self.events = events
        self.strategy = strategy
        self.data = data

    def on_epoch_end(self, epoch, logs=None):
        target = self.events.get(epoch + 1)
        if target:
            receipt = self.model.grow(target, self.strategy, data=self.data)
            print(f"\n{receipt}\n")


class Meter(keras.callbacks.Callback):
    """Keeps a run's ledger and loss curve. Validation is not billed.

    Args:
        name: string, of the run.
        steps_per_epoch: int.
    """

    def __init__(self, name, steps_per_epoch):
        super().__init__()
        self.ledger = Ledger(name)
        self.steps = steps_per_epoch
        self.losses, self.flops = [], []
        self.seconds, self.tokens = [], []

    def on_train_begin(self, logs=None):
        self._since = time.perf_counter()

    def on_test_begin(self, logs=None):
        # The accelerator may be steps behind: wait for the last one.
        keras.ops.convert_to_numpy(self.model.optimizer.iterations)
        config = self.model.growth_config
        name = "{hidden_dim} x {num_layers}".format(**config)
        stages = self.ledger.stages
        if not stages or stages[-1].name != name:
            self._flops_per_step = training_flops(
                self.model, (BATCH, LENGTH), "int32"
            )
        self.ledger.record(
            Stage(
                name,
                steps=self.steps,
                tokens=self.steps * BATCH * LENGTH,
                flops=self.steps * self._flops_per_step,
                seconds=time.perf_counter() - self._since,
                parameters=self.model.count_params(),
                source=name == "{hidden_dim} x {num_layers}".format(**SMALL),
            )
        )

    def on_test_end(self, logs=None):
        self._since = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["val_loss"])
        self.flops.append(self.ledger.total("flops"))
        self.seconds.append(self.ledger.total("seconds"))
        self.tokens.append(self.ledger.total("tokens"))

    def curve(self):
        ends = np.cumsum([stage.flops for stage in self.ledger.stages])
        names = [stage.name for stage in self.ledger.stages]
        events = [
            (end, f"{before} to {after}")
            for end, before, after in zip(ends, names, names[1:], strict=False)
        ]
        return Curve(
            self.ledger.name,
            self.flops,
            self.losses,
            self.seconds,
            events,
            self.tokens,
        )


def compiled(model, steps):
    """The model with its optimizer and one cosine over `steps`."""
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps, warmup_target=LEARNING_RATE, warmup_steps=steps // 20
    )
    model.compile(
        keras.optimizers.AdamW(schedule, beta_2=0.99, clipnorm=1.0),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def run(name, model, steps_per_epoch, epochs, seed, callbacks=()):
    """Trains `model` in one `fit`; returns its `Meter`."""
    console.rule(f"{name}: {epochs} epochs of {steps_per_epoch} steps")
    meter = Meter(name, steps_per_epoch)
    compiled(model, steps_per_epoch * epochs).fit(
        ByteDataset("train", LENGTH, BATCH, seed=seed),
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        validation_data=ByteDataset("validation", LENGTH, 32, steps=8),
        callbacks=[meter, *callbacks],
        shuffle=False,
    )
    return meter


def small_gpt(**config):
    return GPT2(
        vocabulary_size=VOCABULARY_SIZE,
        max_sequence_length=LENGTH,
        dropout=0.0,
        **config,
    )


def epochs_for(flops, model):
    """Epochs, and steps in each, that spend `flops`, or a little more."""
    steps = -(-flops // training_flops(model, (BATCH, LENGTH), "int32"))
    epochs = min(range(10, 21), key=lambda count: -steps % count)
    return epochs, -(-steps // epochs)


def summary(grown, scratch):
    """One column for each run."""
    table = Table(title=f"Two runs, one budget (corpus {fingerprint()})")
    table.add_column("")
    for meter in (grown, scratch):
        table.add_column(meter.ledger.name, justify="right")
    rows = {
        "validation loss (nats/byte)": lambda m: f"{m.losses[-1]:.4f}",
        "training FLOPs": lambda m: f"{m.ledger.total('flops'):.3e}",
        "seconds, compiling included": lambda m: (
            f"{m.ledger.total('seconds'):.1f}"
        ),
        "steps": lambda m: f"{m.ledger.total('steps'):,}",
        "parameters at the end": lambda m: (
            f"{m.ledger.stages[-1].parameters:,}"
        ),
    }
    for label, cell in rows.items():
        table.add_row(label, cell(grown), cell(scratch))
    return table


def race(runner, other):
    """What `runner` paid for the final loss of `other`, said both ways."""
    target = other.losses[-1]
    flops = cost_to_reach(runner.flops, runner.losses, target)
    name, rival = runner.ledger.name, other.ledger.name
    if flops is None:
        return f"{name} never reached {target:.4f}, the final loss of {rival}."
    until = runner.ledger.until(flops)
    paid = {stage.source for stage in until.stages}
    if paid == {True}:
        name += ", before it grew,"
    lines = [f"{name} reached {target:.4f}, the final loss of {rival}, and"]
    for unit in ("flops", "seconds"):
        for source in (True, False) if len(paid) == 2 else (True,):
            cost = until.compare(other.ledger, unit, source)
            note = "" if source else ", the small model being there anyway"
            lines.append(f"  {cost} of the {unit}{note}")
    return "\n".join(lines)


def continuation(model, prompt, count, temperature, seed):
    """Samples `count` bytes behind `prompt`, one window length at a time.

    The window keeps its shape, so the model compiles once; what stands right
    of the last byte is not seen by a causal model.
    """
    rng = np.random.default_rng(seed)
    text = list(prompt)
    for _ in range(count):
        seen = text[-LENGTH:]
        window = np.zeros((1, LENGTH), "int32")
        window[0, : len(seen)] = seen
        logits = model.predict_on_batch(window)[0, len(seen) - 1]
        weights = np.exp((logits - logits.max()) / temperature, dtype="float64")
        text.append(rng.choice(VOCABULARY_SIZE, p=weights / weights.sum()))
    return bytes(text).decode("utf-8", errors="replace")


def save_and_reload(model, path):
    """Writes `model`, reads it back and compares what the two compute."""
    model.save(path)
    loaded = keras.models.load_model(path)
    x, _ = ByteDataset("validation", LENGTH, 2, steps=1)[0]
    before, after = model.predict_on_batch(x), loaded.predict_on_batch(x)
    if not np.array_equal(before, after):
        raise SystemExit(
            f"{path} does not compute what was saved: outputs differ by "
            f"{np.abs(before - after).max():.1e}"
        )
    console.print(f"{path}: saved, reloaded, outputs equal")


def run_demo(scale=1.0, seed=0, width="net2net", depth="stack", out="demo"):
    """Trains both runs, prints who won and writes what they left.

    Args:
        scale: number, times the usual steps.
        seed: int.
        width: strategy of the first growth.
        depth: strategy of the second.
        out: folder for the picture and the grown model.
    """
    keras.utils.set_random_seed(seed)
    steps_per_epoch = round(STEPS_PER_EPOCH * scale)
    strategy = Copy(width, depth)
    batch = ByteDataset("train", LENGTH, BATCH, seed=seed + 1)[0]

    model = small_gpt(**SMALL)
    growth = GrowAt(EVENTS, strategy, batch)
    grown = run("grown", model, steps_per_epoch, GROWN_EPOCHS, seed, [growth])

    large = small_gpt(**{**SMALL, **WIDER, **DEEPER})
    epochs, steps = epochs_for(grown.ledger.total("flops"), large)
    scratch = run("from scratch", large, steps, epochs, seed)

    console.rule("what it cost")
    console.print(grown.ledger, scratch.ledger, summary(grown, scratch))
    console.print(race(grown, scratch))
    console.print(race(scratch, grown))

    console.rule("what it left")
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    picture = loss_over_flops(
        [grown.curve(), scratch.curve()],
        out / "loss_over_flops.png",
        ylabel="validation loss (nats per byte)",
        top=3.6,
    )
    console.print(f"{picture}: the two runs as a picture")
    save_and_reload(model, out / "grown.keras")
    console.rule("the grown model continues")
    console.print(
        continuation(model, b"def __init__(self", 300, 0.7, seed),
        markup=False,
    )
