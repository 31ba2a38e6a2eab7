"""One tensor in a safetensors file, read when it is wanted.

A file is the length of its header (8 bytes, little-endian), the header (JSON:
names to dtype, shape and place) and the bytes of all tensors. NumPy has no
bfloat16; `ml_dtypes`, which Keras depends on, does.
"""

import json
import math
import os
import pathlib
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from kgrow.algebra.errors import FileError

DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
}
# What weights can be grown in.
FLOATS = ("F64", "F32", "F16", "BF16")

# As in the safetensors library.
_LONGEST_HEADER = 100_000_000


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor is, and what it is.

    Args:
        name: string.
        dtype: string, as in the file: a key of `DTYPES`.
        shape: tuple of ints.
        file: `pathlib.Path`.
        start: int, offset of its first byte in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: pathlib.Path
    start: int

    @property
    def nbytes(self):
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize

    def read(self):
        """The whole tensor, in its own dtype."""
        out = np.empty(self.shape, DTYPES[self.dtype])
        with open(self.file, "rb") as file:
            file.seek(self.start)
            # Bytes: a dtype of ml_dtypes has no buffer of its own.
            view = out.reshape(-1).view(np.uint8)
            if file.readinto(memoryview(view)) != self.nbytes:
                raise FileError(
                    f"{str(self.file)!r} ends inside the tensor {self.name!r}."
                )
        return out


def read_header(path):
    """The tensors of a safetensors file: `({name: StoredTensor}, metadata)`.

    Raises:
        FileError: it is no such file, or its header does not fit its bytes.
    """
    path = pathlib.Path(path)
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
            raise FileError(
                f"{str(path)!r} is no safetensors file: it has {size} bytes, "
                f"and its header would have {length}."
            )
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise FileError(
                f"{str(path)!r} is no safetensors file: its header is no "
                f"JSON: {error}"
            ) from error
    if not isinstance(header, dict):
        raise FileError(f"{str(path)!r}: the header is no object.")
    metadata = header.pop("__metadata__", None) or {}
    tensors = {
        name: _tensor(name, entry, path, 8 + length, size)
        for name, entry in header.items()
    }
    _check_extent(tensors, path, 8 + length, size)
    return tensors, metadata


def _tensor(name, entry, path, base, size):
    try:
        dtype, shape = entry["dtype"], tuple(entry["shape"])
        start, stop = entry["data_offsets"]
        if not all(type(n) is int and n >= 0 for n in (*shape, start, stop)):
            raise ValueError("sizes and offsets are integers")
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            f"{str(path)!r}: the header's entry of {name!r} is not whole. "
            f"Received: {entry!r}"
        ) from error
    if dtype not in DTYPES:
        raise FileError(
            f"{str(path)!r}: {name!r} has the dtype {dtype!r}, which is none "
            f"of {', '.join(DTYPES)}."
        )
    tensor = StoredTensor(name, dtype, shape, path, base + start)
    if tensor.nbytes != stop - start or base + stop > size:
        raise FileError(
            f"{str(path)!r}: {name!r} of shape {shape} and dtype {dtype} does "
            f"not fit its place in the file. Received: bytes {start} to "
            f"{stop} of {size - base}"
        )
    return tensor


def _check_extent(tensors, path, base, size):
    """Tensors lie one behind the other, with no gap and nothing left over."""
    end = base
    for tensor in sorted(tensors.values(), key=lambda t: (t.start, t.nbytes)):
        if tensor.start != end:
            raise FileError(
                f"{str(path)!r}: {tensor.name!r} begins at byte "
                f"{tensor.start - base}, and the tensor before it ends at "
                f"{end - base}."
            )
        end += tensor.nbytes
    if end != size:
        raise FileError(
            f"{str(path)!r} has {size} bytes, and its header speaks of {end}."
        )
