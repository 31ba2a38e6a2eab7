"""`--data` and `--loss`: what a growth learns from."""

import pathlib

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.datasets.text.stdlib_corpus import VOCABULARY_SIZE, ByteDataset

_LENGTH, _BATCH = 128, 8


def read_data(said, model):
    """The data that `--data` names, as `model.grow()` takes it.

    Args:
        said: string, `"stdlib"` or the path of an `.npz` file with arrays `x`
            and `y`, and `sample_weight` if there are weights.
        model: `GrowableModel`.

    Raises:
        OSError: the file cannot be read or has no such arrays.
        GrowthError: the model does not read bytes.
    """
    if said is None:
        return None
    if said == "stdlib":
        vocabulary = getattr(model.network, "vocabulary_size", None)
        if vocabulary is None or vocabulary < VOCABULARY_SIZE:
            raise GrowthError(
                "'stdlib' is text as bytes, for a model with a vocabulary of "
                f"at least {VOCABULARY_SIZE}. Received: a model of "
                f"vocabulary_size={vocabulary}"
            )
        longest = getattr(model.network, "max_sequence_length", _LENGTH)
        return ByteDataset("train", min(_LENGTH, longest), _BATCH)
    path = pathlib.Path(said)
    if not path.is_file():
        raise FileNotFoundError(
            f"--data is 'stdlib' or an .npz file. There is no file {said!r}."
        )
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = [n for n in ("x", "y", "sample_weight") if n in arrays]
            found = tuple(arrays[name] for name in names)
    except Exception as error:
        raise OSError(f"{said!r} is no .npz file of arrays: {error}") from error
    if names[:2] != ["x", "y"]:
        raise OSError(f"{said!r} must hold the arrays `x` and `y`.")
    rows = {array.shape[0] if array.ndim else 0 for array in found}
    if len(rows) != 1 or 0 in rows:
        shapes = {n: a.shape for n, a in zip(names, found, strict=True)}
        raise OSError(
            f"{said!r} must hold arrays with a row for each example, as many "
            f"in each. Received: the shapes {shapes}"
        )
    return found


def read_loss(said):
    """A Keras loss by its name, optionally followed by `from_logits`.

    Raises:
        GrowthError: there is no such loss.

    Example:

    >>> read_loss("sparse_categorical_crossentropy from_logits").name
    'sparse_categorical_crossentropy'
    """
    name, *rest = said.split() or [""]
    try:
        if rest == ["from_logits"]:
            # By its plain name Keras gives a function, without options.
            if name.islower():
                name = name.title().replace("_", "")
            config = {"from_logits": True}
            return keras.losses.get({"class_name": name, "config": config})
        if name and not rest:
            return keras.losses.get(name)
    except Exception as error:
        raise GrowthError(
            f"There is no such loss in Keras: {error}. Received: --loss "
            f"{said!r}"
        ) from error
    raise GrowthError(
        "There is no such loss: --loss takes the name of a Keras loss, and "
        "after it `from_logits` if the model's outputs are logits. Received: "
        f"--loss {said!r}"
    )
