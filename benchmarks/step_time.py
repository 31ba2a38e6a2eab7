"""Time of a train step: kgrow's GPT-2 against KerasHub's.

Both models are compiled with the same optimizer and loss and take turns on
the same batches in one process, so that whatever else the machine does
falls on both. A round is the median of its steps; the ratio is the median
over rounds of kgrow's time divided by KerasHub's in the same round.

    KERAS_BACKEND=jax python benchmarks/step_time.py
    KERAS_BACKEND=jax python benchmarks/step_time.py --hidden 768 --layers 12 \
        --heads 12 --batch 8 --length 1024 --vocab 50257 --dtype mixed_bfloat16

The result goes to `benchmarks/results/step_time_<backend>.json`.
"""

import argparse
import json
import pathlib
import platform
import statistics
import sys
import time

import keras
import keras_hub
import numpy as np

from kgrow.models.gpt2_network import GPT2Network

RESULTS = pathlib.Path(__file__).parent / "results"


def main(argv=None):
    options = parse(argv)
    keras.utils.set_random_seed(options.seed)
    models = {"kgrow": kgrow_model(options), "keras_hub": hub_model(options)}
    check_same_size(models)
    batches = make_batches(options)
    for model in models.values():
        compile_model(model)
        for batch in batches[: options.warmup]:
            train_step(model, batch)
    rounds = [one_round(models, batches, i) for i in range(options.rounds)]
    report(options, rounds)


def parse(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--dtype", default="float32", help="dtype policy")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=10, help="per round")
    parser.add_argument("--warmup", type=int, default=3, help="steps")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


def sizes(options):
    return dict(
        vocabulary_size=options.vocab,
        num_layers=options.layers,
        num_heads=options.heads,
        hidden_dim=options.hidden,
        intermediate_dim=4 * options.hidden,
        max_sequence_length=options.length,
        dropout=options.dropout,
        dtype=options.dtype,
    )


def kgrow_model(options):
    return GPT2Network(**sizes(options))


def hub_model(options):
    """KerasHub's backbone with the head of its own `GPT2CausalLM`."""
    backbone = keras_hub.models.GPT2Backbone(**sizes(options))
    logits = backbone.token_embedding(backbone.output, reverse=True)
    return keras.Model(backbone.input, logits)


def check_same_size(models):
    counts = {name: model.count_params() for name, model in models.items()}
    if len(set(counts.values())) != 1:
        raise RuntimeError(f"The two models differ in size: {counts}")


def compile_model(model):
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-4),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )


def make_batches(options):
    """As many batches as a round has steps, the same in every round."""
    rng = np.random.default_rng(options.seed)
    shape = (options.batch, options.length + 1)
    count = max(options.steps, options.warmup)
    return [
        rng.integers(options.vocab, size=shape, dtype="int32")
        for _ in range(count)
    ]


def train_step(model, batch):
    """Trains on one batch and returns the seconds it took."""
    token_ids, targets = batch[:, :-1], batch[:, 1:]
    if not isinstance(model, GPT2Network):
        token_ids = {
            "token_ids": token_ids,
            "padding_mask": np.ones_like(token_ids),
        }
    start = time.perf_counter()
    model.train_on_batch(token_ids, targets)
    return time.perf_counter() - start


def one_round(models, batches, index):
    """Median seconds per step of each model, who goes first taking turns."""
    names = list(models)
    if index % 2:
        names.reverse()
    return {
        name: statistics.median(train_step(models[name], b) for b in batches)
        for name in names
    }


def report(options, rounds):
    ratios = [r["kgrow"] / r["keras_hub"] for r in rounds]
    result = {
        "options": vars(options),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "keras_hub": keras_hub.__version__,
        "python": sys.version.split()[0],
        "machine": platform.machine(),
        "rounds": rounds,
        "median_seconds": {
            name: statistics.median(r[name] for r in rounds)
            for name in rounds[0]
        },
        "ratio": statistics.median(ratios),
        "ratio_range": [min(ratios), max(ratios)],
    }
    print(f"{'model':<12}{'ms per step':>12}")
    for name, seconds in result["median_seconds"].items():
        print(f"{name:<12}{1e3 * seconds:>12.2f}")
    low, high = result["ratio_range"]
    print(f"ratio {result['ratio']:.3f} (rounds: {low:.3f} to {high:.3f})")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"step_time_{result['backend']}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
