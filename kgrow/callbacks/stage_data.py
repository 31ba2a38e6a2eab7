"""The data of each stage of a schedule."""

import math

import keras

from kgrow.algebra.errors import GrowthError


class StageData:
    """The data that `kgrow.fit` was given, stage by stage.

    Args:
        schedule: `GrowthSchedule`.
        x: arrays or a dataset, or `None` with `data`.
        y: arrays or `None`.
        data: `None`, a dict of data by name, or a function of a stage.
        steps_per_epoch: optional int, see `model.fit`.

    Raises:
        GrowthError: not exactly one of `x` and `data` is given, or `data` is
            neither.
    """

    def __init__(self, schedule, x, y, data, steps_per_epoch=None):
        if (x is None) == (data is None):
            raise GrowthError(
                "Give either `x` (and `y`), or `data`, a dict of data by name "
                "or a function of a stage. Received: "
                f"x={_kind(x)}, data={_kind(data)}"
            )
        if data is not None and not callable(data):
            if not isinstance(data, dict):
                raise GrowthError(
                    "`data` is a dict of data by name, or a function of a "
                    f"stage. Received: data={_kind(data)}"
                )
        self.schedule = schedule
        self.x = x
        self.y = y
        self.data = data
        self.given_steps = steps_per_epoch
        self._made = None, None

    def check(self, first):
        """Makes sure that every stage from the first one on has its data.

        Data that a function makes are looked at when their stage begins.
        """
        if callable(self.data):
            return
        for index in range(first, len(self.schedule)):
            self.arguments(index)

    def arguments(self, index):
        """Arguments of `model.fit` in a stage: `x`, `y` and the like.

        Raises:
            GrowthError: there is no such data, or it cannot be cut.
        """
        parts = self._parts(index)
        length = self.schedule.setting(index, "sequence_length")
        batch_size = self.schedule.setting(index, "batch_size")
        found = dict(zip(("x", "y", "sample_weight"), parts, strict=False))
        if _are_arrays(parts):
            if length is not None:
                found = _cut(found, length, index + 1)
            found["batch_size"] = batch_size
        elif not callable(self.data):
            self._refuse(index, length, batch_size)
        found["steps_per_epoch"] = self.given_steps
        return found

    def steps_per_epoch(self, index):
        """Batches per epoch in a stage, or `None` if unknown."""
        if self.given_steps is not None:
            return self.given_steps
        parts = self._parts(index)
        if _are_arrays(parts):
            size = self.schedule.setting(index, "batch_size") or 32
            return math.ceil(len(keras.tree.flatten(parts[0])[0]) / size)
        if isinstance(parts[0], keras.utils.PyDataset):
            return parts[0].num_batches
        try:
            return len(parts[0])
        except TypeError:
            return None

    def _parts(self, index):
        """`(x[, y[, sample_weight]])` of a stage, uncut."""
        if self.data is None:
            return (self.x,) if self.y is None else (self.x, self.y)
        if self._made[0] == index:
            return self._made[1]
        name = self.schedule.setting(index, "data")
        if callable(self.data):
            found = self.data(self.schedule.filled(index))
        elif name in self.data:
            found = self.data[name]
        elif name is None and len(self.data) == 1:
            (found,) = self.data.values()
        else:
            raise GrowthError(
                f"Stage {index + 1} is to be trained on data={name!r}, and "
                f"there is only {sorted(self.data)}. Name one in "
                "`Stage(data=...)`."
            )
        parts = found if isinstance(found, tuple) else (found,)
        self._made = index, parts
        return parts

    def _refuse(self, index, length, batch_size):
        """Raises: the batches of a dataset cannot be changed."""
        for name, value in (
            ("sequence_length", length),
            ("batch_size", batch_size),
        ):
            if value is not None:
                raise GrowthError(
                    f"Stage {index + 1} has {name}={value}, and the batches "
                    "of a dataset are what they are. Give arrays, or a "
                    "function that makes a dataset for a stage: "
                    "kgrow.fit(..., data=lambda stage: ...). Received: "
                    f"{_kind(self._parts(index)[0])}"
                )


def _are_arrays(parts):
    leaves = keras.tree.flatten(parts[0])
    return bool(leaves) and all(
        hasattr(leaf, "shape") and hasattr(leaf, "__getitem__")
        for leaf in leaves
    )


def _cut(parts, length, stage):
    """Arrays cut along axis 1, where they have that of the inputs."""
    sizes = [
        leaf.shape[1]
        for leaf in keras.tree.flatten(parts["x"])
        if len(leaf.shape) > 1
    ]
    if not sizes:
        raise GrowthError(
            f"Stage {stage} has sequence_length={length}, and the inputs have "
            "no axis 1 to be cut. Received: shapes "
            f"{[tuple(a.shape) for a in keras.tree.flatten(parts['x'])]}"
        )
    # Beside tokens, inputs may hold shorter lists, such as masked places.
    whole = max(sizes)
    if length > whole:
        raise GrowthError(
            f"Stage {stage} has sequence_length={length}, and the inputs are "
            f"only {whole} long."
        )

    def cut(array):
        if len(array.shape) < 2 or array.shape[1] != whole:
            return array
        return array[:, :length]

    return keras.tree.map_structure(cut, parts)


def _kind(value):
    return None if value is None else f"<{type(value).__name__}>"
