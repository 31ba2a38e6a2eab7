"""Fine-tuning: an encoder and a head, trained on arrays and asked again.

For one host. Batches are whole and divide the devices; where the data end in
the middle of one, the last examples are predicted with copies of the first
behind them, which are left out of what comes out.
"""

import json
import os

import keras
import numpy as np

from common import devices, optimizing, records, settings
from kgrow.algebra.errors import GrowthError


def parser(description, program):
    """The flags of a program that fine-tunes."""
    made = settings.make_parser(description, program)
    add = made.add_argument
    add("--encoder", help="a preset of KerasHub, or a run's checkpoints")
    add("--tokenizer", help="a preset of KerasHub, or a vocabulary file")
    add("--sequence-length", type=settings.count(1), default=128)
    add("--epochs", type=settings.count(1), default=3)
    add("--limit", type=settings.count(1), help="examples of each split")
    add("--dropout", type=float)
    optimizing.add_flags(made)
    made.set_defaults(batch_size=32, learning_rate=2e-5, warmup_steps=0)
    return made


def begin(options):
    """Finds the devices and lays the batch along them.

    Raises:
        GrowthError: several hosts, a layout other than `data`, or a batch
            that does not divide.
    """
    devices.start(options)
    if devices.process()[1] > 1:
        raise GrowthError("Fine-tuning runs on one host.")
    if options.layout != "data":
        raise GrowthError(
            "Fine-tuning has its weights on every device. Received: "
            f"layout={options.layout!r}"
        )
    if options.checkpoints is not None:
        raise GrowthError(
            "Fine-tuning takes minutes and writes no checkpoints. Received: "
            f"checkpoints={options.checkpoints!r}"
        )
    chosen = devices.distribution(options, None)
    devices.check_batch(options.batch_size, chosen)
    keras.distribution.set_distribution(chosen)


class Batches(keras.utils.PyDataset):
    """Arrays in whole batches, in a seeded order for training.

    Args:
        x: dict of arrays.
        y: array, dict of arrays, or `None`.
        batch_size: int.
        seed: int, or `None` for the arrays' own order.

    Example:

    >>> data = Batches({"a": np.arange(5)}, None, 2, seed=None)
    >>> data.num_batches, data[2][0]["a"].tolist()
    (3, [4, 0])
    """

    def __init__(self, x, y, batch_size, seed):
        super().__init__()
        self.x, self.y = x, y
        self.size = len(next(iter(x.values())))
        self.batch_size = batch_size
        self.seed = seed
        self.turn = 0
        if seed is not None and self.size < batch_size:
            raise GrowthError(
                f"There are {self.size} examples; a batch cannot hold more. "
                f"Received: batch_size={batch_size}"
            )

    @property
    def num_batches(self):
        if self.seed is None:
            return -(-self.size // self.batch_size)
        return self.size // self.batch_size

    def __getitem__(self, index):
        start = index * self.batch_size
        rows = np.arange(start, start + self.batch_size) % self.size
        if self.seed is not None:
            order = np.random.default_rng((self.seed, self.turn))
            rows = order.permutation(self.size)[rows]
        x = {key: value[rows] for key, value in self.x.items()}
        if self.y is None:
            return (x,)
        return x, keras.tree.map_structure(lambda a: a[rows], self.y)

    def on_epoch_end(self):
        self.turn += 1


def train(model, loss, x, y, options):
    """Trains a model on arrays.

    Returns:
        `keras.callbacks.History`.
    """
    data = Batches(x, y, options.batch_size, options.seed)
    steps = data.num_batches * options.epochs
    warmup = min(options.warmup_steps, steps - 1)
    options = type(options)(**{**vars(options), "warmup_steps": warmup})
    model.compile(optimizing.optimizer(options, steps), loss)
    callbacks = []
    if options.logs and options.tensorboard:
        callbacks.append(
            keras.callbacks.TensorBoard(options.logs, write_graph=False)
        )
    return model.fit(
        data,
        epochs=options.epochs,
        callbacks=callbacks,
        shuffle=False,
        verbose=2,
    )


def predict(model, x, options):
    """A model's outputs, one for each example."""
    data = Batches(x, None, options.batch_size, seed=None)
    found = model.predict(data, verbose=0)
    return keras.tree.map_structure(
        lambda a: np.asarray(a)[: data.size].astype("float32"), found
    )


def write(options, result):
    """Prints the result, and adds it to `metrics.jsonl`."""
    line = json.dumps(result, default=float)
    print(line, flush=True)
    if options.logs:
        records.append(os.fspath(options.logs), line)


def plan(name, encoder, examples, options, notes=()):
    """What `--dry-run` prints."""
    steps = examples // options.batch_size * options.epochs
    lines = [
        f"{name}: {encoder.kind} of {encoder.backbone.count_params():,} "
        f"parameters, grown {len(encoder.history)} times",
        f"{examples:,} examples, {options.epochs} epochs of batches of "
        f"{options.batch_size}: {steps:,} steps at {options.learning_rate:g}",
        *notes,
    ]
    print("\n".join(lines))
