"""Training throughput: kgrow's GPT-2, KerasHub's, and one in plain PyTorch.

The same network three times, of one size, with the same optimizer, loss and
batches: `kgrow.models.GPT2`; KerasHub's `GPT2Backbone` with the head of its own
`GPT2CausalLM`, on the same Keras backend; and `plain_gpt2.py`, in a process of
its own, as JAX and PyTorch do not share one. They take turns, a round each, so
that whatever else the machine does falls on all. The Keras models train by
`fit`, the plain one by a loop. A round is some steps; what is printed are
medians over rounds, and ratios are medians of the ratios within rounds.

    KERAS_BACKEND=jax python benchmarks/throughput.py
    KERAS_BACKEND=torch python benchmarks/throughput.py --compile
    KERAS_BACKEND=jax python benchmarks/throughput.py --size gpt2 \
        --dtype mixed_bfloat16 --peak-tflops 989 --compile

FLOPs are those of `kgrow.analysis.ledger`, three times a forward pass. With
`--peak-tflops`, what the device can do at most in TFLOP/s, the fraction of it
that is reached is printed too. `--size gpt2` is GPT-2 of 124 million
parameters.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

# Two processes share an accelerator: neither may take all of its memory.
os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", "0.45")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

import keras
import numpy as np
from gpt2_task import add_model_flags, model_flags, random_tokens
from report import Flags, publish
from rich.progress import track

import kgrow
from kgrow.analysis.ledger import cost

SIZES = {
    "small": {},
    "gpt2": {
        "hidden": 768,
        "layers": 12,
        "heads": 12,
        "batch": 16,
        "length": 1024,
        "vocabulary_size": 50257,
    },
}
QUICK = {
    "hidden": 16,
    "layers": 1,
    "heads": 2,
    "batch": 2,
    "length": 8,
    "vocabulary_size": 32,
    "rounds": 2,
    "steps": 2,
}
MODELS = ("kgrow", "keras_hub", "plain_torch")


def fields(options):
    return dict(
        vocabulary_size=options.vocabulary_size,
        num_layers=options.layers,
        num_heads=options.heads,
        hidden_dim=options.hidden,
        intermediate_dim=4 * options.hidden,
        max_sequence_length=options.length,
        dropout=options.dropout,
        dtype=options.dtype,
    )


class Clock(keras.callbacks.Callback):
    """Seconds from the first step of a `fit` to the end of its last."""

    def on_train_begin(self, logs=None):
        self.start = None

    def on_train_batch_begin(self, batch, logs=None):
        if self.start is None:
            self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        # The logs are numbers by now, so that the last step is over.
        self.seconds = time.perf_counter() - self.start


class Batches(keras.utils.PyDataset):
    """The batches of a round, for `fit`.

    Args:
        tokens: int array `(steps, batch, length + 1)`.
        as_dict: bool, whether the inputs are those of a backbone.
    """

    def __init__(self, tokens, as_dict):
        super().__init__()
        self.tokens, self.as_dict = tokens, as_dict

    def __len__(self):
        return len(self.tokens)

    def __getitem__(self, index):
        x, y = self.tokens[index, :, :-1], self.tokens[index, :, 1:]
        if self.as_dict:
            x = {"token_ids": x, "padding_mask": np.ones_like(x)}
        return x, y


class KerasModel:
    """A compiled model that trains a round at a time."""

    def __init__(self, model, data):
        self.model, self.data, self.clock = model, data, Clock()
        self.parameters = model.count_params()
        model.compile(
            optimizer=keras.optimizers.AdamW(1e-4),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        self.round()  # compiling, and what is done only once

    def round(self):
        """Seconds of one pass over the batches."""
        self.model.fit(
            self.data, verbose=0, shuffle=False, callbacks=[self.clock]
        )
        return self.clock.seconds

    def close(self):
        """Nothing is left open."""


class PlainTorch:
    """`plain_gpt2.py` in a process of its own, a round at a time."""

    def __init__(self, options):
        self.process = subprocess.Popen(
            [
                sys.executable,
                pathlib.Path(__file__).with_name("plain_gpt2.py"),
                "--serve",
                *model_flags(options),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.facts = self._read()
        self.parameters = self.facts["parameters"]

    def round(self):
        """Seconds of one pass over the batches."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self._read()

    def close(self):
        """Ends the process."""
        self.process.stdin.close()
        self.process.wait()

    def _read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("plain_gpt2.py has ended, see above.")
        return json.loads(line)


