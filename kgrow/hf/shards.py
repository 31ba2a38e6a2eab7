"""Safetensors files written one tensor after the other.

All shapes and dtypes are known before the first tensor is made, so the header
is written first and no tensor waits in memory for the others.
"""

import contextlib
import errno
import json
import math
import os
from dataclasses import dataclass

from kgrow.hf.checkpoint import INDEX, SINGLE
from kgrow.hf.stored_tensor import DTYPES

# As `save_pretrained` of transformers cuts them.
SHARD_BYTES = 5_000_000_000
_PIECE = 1 << 24

# Between these files the system does not copy: not across file systems, or
# not on this kind of one.
_CANNOT_COPY = (
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
    errno.EPERM,
)


@dataclass(frozen=True)
class NewTensor:
    """A tensor to be written.

    Args:
        name: string.
        dtype: string, a key of `DTYPES`.
        shape: tuple of ints.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self):
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def divide(tensors, limit=SHARD_BYTES):
    """Tensors in shards of at most `limit` bytes, or of one tensor.

    Returns:
        dict from file names to lists of `NewTensor`s.

    Example:

    >>> one = NewTensor("a", "F32", (4,))
    >>> list(divide([one, NewTensor("b", "BF16", (4,))]))
    ['model.safetensors']
    >>> list(divide([one, NewTensor("b", "BF16", (4,))], limit=16))
    ['model-00001-of-00002.safetensors', 'model-00002-of-00002.safetensors']
    """
    shards, size = [[]], 0
    for tensor in tensors:
        if shards[-1] and size + tensor.nbytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.nbytes
    if len(shards) == 1:
        return {SINGLE: shards[0]}
    return {
        f"model-{i:05}-of-{len(shards):05}.safetensors": shard
        for i, shard in enumerate(shards, 1)
    }


def write_index(folder, shards):
    """Writes the index of several shards; a single file needs none."""
    if len(shards) < 2:
        return
    index = {
        "metadata": {
            "total_size": sum(t.nbytes for s in shards.values() for t in s)
        },
        "weight_map": {t.name: f for f, s in shards.items() for t in s},
    }
    (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n")


@contextlib.contextmanager
def new_shard(path, tensors, metadata):
    """Context that writes a header, and gives the file to append tensors to,
    in the order of `tensors`; at the end the bytes are on the disk."""
    with open(path, "xb") as file:
        file.write(_header(tensors, metadata))
        yield file
        file.flush()
        os.fsync(file.fileno())


def append_array(file, array):
    """Appends the bytes of an array."""
    flat = array.reshape(-1)
    file.write(memoryview(flat.view("uint8")))


def append_zeros(file, nbytes):
    """Appends zeros."""
    for start in range(0, nbytes, _PIECE):
        file.write(bytes(min(_PIECE, nbytes - start)))


def append_copy(file, tensor):
    """Appends the bytes of a `StoredTensor`, without reading them where the
    system copies between files."""
    file.flush()
    start, left = tensor.start, tensor.nbytes
    with open(tensor.file, "rb") as source:
        while left:
            count = _copy_range(source, file, start, left)
            if count == 0:
                raise EOFError(f"{tensor.file} ends inside {tensor.name}")
            start, left = start + count, left - count


def _copy_range(source, file, start, count):
    count = min(count, 1 << 30)
    if hasattr(os, "copy_file_range"):
        place = file.tell()
        try:
            done = os.copy_file_range(
                source.fileno(), file.fileno(), count, start, place
            )
        except OSError as error:
            if error.errno not in _CANNOT_COPY:
                raise
        else:
            file.seek(place + done)
            return done
    source.seek(start)
    data = source.read(min(count, _PIECE))
    file.write(data)
    file.flush()
    return len(data)


def _header(tensors, metadata):
    entries, end = {"__metadata__": metadata or {"format": "pt"}}, 0
    for tensor in tensors:
        entries[tensor.name] = {
            "dtype": tensor.dtype,
            "shape": list(tensor.shape),
            "data_offsets": [end, end + tensor.nbytes],
        }
        end += tensor.nbytes
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
