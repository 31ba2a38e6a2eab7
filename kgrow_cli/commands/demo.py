"""The demo: a GPT grows inside one `fit`; did it pay?

A small GPT-2 learns a text, by default the bytes of the source of Python's
standard library. Twice during a single call of `fit` it grows: first in width,
then in depth. The large model is then trained from scratch, for as many
training FLOPs and with its own learning-rate schedule, fully decayed. The
tables say who won.
"""

import pathlib
from dataclasses import replace

import keras
import numpy as np
from rich.console import Console
from rich.table import Table

from kgrow import backend, callbacks
from kgrow.analysis.ledger import CostRecord, cost_to_reach
from kgrow.analysis.plots import loss_over_flops
from kgrow.analysis.run_log import Run
from kgrow.backend.flops import training_flops
from kgrow.datasets.text.text import Text
from kgrow.models import GPT2
from kgrow.strategies import Combine
from kgrow_cli.commands.fitting import print_table

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


def run(name, model, text, steps_per_epoch, epochs, seed, path, growth=None):
    """Trains `model` in one `fit`, with a `kgrow.callbacks.Ledger`.

    Args:
        name: string, of the run.
        model: `GrowableModel`, not compiled yet.
        text: `Text`.
        steps_per_epoch: int.
        epochs: int.
        seed: int.
        path: where the ledger writes; a file that is there is replaced.
        growth: optional callback that grows the model.

    Returns:
        `kgrow.Run`, read back from the ledger's file.
    """
    console.rule(f"{name}: {epochs} epochs of {steps_per_epoch} steps")
    pathlib.Path(path).unlink(missing_ok=True)
    costs = callbacks.Ledger(path, source="scratch", name=name, seed=seed)
    compiled(model, steps_per_epoch * epochs).fit(
        text.dataset("train", LENGTH, BATCH, seed=seed),
        steps_per_epoch=steps_per_epoch,
        epochs=epochs,
        validation_data=validation(text),
        callbacks=[costs, growth] if growth else [costs],
        shuffle=False,
    )
    return Run.load(path)


def validation(text):
    """The windows on which the loss is measured."""
    return text.dataset("validation", LENGTH, 32, steps=8)


def books(run):
    """The run's `Ledger`, in which what came before the first growth is the
    small model's own training."""
    first, *rest = run.ledger.stages
    return CostRecord(run.name, [replace(first, source=bool(rest)), *rest])


def curve(run):
    """The run's loss curve, its growths named by both sizes."""
    sizes = [stage.name.partition(": ")[2] for stage in run.ledger.stages]
    found = run.curve()
    events = [
        (flops, f"{before} to {after}")
        for (flops, _), before, after in zip(
            found.events, sizes[:-1], sizes[1:], strict=True
        )
    ]
    return replace(found, events=events)


def last_loss(run):
    """The run's final validation loss, in nats per token."""
    return run.values("val_loss")[-1][1]


def small_gpt(text, **config):
    return GPT2(
        vocabulary_size=text.vocabulary_size,
        max_sequence_length=LENGTH,
        dropout=0.0,
        **config,
    )


