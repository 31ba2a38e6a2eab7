"""Checks how much a file of weights holds, before anything is read from it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from kgrow.algebra.errors import FileError
from kgrow.algebra.types import Config

# Bytes that one stored byte may be expanded to, as in Keras' own check.
_EXPANSION = 1000
# A size that any array may have: metrics, lookup tables, random states.
_SMALL = 2**20
# The growth state, which is never compressed.
_STATE = "vars/growth"


@dataclass(frozen=True)
class Extent:
    """How much a file holds.

    Attributes:
        arrays: int, how many arrays.
        numbers: int, how many numbers in all of them.
    """

    arrays: int
    numbers: int

    def check(self, config: Config, depths: Collection[str] = ()) -> None:
        """Raises if the file is too small to hold a network of these sizes.

        Every unit of a dimension takes at least one number, and every block of
        a stack at least one array.

        Args:
            config: dict of sizes.
            depths: names of the fields that are numbers of blocks.

        Raises:
            FileError: one is too large.

        Example:

        >>> Extent(3, 100).check({"units": 7, "layers": 3}, ["layers"])
        >>> try:
        ...     Extent(3, 100).check({"units": 10**12})
        ... except FileError as error:
        ...     print(str(error)[:44])
        The file says units=1000000000000, and holds
        """
        for field, value in config.items():
            sizes = value if isinstance(value, list) else [value]
            most = self.arrays if field in depths else self.numbers
            if sum(sizes) > most:
                raise FileError(
                    f"The file says {field}={value}, and holds {self.numbers:,}"
                    f" numbers in {self.arrays:,} arrays: a network of that "
                    "size cannot be in it. The file is not whole, or was "
                    "changed; load another one."
                )

    def check_network(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """Raises if the file is too small to hold these variables.

        Args:
            shapes: list of shapes.

        Raises:
            FileError: there are too many of them, or they are too large.
        """
        numbers = sum(math.prod(shape) for shape in shapes)
        if len(shapes) > self.arrays or numbers > self.numbers:
            raise FileError(
                f"The file says that its network has {len(shapes):,} variables "
                f"of {numbers:,} numbers in all, and holds {self.arrays:,} of "
                f"{self.numbers:,}. The file is not whole, or was changed; "
                "load another one."
            )


def check_stored(store: Any) -> None:
    """Checks that no array of a file declares more than the file stores.

    To be called before any array is read.

    Args:
        store: the argument of `load_own_variables()`.

    Raises:
        FileError: an array does.
    """
    for name, item in _datasets(store):
        declared = math.prod(item.shape) * item.dtype.itemsize
        stored = item.id.get_storage_size()
        packed = item.compression is not None and not name.endswith(_STATE)
        if declared > stored * (_EXPANSION if packed else 1):
            raise FileError(
                f"The array {name!r} of the file says that it has "
                f"{declared:,} bytes, and the file stores {stored:,} of it. "
                "The file is not whole, or was changed; load another one."
            )


def check_arrays(store: Any, shapes: Iterable[Sequence[int]]) -> None:
    """Checks that no array of a file is larger than a variable, or its slots.

    Args:
        store: the argument of `load_own_variables()`.
        shapes: list of the variables' shapes.

    Raises:
        FileError: an array is.
    """
    # The largest slots are square preconditioners of one axis.
    most = [max(math.prod(s), max(s, default=1) ** 2) for s in shapes]
    most = max([*most, _SMALL])
    for name, item in _datasets(store):
        if math.prod(item.shape) > most:
            raise FileError(
                f"The array {name!r} of the file has {math.prod(item.shape):,}"
                f" numbers, and no variable of its network more than {most:,}."
                " The file was changed; load another one."
            )


def extent_of_tree(tree: Any) -> Extent:
    """The `Extent` of a nested dict of arrays.

    Example:

    >>> extent_of_tree({"a": {"b": np.zeros((2, 3))}, "c": 1.0})
    Extent(arrays=2, numbers=7)
    """
    if isinstance(tree, Mapping):
        parts = [extent_of_tree(value) for value in tree.values()]
        return _sum(parts)
    return Extent(1, math.prod(np.shape(tree)))


def extent_of_store(store: Any) -> Extent:
    """The `Extent` of the file that Keras is reading.

    Args:
        store: the argument of `load_own_variables()`.

    Raises:
        FileError: the file is not in HDF5.
    """
    sharding = getattr(store, "sharding_config", None)
    if sharding is not None:
        return _extent_of_shards(store.path, sharding)
    return _extent_of_file(_file_of(store))


def _file_of(store):
    file = getattr(store, "h5_file", None)
    if file is None:
        raise FileError(
            "Only a file of weights in HDF5 can make a model larger, as one "
            "can see what it holds before it is read. Save with "
            "`save_weights('name.weights.h5')`. Received: a store of type "
            f"{type(store).__name__}"
        )
    return file


def _datasets(store):
    """`(name, dataset)` of all arrays of a file; of a sharded one, those of
    the open shard."""
    import h5py

    found = []

    def look(name, item):
        if isinstance(item, h5py.Dataset):
            found.append((name, item))

    _file_of(store).visititems(look)
    return found


def _extent_of_shards(path, sharding):
    import h5py

    names = set()
    for shards in sharding["weight_map"].values():
        names.update([shards] if isinstance(shards, str) else shards)
    parts = []
    for name in sorted(names):
        if "/" in name or "\\" in name:
            raise FileError(
                "The parts of a file of weights lie beside it. Received: "
                f"{name!r}"
            )
        with h5py.File(path.with_name(name), "r") as file:
            parts.append(_extent_of_file(file))
    return _sum(parts)


def _extent_of_file(file):
    import h5py

    parts = []

    def look(name, item):
        del name
        if isinstance(item, h5py.Dataset):
            # A dataset may declare any size and store nothing, so its size is
            # bounded by the bytes that it stores.
            stored = _EXPANSION * item.id.get_storage_size()
            parts.append(Extent(1, min(math.prod(item.shape), stored)))

    file.visititems(look)
    return _sum(parts)


def _sum(parts):
    return Extent(sum(p.arrays for p in parts), sum(p.numbers for p in parts))
