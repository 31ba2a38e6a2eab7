"""One tensor of a grown folder: copied, zero, or computed."""

import math

import numpy as np

from kgrow.algebra.linear_maps import UNWRITTEN, GatherMap
from kgrow.algebra.plan_term import blocks, joint_maps
from kgrow.hf.shards import append_array, append_copy, append_zeros
from kgrow.hf.stored_tensor import DTYPES
from kgrow.hf.windows import entry_plan, window_axis, windows

# Of a window, in the dtype that is computed in.
WINDOW_BYTES = 1 << 26


class TensorGrowth:
    """Writes the tensors of a grown folder.

    A tensor that growth leaves as it was is copied by the system, one that it
    silences is written as zeros. Others are read, grown in float32 (float64
    where they are stored in it) and rounded to their dtype, in windows where
    they are large.

    Args:
        checkpoint: `Checkpoint` before.
        source: `FolderSpec` before.
        target: `FolderSpec` after.
        plan: `Plan` from the one to the other.
    """

    def __init__(self, checkpoint, source, target, plan):
        self.checkpoint = checkpoint
        self.source = source
        self.target = target
        self.plan = plan
        self._whole = None, None
        # Of each variable, its tensors by their numbers.
        self.places = {}
        for layout in source.layouts.values():
            for number, part in enumerate(layout.parts):
                tensors, _ = self.places.setdefault(part.path, ({}, number))
                tensors[layout.entry] = layout

    def append(self, file, name):
        """Appends a tensor of the target to a file."""
        layout = self.target.layouts[name]
        exits = [self._exit(part.path) for part in layout.parts]
        copied = self._copied(layout)
        if not any(exits):
            append_zeros(file, math.prod(layout.shape) * _itemsize(layout))
        elif copied and all(e == 1.0 for e in exits):
            append_copy(file, self.checkpoint.tensors[copied])
        else:
            append_array(file, self._grown(layout))

    def _grown(self, layout):
        read = _Reader(self.checkpoint, self.places, layout.shifted)
        parts = []
        for part in layout.parts:
            out = np.empty(part.shape, DTYPES[layout.dtype])
            if layout.along:
                self._grow_entry(out, part.path, read, layout)
            else:
                plan = self.plan
                self._grow_into(out, plan, part.path, read, layout.shifted)
            parts.append(out.reshape(part.folded))
        if len(parts) == 1:
            return parts[0]
        return np.concatenate(parts, axis=layout.axis)

    def _grow_entry(self, out, path, read, layout):
        """Grows one of the tensors that a variable is divided into."""
        found = entry_plan(self.plan, path, layout.entry)
        if found is not None:
            plan, old = found
            read.entries = old
            self._grow_into(out[None], plan, path, read, layout.shifted)
            return
        if self._whole[0] != path:
            whole = np.empty(self.plan.target.variables[path].shape, out.dtype)
            self._grow_into(whole, self.plan, path, read, layout.shifted)
            self._whole = path, whole
        out[...] = self._whole[1][layout.entry]

    def _grow_into(self, out, plan, path, read, shifted):
        variable = plan.target.variables[path]
        place, nbytes = None, out.size * read.itemsize
        if nbytes > WINDOW_BYTES:
            place = window_axis(plan, variable)
        if place is None:
            values = {p: read(p) for p in plan.reads(path)} or _nothing(read)
            out[...] = _stored(plan.grow(path, values), shifted)
            return
        axis = place[0]
        rows = max(1, out.shape[axis] * WINDOW_BYTES // nbytes)
        for span, small, old in windows(plan, path, place, rows):
            values = {p: read(p, axis, old) for p in plan.reads(path)}
            grown = small.grow(path, values or _nothing(read))
            index = (slice(None),) * axis + (span,)
            out[index] = _stored(grown, shifted)

    def _exit(self, path):
        """The factor on a variable by its block: zero if it is silenced."""
        variable = self.plan.target.variables[path]
        if not variable.axes.residual_out or len(self.plan.terms) != 1:
            return 1.0
        depth = self.plan.terms[0].depths.get(variable.stack)
        return 1.0 if depth is None else float(depth.exits[variable.block])

    def _copied(self, layout):
        """The tensor that this one is a copy of, or `None`."""
        found = {self._copy_of(part.path, layout) for part in layout.parts}
        return found.pop() if len(found) == 1 else None

    def _copy_of(self, path, layout):
        plan, variable = self.plan, self.plan.target.variables[path]
        if len(plan.terms) != 1 or plan.terms[0].share_of(variable) != 1:
            return None
        reads = blocks(plan.terms[0], variable)
        if len(reads) != 1 or reads[0][1] != 1.0:
            return None
        old, new = plan.source.sizes, plan.target.sizes
        maps = [m for _, m in joint_maps(plan.terms[0], variable)]
        entry = 0
        if layout.along:
            entry, *maps = _copied_entry(maps[0], layout.entry), *maps[1:]
        same = all(m is None or m.is_identity for m in maps) and all(
            old[d] == new[d] for d, _ in variable.axes.powers
        )
        tensors, _ = self.places[reads[0][0]]
        return tensors[entry].name if same and entry in tensors else None


def _copied_entry(m, entry):
    """The old entry that a new one is a copy of, or `None`."""
    if m is None:
        return entry
    if not isinstance(m, GatherMap) or m.indices[entry] == UNWRITTEN:
        return None
    as_it_was = m.weights is None or m.weights[entry] == 1.0
    return int(m.indices[entry]) if as_it_was else None


class _Reader:
    """Reads variables of the folder, each tensor once.

    Attributes:
        entries: which entries along the first axis are read, of a variable
            that tensors divide; all by default.
    """

    def __init__(self, checkpoint, places, shifted):
        self._checkpoint = checkpoint
        self._places = places
        self._shifted = shifted
        self._kept = {}
        self.entries = None
        wide = any(t.dtype == "F64" for t in checkpoint.tensors.values())
        self.dtype = np.dtype(np.float64 if wide else np.float32)
        self.itemsize = self.dtype.itemsize

    def __call__(self, path, axis=0, rows=None):
        """A variable, or some rows of it along an axis, to compute with."""
        tensors, number = self._places[path]
        if tensors[0].along:
            entries = range(len(tensors))
            entries = entries if self.entries is None else self.entries
            value = np.stack([self._part(tensors[e], number) for e in entries])
        else:
            value = self._part(tensors[0], number)
        if rows is not None:
            value = np.take(value, rows, axis=axis)
        value = value.astype(self.dtype)
        return value + 1 if self._shifted else value

    def _part(self, layout, number):
        if layout.name not in self._kept:
            tensor = self._checkpoint.tensors[layout.name]
            self._kept[layout.name] = tensor.read()
        value = self._kept[layout.name]
        part = layout.parts[number]
        if len(layout.parts) > 1:
            before = layout.parts[:number]
            start = sum(p.folded[layout.axis] for p in before)
            index = (slice(None),) * layout.axis
            index += (slice(start, start + part.folded[layout.axis]),)
            value = value[index]
        return value.reshape(part.shape)


def _stored(value, shifted):
    return value - 1 if shifted else value


def _nothing(read):
    """What says the kind of arrays to a plan that reads none."""
    return {"": np.empty(0, read.dtype)}


def _itemsize(layout):
    return DTYPES[layout.dtype].itemsize
