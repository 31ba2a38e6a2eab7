"""Which dimension of a transformer lies along which axis of the mesh.

A layout of Keras is a table from expressions, which a variable's path must
match, to one mesh axis or none for each of the variable's axes. The growable
models of `kgrow.models` name every axis, so the table follows from the names:
heads, the inner width of feedforward networks and the vocabulary lie along
`"model"`, everything else is on every device. Of a block each device so holds
some heads and some inner units, and the sums over them meet once behind the
attention and once behind the feedforward network.
"""

import json
import re

import keras

from kgrow.algebra.errors import GrowthError

BATCH, MODEL = "batch", "model"
SPLIT = ("heads", "ffn", "vocab", "classes")


def table(axes, split=SPLIT):
    """A layout as plain data.

    Args:
        axes: `AxisMap` of a family, with one dimension an axis wherever one is
            split.
        split: names of the dimensions that lie along the mesh's axis
            `"model"`.

    Returns:
        dict from expressions to tuples of axis names and `None`.

    Example:

    >>> import kgrow
    >>> table(kgrow.models.GPT2.axes)["(^|.*/)token_embedding/embeddings$"]
    ('model', None)
    """
    found = {}
    for pattern, variable in axes.rules.items():
        row = tuple(
            MODEL if set(axis.dims) & set(split) else None
            for axis in variable.axes
        )
        if any(row):
            path = re.sub(r"\{\w+\}", r"\\d+", pattern)
            found[f"(^|.*/){path}$"] = row
    return found


def read(path):
    """A layout from a JSON file.

    Raises:
        GrowthError: the file is no table from expressions to axes.
    """
    try:
        with open(path) as file:
            rows = json.load(file)
    except (OSError, ValueError) as error:
        raise GrowthError(
            "A layout is 'data', 'model' or a JSON file. Received: "
            f"layout={path!r}, {error}"
        ) from error
    if not isinstance(rows, dict):
        raise GrowthError(
            f"{path}: a layout is a table from expressions to lists of axes."
        )
    for pattern, row in rows.items():
        valid = isinstance(row, list)
        if not valid or set(row) - {BATCH, MODEL, None}:
            raise GrowthError(
                f"{path}: each axis of a variable is {BATCH!r}, {MODEL!r} or "
                f"null. Received: {pattern!r}: {row!r}"
            )
        try:
            re.compile(pattern)
        except re.error as error:
            raise GrowthError(
                f"{path}: {pattern!r} is no regular expression: {error}"
            ) from error
    return {pattern: tuple(row) for pattern, row in rows.items()}


def layout_map(mesh, rows):
    """The `keras.distribution.LayoutMap` of a table."""
    layouts = keras.distribution.LayoutMap(mesh)
    for pattern, row in rows.items():
        layouts[pattern] = row
    return layouts