def epochs_for(flops, model):
    """Epochs, and steps in each, that spend `flops`, or a little more."""
    steps = -(-flops // training_flops(model, (BATCH, LENGTH), "int32"))
    epochs = min(range(10, 21), key=lambda count: -steps % count)
    return epochs, -(-steps // epochs)


def unit_of(text):
    """The word for one token."""
    return "byte" if text.subwords is None else "subword"


def summary(grown, scratch, text):
    """One column for each `kgrow.Run`."""
    table = Table(title=f"Two runs, one budget (corpus {text.fingerprint})")
    table.add_column("")
    for run in (grown, scratch):
        table.add_column(run.name, justify="right", no_wrap=True)
    rows = {
        f"validation loss (nats/{unit_of(text)})": lambda r: (
            f"{last_loss(r):.4f}"
        ),
        "training FLOPs": lambda r: f"{r.ledger.total('flops'):.3e}",
        "seconds, compiling included": lambda r: (
            f"{r.ledger.total('seconds'):.1f}"
        ),
        "steps": lambda r: f"{r.ledger.total('steps'):,}",
        "parameters at the end": lambda r: (
            f"{r.ledger.stages[-1].parameters:,}"
        ),
    }
    if text.subwords is not None:
        windows = validation(text)
        rows["validation loss (bits/byte)"] = lambda r: (
            f"{text.bits_per_byte(last_loss(r), windows):.4f}"
        )
    for label, cell in rows.items():
        table.add_row(label, cell(grown), cell(scratch))
    return table


def race(runner, other):
    """The cost at which `runner` reached the final loss of `other`."""
    target = last_loss(other)
    points = runner.curve()
    flops = cost_to_reach(points.flops, points.loss, target)
    name, rival = runner.name, other.name
    if flops is None:
        return f"{name} never reached {target:.4f}, the final loss of {rival}."
    until = books(runner).until(flops)
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


def continuation(model, text, prompt, count, temperature, seed):
    """Samples `count` tokens after `prompt`, one window length at a time.

    The window keeps its shape, so the model compiles once; tokens right
    of the last token is not seen by a causal model.
    """
    rng = np.random.default_rng(seed)
    tokens = list(text.encode(prompt))
    for _ in range(count):
        seen = tokens[-LENGTH:]
        window = np.zeros((1, LENGTH), "int32")
        window[0, : len(seen)] = seen
        logits = model.predict_on_batch(window)[0, len(seen) - 1]
        weights = np.exp((logits - logits.max()) / temperature, dtype="float64")
        chosen = rng.choice(text.vocabulary_size, p=weights / weights.sum())
        tokens.append(chosen)
    return text.decode(tokens).decode("utf-8", errors="replace")


def save_and_reload(model, text, path):
    """Writes `model`, reads it back and compares what the two compute."""
    model.save(path)
    loaded = keras.models.load_model(path)
    x, _ = text.dataset("validation", LENGTH, 2, steps=1)[0]
    before, after = model.predict_on_batch(x), loaded.predict_on_batch(x)
    if not np.array_equal(before, after):
        raise SystemExit(
            f"{path} does not compute what was saved: outputs differ by "
            f"{np.abs(before - after).max():.1e}"
        )
    console.print(f"{path}: saved, reloaded, outputs equal")


def run_demo(
    scale,
    seed,
    width,
    depth,
    out,
    text="stdlib",
    tokenizer="bytes",
    vocabulary=None,
    data_dir=None,
    programs=None,
):
    """Trains both runs, prints who won and writes what they left.

    Args:
        scale: number, times the usual steps.
        seed: int.
        width: strategy of the first growth.
        depth: strategy of the second.
        out: folder for the runs' files, the picture and the grown model;
            those of an earlier demo are replaced. Subwords and tokens are
            kept there too, and read again.
        text: string, see `kgrow.datasets.text.text.Text`, and what follows.
        tokenizer: string.
        vocabulary: optional int.
        data_dir: optional string.
        programs: optional folder in which compiled programs are kept.

    Raises:
        GrowthError: there is no such text or tokenizer, or `programs` is given
            on another backend than JAX.
    """
    if programs is not None:
        backend.keep_programs(programs)
    out = pathlib.Path(out)
    text = Text(text, tokenizer, vocabulary, out, data_dir)
    # Read before anything is written.
    batch = text.dataset("train", LENGTH, BATCH, seed=seed + 1)[0]
    out.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(seed)
    steps_per_epoch = round(STEPS_PER_EPOCH * scale)
    strategy = Combine(width, depth)

    model = small_gpt(text, **SMALL)
    growth = GrowAt(EVENTS, strategy, batch)
    grown = run(
        "grown",
        model,
        text,
        steps_per_epoch,
        GROWN_EPOCHS,
        seed,
        out / "grown.jsonl",
        growth,
    )
    large = small_gpt(text, **{**SMALL, **WIDER, **DEEPER})
    epochs, steps = epochs_for(grown.ledger.total("flops"), large)
    scratch = run(
        "from scratch",
        large,
        text,
        steps,
        epochs,
        seed,
        out / "from_scratch.jsonl",
    )

    console.rule("what it cost")
    for table in (
        books(grown).__rich__(),
        scratch.ledger.__rich__(),
        summary(grown, scratch, text),
    ):
        print_table(console, table)
    console.print(race(grown, scratch))
    console.print(race(scratch, grown))

    console.rule("what it left")
    picture = loss_over_flops(
        [curve(grown), curve(scratch)],
        out / "loss_over_flops.png",
        ylabel=f"validation loss (nats per {unit_of(text)})",
        top=3.6 if text.subwords is None else None,
    )
    console.print(f"{picture}: the two runs as a picture")
    console.print(f"{out}/*.jsonl: their ledgers, for kgrow report {out}")
    save_and_reload(model, text, out / "grown.keras")
    console.rule("the grown model continues")
    console.print(
        continuation(model, text, b"def __init__(self", 300, 0.7, seed),
        markup=False,
    )
