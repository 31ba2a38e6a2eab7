"""Values of a task's variables as the tensors of a folder, and back.

`kgrow.hf` says how a tensor is divided into variables, a `HubTable` which
variable of KerasHub each is, and in which order of axes it is stored.
"""

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.hf.stored_tensor import DTYPES


def values_of_folder(checkpoint, layouts, table, shapes):
    """`{path: array}` of a task's variables, read from a folder.

    Args:
        checkpoint: `Checkpoint`.
        layouts: dict from names of tensors to `TensorLayout`s.
        table: `HubTable`.
        shapes: dict from paths of the task's variables to shapes.

    Raises:
        GrowthError: a tensor has no variable, or a variable no tensor.
    """
    values = {}
    for layout in layouts.values():
        whole, start = checkpoint.tensors[layout.name].read(), 0
        for part in layout.parts:
            value, start = _part(whole, layout, part, start)
            path = table.path_of(part.path)
            _check_path(path, part, shapes, table)
            values[path] = _to_keras(value, shapes[path], path, table)
    lost = [p for p in shapes if p not in values]
    lost = [p for p in lost if not p.startswith(table.optional)]
    if lost:
        raise GrowthError(
            f"The folder has no tensor for {len(lost)} variables of KerasHub's "
            f"{table.backbone}. Received: none for {lost[0]!r}"
        )
    return values


def tensor_of_values(layout, table, values):
    """One tensor of a folder, from a task's values.

    Args:
        layout: `TensorLayout` of the tensor.
        table: `HubTable`.
        values: dict from paths to arrays.

    Returns:
        array in the layout's dtype.

    Raises:
        GrowthError: the task has no such variable, or of another size.
    """
    parts = []
    for part in layout.parts:
        path = table.path_of(part.path)
        _check_path(path, part, values, table)
        parts.append(_to_file(values[path], part.folded, path, table))
    whole = parts[0] if len(parts) == 1 else np.concatenate(parts, layout.axis)
    return np.ascontiguousarray(whole.astype(DTYPES[layout.dtype]))


def _part(whole, layout, part, start):
    """`(part of a packed tensor, where the next one begins)`."""
    if len(layout.parts) == 1:
        return whole, 0
    stop = start + part.folded[layout.axis]
    return whole[(slice(None),) * layout.axis + (slice(start, stop),)], stop


def _check_path(path, part, known, table):
    if path not in known:
        raise GrowthError(
            f"KerasHub's {table.backbone} has no variable {path!r} with these "
            f"options, and the folder has {part.path!r} for it."
        )
    shape = getattr(known[path], "shape", known[path])
    if np.prod(shape, dtype=int) != np.prod(part.folded, dtype=int):
        raise GrowthError(
            f"{part.path!r} of shape {part.folded} does not fit the variable "
            f"{path!r}. Received: shape {tuple(shape)}"
        )


def _to_keras(value, shape, path, table):
    if path.endswith(table.per_head):
        heads, width, size = shape
        return value.reshape(heads, size, width).transpose(0, 2, 1)
    if value.ndim == 2 and path.endswith(table.transposed):
        value = value.T
    return value.reshape(shape)


def _to_file(value, folded, path, table):
    if path.endswith(table.per_head):
        return value.transpose(0, 2, 1).reshape(folded)
    if len(folded) == 2 and path.endswith(table.transposed):
        return value.reshape(folded[::-1]).T
    return value.reshape(folded)
