"""Inputs of a network, as shapes, for counting and timing."""

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.architecture.output_check import make_probe


def make_inputs(network, spec, batch, length=None):
    """Inputs that a network takes, with values.

    Args:
        network: a built network.
        spec: its `ModelSpec`.
        batch: int, examples.
        length: optional int, of sequences; by default what the network's
            `max_sequence_length` says, or else 16.

    Returns:
        the network's structure of numpy arrays.

    Raises:
        GrowthError: it takes no sequences of tokens, and a `length` is given,
            or does not say what it takes.
    """
    probe = make_probe(network, spec)
    tokens = [a for a in keras.tree.flatten(probe) if _is_tokens(a)]
    if not tokens and length is not None:
        raise GrowthError(
            "The model takes no sequences of tokens, so they have no length. "
            f"Received: --length {length}"
        )
    usual = max((a.shape[1] for a in tokens), default=None)
    if tokens:
        longest = getattr(network, "max_sequence_length", None)
        length = length or longest or usual
        if longest is not None and length > longest:
            raise GrowthError(
                f"The model takes at most {longest} tokens. Received: "
                f"--length {length}"
            )

    def stretch(array):
        repeats = -(-batch // len(array))
        array = np.concatenate([array] * repeats)[:batch]
        if _is_tokens(array) and array.shape[1] == usual:
            times = -(-length // usual)
            array = np.concatenate([array] * times, axis=1)[:, :length]
        return array

    return keras.tree.map_structure(stretch, probe)


def as_symbols(inputs):
    """The same as `KerasTensor`s.

    Example:

    >>> as_symbols(np.zeros((2, 3), "float32")).shape
    (2, 3)
    """
    return keras.tree.map_structure(
        lambda a: keras.KerasTensor(a.shape, str(a.dtype)), inputs
    )


def described(inputs):
    """Shapes and dtypes as text.

    Example:

    >>> described({"ids": np.zeros((2, 3), "int32")})
    'ids (2, 3) int32'
    """
    parts = []
    for path, array in keras.tree.flatten_with_path(inputs):
        name = ".".join(map(str, path))
        parts.append(f"{name} {tuple(array.shape)} {array.dtype}".strip())
    return ", ".join(parts)


def _is_tokens(array):
    return array.ndim == 2 and np.issubdtype(array.dtype, np.integer)
