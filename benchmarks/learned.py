"""Does learning the operator pay? Its loss against its own start, and others'.

A small GPT-2 trains on text, by default on the bytes of Python's standard
library's source.
The same small model is then grown by each strategy, the learned ones with so
many operator steps on the training data. What is printed is the validation
loss right after the growth, and after the grown model has trained on for some
steps at a constant rate, on the same data in the same order; and what the
operator's steps cost, in training steps of the large model.

    KERAS_BACKEND=jax python benchmarks/learned.py
    KERAS_BACKEND=jax python benchmarks/learned.py --text notes \
        --tokenizer subwords --vocabulary 2048
"""

import argparse
import pathlib
import statistics

import keras
from report import Flags, add_text_flags, publish, text_of, text_suffix

import kgrow
from kgrow.strategies import Combine, LiGO, Mango

LENGTH, BATCH = 128, 8
SMALL = dict(hidden_dim=64, num_heads=2, intermediate_dim=256, num_layers=2)
LARGE = dict(hidden_dim=96, num_heads=3, intermediate_dim=384, num_layers=4)
RATE = 1e-3
QUICK = {"small": 2, "steps": 2, "more": 2, "seeds": 1}


def strategies(steps):
    """`{name: (strategy, its own start or None)}`."""
    options = dict(steps=steps, verbose=0)
    return {
        "net2net+stack": (Combine("net2net", "stack"), None),
        "lemon": (kgrow.strategies.get("lemon"), None),
        "aki+stack": (Combine("aki", "stack"), None),
        "ligo": (LiGO(**options), LiGO(steps=0)),
        "ligo lemon": (LiGO("lemon", **options), LiGO("lemon", steps=0)),
        "ligo plain": (
            LiGO(tying="plain", **options),
            LiGO(tying="plain", steps=0),
        ),
        "mango": (Mango(**options), Mango(steps=0)),
        "mango rank 2": (Mango(rank=2, **options), Mango(rank=2, steps=0)),
    }


def make_model(text):
    model = kgrow.models.GPT2(
        vocabulary_size=text.vocabulary_size,
        max_sequence_length=LENGTH,
        dropout=0.0,
        **SMALL,
    )
    model.compile(
        keras.optimizers.Adam(RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return model


def small_weights(text, options, train, seed):
    keras.utils.set_random_seed(seed)
    model = make_model(text)
    model.fit(train, epochs=1, steps_per_epoch=options.small, verbose=0)
    return model.get_weights()


def one(text, strategy, weights, options, train, valid, seed):
    """Loss after the growth, after more training, and the receipt."""
    keras.utils.set_random_seed(seed)
    model = make_model(text)
    model.set_weights(weights)
    receipt = model.grow(LARGE, strategy, data=train, seed=seed)
    at_once = model.evaluate(valid, verbose=0)
    if not options.more:
        return at_once, float("nan"), receipt
    model.fit(train, epochs=1, steps_per_epoch=options.more, verbose=0)
    return at_once, model.evaluate(valid, verbose=0), receipt


def main(args=None):
    parser = Flags(__doc__, QUICK)
    parser.add_argument("--small", type=int, default=600, help="steps")
    parser.add_argument("--steps", type=int, default=100, help="operator's")
    parser.add_argument("--more", type=int, default=200, help="steps after")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=None)
    add_text_flags(parser)
    options = parser.parse_args(args)
    text = text_of(options, pathlib.Path("runs") / "learned")
    train = text.dataset("train", LENGTH, BATCH, seed=0)
    valid = text.dataset("validation", LENGTH, 32, steps=16)
    rows, chosen = [], strategies(options.steps)
    small = {
        seed: small_weights(text, options, train, seed)
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
                        text,
                        start,
                        weights,
                        argparse.Namespace(more=0),
                        train,
                        valid,
                        seed,
                    )[0]
                )
            at_once, later, receipt = one(
                text, strategy, weights, options, train, valid, seed
            )
            found["at once"].append(at_once)
            found["later"].append(later)
            if receipt.learned:
                found["seconds"].append(receipt.learned["seconds"])
        rows.append([name, *(_mean(v) for v in found.values())])
        print(rows[-1], flush=True)
    publish(
        f"learned{text_suffix(options)}",
        f"Validation loss (nats a token, {text}), {options.seeds} seeds: at "
        "the operator's start, after its steps, after more training",
        ["strategy", "start", "at once", "later", "operator seconds"],
        rows,
        folder=options.results,
        corpus=text.fingerprint,
        # Losses times this are bits a byte.
        bits_per_byte_of_a_nat=text.bits_per_byte(1.0, valid),
        small=SMALL,
        large=LARGE,
        batch=[BATCH, LENGTH],
        options=vars(options),
    )


def _mean(values):
    return statistics.mean(values) if values else ""


if __name__ == "__main__":
    main()
