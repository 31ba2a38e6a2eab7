"""Draws the sample pictures of `docs/plots.md` from small runs on real text.

python -m docs.tools.sample_pictures [name ...] [--out docs/images]
"""

import argparse
import pathlib
import tempfile

import keras

from kgrow import schedules
from kgrow.analysis.norms import weight_norms
from kgrow.analysis.plots import (
    depth_maps,
    loss_curves,
    norms_by_layer,
    width_maps,
)
from kgrow.analysis.preservation.measurement import preservation_table
from kgrow.analysis.preservation.picture import heat_map
from kgrow.callbacks import OperatorRecord
from kgrow.datasets.text.stdlib_corpus import VOCABULARY_SIZE, ByteDataset
from kgrow.datasets.text.text import Text
from kgrow.models import GPT2
from kgrow.strategies import Combine, LiGO
from kgrow_cli.commands.demo import (
    DEEPER,
    SMALL,
    WIDER,
    GrowAt,
    curve,
    epochs_for,
    run,
    small_gpt,
)

_LENGTH, _BATCH = 64, 8


def draw_loss(folder):
    """Loss over FLOPs and tokens: a GPT that grows twice, and one from scratch
    for as many FLOPs. Seconds of so short a run are mostly compilation."""
    steps, text = 40, Text()
    model = small_gpt(text, **SMALL)
    events = {10: WIDER, 17: DEEPER}
    batch = ByteDataset("train", _LENGTH * 2, _BATCH, seed=1)[0]
    growth = GrowAt(events, Combine("net2net", "stack"), batch)
    with tempfile.TemporaryDirectory() as runs:
        grown = run("grown", model, text, steps, 23, 0, f"{runs}/grown", growth)
        large = small_gpt(text, **{**SMALL, **WIDER, **DEEPER})
        epochs, steps = epochs_for(grown.ledger.total("flops"), large)
        scratch = run(
            "from scratch", large, text, steps, epochs, 0, f"{runs}/large"
        )
    return [
        loss_curves(
            [curve(grown), curve(scratch)],
            folder / "loss.png",
            over=("flops", "tokens"),
            ylabel="validation loss (nats per byte)",
            title="A GPT that grows twice, and one from scratch",
            top=4.0,
        )
    ]


def draw_schedule(folder):
    """A published schedule as a staircase."""
    return [schedules.get("Sch1-B").plot(folder / "schedule.png")]


def draw_operators(folder):
    """What LiGO learned, growing a trained GPT in width and depth."""
    model = _trained()
    record = OperatorRecord()
    model.grow(
        {"hidden_dim": 24, "intermediate_dim": 96, "num_layers": 4},
        LiGO(steps=150, learning_rate=1e-2, callbacks=[record], verbose=0),
        data=ByteDataset("train", _LENGTH, _BATCH, steps=150, seed=3),
        seed=0,
    )
    return [
        width_maps(
            record.before,
            record.after,
            folder / "width_maps.png",
            names=["hidden", "ffn/0"],
        ),
        depth_maps(record.after, folder / "depth_maps.png"),
    ]


def draw_norms(folder):
    """Norms of all layers before and after copies in width and depth."""
    model = _trained()
    before = weight_norms(model)
    model.grow(
        {"hidden_dim": 32, "num_heads": 4, "num_layers": 4},
        Combine("net2net", "stack"),
        seed=0,
    )
    after = weight_norms(model)
    return [norms_by_layer(before, after, folder / "norms.png")]


def draw_preservation(folder):
    """What every strategy keeps of the function, measured."""
    table = preservation_table(dtypes=["float32"])
    return [heat_map(table, folder / "preservation.png")]


SAMPLES = {
    "loss": draw_loss,
    "schedule": draw_schedule,
    "operators": draw_operators,
    "norms": draw_norms,
    "preservation": draw_preservation,
}


def _trained():
    """A GPT of two blocks after 200 steps on text."""
    model = GPT2(
        vocabulary_size=VOCABULARY_SIZE,
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=64,
        max_sequence_length=_LENGTH,
        dropout=0.0,
    )
    model.compile(
        keras.optimizers.AdamW(5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    model.fit(
        ByteDataset("train", _LENGTH, _BATCH, steps=200),
        verbose=0,
        shuffle=False,
    )
    return model


def main(names=(), folder="docs/images"):
    """Draws the named samples, or all.

    Returns:
        list of `pathlib.Path`.
    """
    folder, paths = pathlib.Path(folder), []
    for name in names or SAMPLES:
        keras.utils.set_random_seed(0)
        paths += SAMPLES[name](folder)
    return paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", choices=[*SAMPLES, []])
    parser.add_argument("--out", default="docs/images")
    options = parser.parse_args()
    print(*main(options.names, options.out), sep="\n")
