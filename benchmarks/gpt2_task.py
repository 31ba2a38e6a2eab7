"""What the processes of `throughput.py` agree on: sizes, and batches."""

import argparse

import numpy as np


def random_tokens(options):
    """The batches of a round, the same ones in every process."""
    rng = np.random.default_rng(options.seed)
    return rng.integers(
        options.vocabulary_size,
        size=(options.steps, options.batch, options.length + 1),
        dtype="int32",
    )


def add_model_flags(parser):
    """Flags of the network and of a round."""
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--vocabulary-size", type=int, default=8192)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument(
        "--dtype", default="float32", choices=["float32", "mixed_bfloat16"]
    )
    parser.add_argument("--steps", type=int, default=5, help="in a round")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--compile", action="store_true", help="the plain model, by torch"
    )


def model_flags(options):
    """The flags above as arguments of another process."""
    found = []
    for action in _model_actions():
        value = getattr(options, action.dest)
        if action.const is True:
            found += [action.option_strings[0]] * value
        else:
            found += [action.option_strings[0], str(value)]
    return found


def _model_actions():
    parser = argparse.ArgumentParser(add_help=False)
    add_model_flags(parser)
    return parser._actions