def hub_model(options):
    """KerasHub's backbone with the head of its own `GPT2CausalLM`."""
    import keras_hub

    backbone = keras_hub.models.GPT2Backbone(**fields(options))
    logits = backbone.token_embedding(backbone.output, reverse=True)
    return keras.Model(backbone.input, logits)


def make(name, options, tokens):
    if name == "plain_torch":
        return PlainTorch(options)
    keras.utils.set_random_seed(options.seed)
    if name == "kgrow":
        model = kgrow.models.GPT2(**fields(options))
        return KerasModel(model, Batches(tokens, as_dict=False))
    return KerasModel(hub_model(options), Batches(tokens, as_dict=True))


def check_same_size(models):
    counts = {name: model.parameters for name, model in models.items()}
    if len(set(counts.values())) != 1:
        raise SystemExit(f"The models differ in size: {counts}")


def measure(options):
    """Seconds of each round, `{model: [...]}`, and facts on the models."""
    tokens = random_tokens(options)
    models = {}
    try:
        for name in options.only:
            models[name] = make(name, options, tokens)
        check_same_size(models)
        seconds = {name: [] for name in models}
        for number in track(range(options.rounds), "rounds", transient=True):
            names = list(models)
            # Who goes first takes turns.
            start = number % len(names)
            for name in names[start:] + names[:start]:
                seconds[name].append(models[name].round())
        facts = {
            "parameters": next(iter(models.values())).parameters,
            "plain_torch": getattr(
                models.get("plain_torch"), "facts", "not run"
            ),
        }
    finally:
        for model in models.values():
            model.close()
    return seconds, facts


def summary(seconds, options, flops):
    """One row a model.

    Args:
        seconds: `{model: [seconds of a round]}`.
        options: parsed flags.
        flops: number, of a step.
    """
    rows = []
    for name, rounds in seconds.items():
        steps = statistics.median(options.steps / s for s in rounds)
        tokens = round(steps * options.batch * options.length)
        row = [name, tokens, steps]
        first = seconds.get("kgrow")
        # Tokens a second of kgrow over those of this model.
        ratios = [b / a for a, b in zip(first or (), rounds, strict=False)]
        row += (
            [statistics.median(ratios), min(ratios), max(ratios)]
            if ratios
            else [""] * 3
        )
        row.append(steps * flops / 1e12)
        if options.peak_tflops:
            row.append(steps * flops / 1e12 / options.peak_tflops)
        rows.append(row)
    return rows


def parse(args=None):
    parser = Flags(__doc__, QUICK, SIZES)
    add_model_flags(parser)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", nargs="*", choices=MODELS, default=MODELS)
    parser.add_argument(
        "--peak-tflops", type=float, help="of the device, at this dtype"
    )
    return parser.parse_args(args)


def main(args=None):
    options = parse(args)
    seconds, facts = measure(options)
    flops = cost(
        kgrow.models.GPT2, fields(options), options.batch, options.length
    ).training
    columns = [
        "model",
        "tokens/s",
        "steps/s",
        "kgrow / it",
        "lowest",
        "highest",
        "TFLOP/s",
    ]
    if options.peak_tflops:
        columns.append("of the peak")
    name = "throughput"
    if options.size != "small":
        name += f"_{options.size}"
    if options.dtype != "float32":
        name += f"_{options.dtype}"
    publish(
        name,
        f"Training throughput, GPT-2 of {facts['parameters'] / 1e6:.1f} M "
        f"parameters, {options.dtype}",
        columns,
        summary(seconds, options, flops),
        folder=options.results,
        options=vars(options),
        flops_of_a_step=flops,
        seconds_of_rounds=seconds,
        **facts,
    )


if __name__ == "__main__":
    main()
