"""How much a file of weights holds, before anything is made for it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kgrow.algebra.errors import FileError

# What a compressed file may come to, as Keras itself allows.
_EXPANSION = 1000
# Numbers that any array may have: of metrics, lookups, random states.
_SMALL = 2**20
# The growth state, which is never compressed.
_STATE = "vars/growth"


@dataclass(frozen=True)
class Extent:
    """What a file holds.

    Attributes:
        arrays: int, how many arrays.
        numbers: int, how many numbers in them.
    """

    arrays: int
    numbers: int

    def check(self, config, depths=()):
        """Raises if a network of these sizes cannot be in the file.

        Every unit of a dimension has a number of its own somewhere, and every
        block of a stack an array.

        Args:
            config: dict of sizes.
            depths: names of those that are numbers of blocks.

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

    def check_network(self, shapes):
        """Raises if variables of these shapes cannot be in the file.

        Args:
            shapes: list of shapes.

        Raises:
            FileError: they are too many, or too large.
        """
        numbers = sum(math.prod(shape) for shape in shapes)
        if len(shapes) > self.arrays or numbers > self.numbers:
            raise FileError(
                f"The file says that its network has {len(shapes):,} variables "
                f"of {numbers:,} numbers in all, and holds {self.arrays:,} of "
                f"{self.numbers:,}. The file is not whole, or was changed; "
                "load another one."
            )


def check_stored(store):
    """Raises where an array of a file declares more than it stores.

    To be called before any is read.

    Args:
        store: what Keras gives to `load_own_variables()`.

    Raises:
        FileError: one does.
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


def check_arrays(store, shapes):
    """Raises where an array of a file is larger than any variable, or slot of
    one, can be.

    Args:
        store: what Keras gives to `load_own_variables()`.
        shapes: list of the variables' shapes.

    Raises:
        FileError: one is.
    """
    # Preconditioners are square.
    most = [max(math.prod(s), max(s, default=1) ** 2) for s in shapes]
    most = max([*most, _SMALL])
    for name, item in _datasets(store):
        if math.prod(item.shape) > most:
            raise FileError(
                f"The array {name!r} of the file has {math.prod(item.shape):,}"
                f" numbers, and no variable of its network more than {most:,}."
                " The file was changed; load another one."
            )


def extent_of_tree(tree):
    """The `Extent` of a nested dict of arrays.

    Example:

    >>> extent_of_tree({"a": {"b": np.zeros((2, 3))}, "c": 1.0})
    Extent(arrays=2, numbers=7)
    """
    if isinstance(tree, Mapping):
        parts = [extent_of_tree(value) for value in tree.values()]
        return _sum(parts)
    return Extent(1, math.prod(np.shape(tree)))


def extent_of_store(store):
    """The `Extent` of the file that Keras is reading.

    Args:
        store: what Keras gives to `load_own_variables()`.

    Raises:
        FileError: it is none of which that can be said.
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
    """`(name, dataset)` of all arrays of a file; of one in shards, those of
    the shard that is open."""
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
            # Not what a dataset declares alone: one that stores nothing may
            # declare anything.
            stored = _EXPANSION * item.id.get_storage_size()
            parts.append(Extent(1, min(math.prod(item.shape), stored)))

    file.visititems(look)
    return _sum(parts)


def _sum(parts):
    return Extent(sum(p.arrays for p in parts), sum(p.numbers for p in parts))
