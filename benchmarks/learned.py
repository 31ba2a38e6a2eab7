"""Does learning the operator pay? Its loss against its own start, and others'.

A small byte-level GPT-2 trains on the source of Python's standard library.
The same small model is then grown by each strategy, the learned ones with so
many operator steps on the training data. What is printed is the validation
loss right after the growth, and after the grown model has trained on for some
steps at a constant rate, on the same data in the same order; and what the
operator's steps cost, in training steps of the large model.

    KERAS_BACKEND=jax python benchmarks/learned.py
"""

import argparse
import statistics

import keras
from report import publish

import kgrow
from kgrow.corpus import VOCABULARY_SIZE, ByteDataset
from kgrow.strategies import Copy, LiGO, Mango

LENGTH, BATCH = 128, 8
SMALL = dict(hidden_dim=64, num_heads=2, intermediate_dim=256, num_layers=2)
LARGE = dict(hidden_dim=96, num_heads=3, intermediate_dim=384, num_layers=4)
RATE = 1e-3


def strategies(steps):
    """`{name: (strategy, its own start or None)}`."""
    options = dict(steps=steps, verbose=0)
    return {
        "net2net+stack": (Copy("net2net", "stack"), None),
        "lemon": (kgrow.strategies.get("lemon"), None),
        "aki+stack": (Copy("aki", "stack"), None),
        "ligo": (LiGO(**options), LiGO(steps=0)),
        "ligo lemon": (LiGO("lemon", **options), LiGO("lemon", steps=0)),
        "ligo plain": (
            LiGO(tying="plain", **options),
            LiGO(tying="plain", steps=0),
        ),
        "mango": (Mango(**options), Mango(steps=0)),
        "mango rank 2": (Mango(rank=2, **options), Mango(rank=2, steps=0)),
    }


def make_model():
    model = kgrow.models.GPT2(
        vocabulary_size=VOCABULARY_SIZE,
        max_sequence_length=LENGTH,
        dropout=0.0,
        **SMALL,
    )
    model.compile(
        keras.optimizers.Adam(RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def small_weights(options, train, seed):
    keras.utils.set_random_seed(seed)
    model = make_model()
    model.fit(train, epochs=1, steps_per_epoch=options.small, verbose=0)
    return model.get_weights()


def one(strategy, weights, options, train, valid, seed):
    """Loss after the growth, after more training, and the receipt."""
    keras.utils.set_random_seed(seed)
    model = make_model()
    model.set_weights(weights)
    receipt = model.grow(LARGE, strategy, data=train, seed=seed)
    at_once = model.evaluate(valid, verbose=0)
    if not options.more:
        return at_once, float("nan"), receipt
    model.fit(train, epochs=1, steps_per_epoch=options.more, verbose=0)
    return at_once, model.evaluate(valid, verbose=0), receipt


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=600, help="steps")
    parser.add_argument("--steps", type=int, default=100, help="operator's")
    parser.add_argument("--more", type=int, default=200, help="steps after")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None)
    options = parser.parse_args()
    train = ByteDataset("train", LENGTH, BATCH, seed=0)
    valid = ByteDataset("validation", LENGTH, 32, steps=16)
    rows, chosen = [], strategies(options.steps)
    small = {
        seed: small_weights(options, train, seed)
        for seed in range(options.seeds)
    }
    for name, (strategy, start) in chosen.items():
        if options.only and name not in options.only:
            continue
        found = {"start": [], "at once": [], "later": [], "seconds": []}
        for seed, weights in small.items():
            if start is not None:
                found["start"].append(
                    one(
                        start,
                        weights,
                        argparse.Namespace(more=0),
                        train,
                        valid,
                        seed,
                    )[0]
                )
            at_once, later, receipt = one(
                strategy, weights, options, train, valid, seed
            )
            found["at once"].append(at_once)
            found["later"].append(later)
            if receipt.learned:
                found["seconds"].append(receipt.learned["seconds"])
        rows.append([name, *(_mean(v) for v in found.values())])
        print(rows[-1], flush=True)
    publish(
        "learned",
        f"Validation loss (nats a byte), {options.seeds} seeds: at the "
        "operator's start, after its steps, after more training",
        ["strategy", "start", "at once", "later", "operator seconds"],
        rows,
        small=SMALL,
        large=LARGE,
        batch=[BATCH, LENGTH],
        options=vars(options),
    )


def _mean(values):
    return statistics.mean(values) if values else ""


if __name__ == "__main__":
    main()
