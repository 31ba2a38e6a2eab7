"""The tensor ring of Mango, over the sliced kernels of a stack."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kgrow.algebra.axes import CONSUME, PRODUCE, Axes
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.joint_map import JointMap
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.spec import ModelSpec
from kgrow.algebra.types import Array, Values
from kgrow.strategies.net2net import uneven_shares

CORES = ("modules", "out", "layers", "in")


@dataclass(frozen=True, eq=False)
class _Layout:
    """How the kernels of a stack are cut into slices.

    Attributes:
        source, target: `ModelSpec`s.
        stack: string.
        stream: string, the dimension whose size is that of a slice.
        modules: list of `(template, number of slices, whether it is cut along
            its input)`.
    """

    source: ModelSpec
    target: ModelSpec
    stack: str
    stream: str
    modules: list[tuple[str, int, bool]]

    @property
    def sizes(self) -> tuple[int, int]:
        return self.source.sizes[self.stream], self.target.sizes[self.stream]

    @property
    def depths(self) -> tuple[int, int]:
        return self.source.depths[self.stack], self.target.depths[self.stack]

    @property
    def paths(self) -> set[str]:
        return {
            self._path(template, block)
            for template, _, _ in self.modules
            for block in range(self.depths[1])
        }

    def sources(self, path: str) -> list[str]:
        """Paths of all kernels that one is mixed from, the one of the same name
        first."""
        variable = self.target.variables[path]
        old = self.depths[0]
        templates = [variable.template]
        templates += [t for t, _, _ in self.modules if t != templates[0]]
        first = (variable.block or 0) % old
        blocks = [first, *(b for b in range(old) if b != first)]
        return [self._path(t, b) for t in templates for b in blocks]

    def start(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """The first component of each core."""
        (n, m), (old, new) = self.sizes, self.depths
        copies = np.arange(m) % n
        shares = uneven_shares(n, copies, rng)
        produce = np.zeros((n, m))
        produce[copies, np.arange(m)] = 1.0
        layers = np.zeros((old, new))
        layers[np.arange(new) % old, np.arange(new)] = 1.0
        return {
            "modules": np.eye(sum(count for _, count, _ in self.modules)),
            "out": produce,
            "layers": layers,
            "in": produce * shares,
        }

    def stacked(self, values: Values) -> Array:
        """`M1[b, l, i, o]`."""
        n, blocks = self.sizes[0], []
        for block in range(self.depths[0]):
            slices = []
            for template, count, reads in self.modules:
                value = values[self._path(template, block)]
                shape = (count, n, n) if reads else (n, count, n)
                value = ops.reshape(value, shape)
                slices.append(value if reads else ops.swapaxes(value, 0, 1))
            blocks.append(ops.concatenate(slices))
        return ops.stack(blocks, axis=1)

    def unstacked(self, grown: Array) -> dict[str, Array]:
        """The kernels of `M2[b, l, i, o]`, by path.

        By `split`, whose gradient is one concatenation; that of each slice
        would be padded to the size of the whole.
        """
        found = {}
        counts = [count for _, count, _ in self.modules]
        borders = np.cumsum(counts)[:-1].tolist()
        for block, layer in enumerate(ops.split(grown, self.depths[1], axis=1)):
            parts = ops.split(ops.squeeze(layer, 1), borders)
            for part, (template, _, reads) in zip(
                parts, self.modules, strict=True
            ):
                value = part if reads else ops.swapaxes(part, 0, 1)
                path = self._path(template, block)
                shape = self.target.variables[path].shape
                found[path] = ops.reshape(value, shape)
        return found

    def _path(self, template, block):
        number = block + self.target.stacks[self.stack].first
        return template.replace(f"{{{self.stack}}}", str(number))


@dataclass(frozen=True, eq=False)
class Ring(JointMap):
    """The four cores of one stack, as a map of its kernels.

    Args:
        layout: `_Layout`.
        cores: dict from the names in `CORES` to arrays or tensors.
    """

    layout: _Layout
    cores: Mapping[str, Array]

    @property
    def paths(self) -> set[str]:
        return self.layout.paths

    def sources(self, path: str) -> list[str]:
        return self.layout.sources(path)

    def grow(
        self, values: Values, lay_out: Callable[[Array], Array] | None = None
    ) -> dict[str, Array]:
        lay_out = lay_out or _as_it_is
        first = values[self.sources(min(self.paths))[0]]
        cores = [
            ops.cast(ops.convert_to_tensor(self.cores[c]), first.dtype)
            for c in CORES
        ]
        stacked = lay_out(self.layout.stacked(values))
        grown = self.layout.unstacked(lay_out(_apply(cores, stacked)))
        if not isinstance(first, np.ndarray):
            return grown
        return {
            path: np.asarray(ops.convert_to_numpy(value))
            for path, value in grown.items()
        }


def _as_it_is(tensor):
    return tensor


def _apply(cores, tensor):
    """The ring's sum, from small to large."""
    modules, out, layers, reads = cores
    mixed = ops.einsum("abcd,blij->acdlij", modules, tensor)
    mixed = ops.einsum("acdlij,elmf->acdemfij", mixed, layers)
    wide = ops.einsum("acdemfij,djke->acmfik", mixed, out)
    return ops.einsum("acmfik,fina->cmnk", wide, reads)


def inner_dims(layout: _Layout) -> dict[str | tuple[str, ...], int]:
    """`{dim, or product of dims: slices}`, for dimensions inside blocks."""
    spec, found = layout.target, {}
    for template, slices, _ in layout.modules:
        axes = spec.variables[layout._path(template, 0)].axes
        for side in _sides(axes, layout.stream) or ():
            if side == (layout.stream,):
                continue
            name, *more = side
            found[side if more else name] = slices
    return found


def _sides(
    axes: Axes, stream: str
) -> tuple[tuple[Any, ...], tuple[Any, ...]] | None:
    """The dims that a kernel reads and those it produces; the stream is one of
    the two. `None` if it is neither, or both."""
    names = [(d, axis.role) for axis in axes for d in (axis.factors or ("_",))]
    at = [i for i, (d, _) in enumerate(names) if d == stream]
    if len(at) != 1 or at[0] not in (0, len(names) - 1):
        return None
    reads = names[:1] if at[0] == 0 else names[:-1]
    writes = names[len(reads) :]

    def key(side):
        role = side[0][1]
        return tuple(d if r == role else f"~{d}" for d, r in side)

    return key(reads), key(writes)


def find_layout(
    stack: str, source: ModelSpec, target: ModelSpec
) -> _Layout | None:
    """How the kernels of a stack are cut, or `None` if none of them grows."""
    kernels = [
        v
        for v in target.variables.values()
        if v.stack == stack and v.block == 0 and _is_kernel(v)
    ]
    if not kernels or not source.depths[stack]:
        return None
    streams = [
        d
        for d in kernels[0].axes.dims
        if target.stack_of(d) is None and all(d in v.axes.dims for v in kernels)
    ]
    inner = {d for v in kernels for d in v.axes.dims}
    grows = source.depths[stack] != target.depths[stack] or any(
        source.sizes[d] != target.sizes[d] for d in inner
    )
    if not grows:
        return None
    if len(streams) != 1:
        raise GrowthError(
            "'mango' cuts the kernels of a stack into squares of the stream's "
            f"width, and those of {stack!r} have no one dimension in common. "
            f"Received: {[str(v.axes) for v in kernels]}. Use 'ligo'."
        )
    (stream,) = streams
    modules = []
    for kernel in kernels:
        sides = _sides(kernel.axes, stream)
        counts = [
            _slices(kernel, sides, stream, spec) for spec in (source, target)
        ]
        if sides is None or counts[0] is None or counts[0] != counts[1]:
            sizes = [
                {d: spec.sizes[d] for d in kernel.axes.dims}
                for spec in (source, target)
            ]
            raise GrowthError(
                "'mango' cuts kernels into squares of the stream's width: "
                "heads times their size must be that width, and the "
                "feedforward network the same multiple of it before and "
                f"after. Received: {kernel.template!r} with the sizes "
                f"{sizes[0]}, then {sizes[1]}. Choose such sizes, or 'ligo', "
                "which has no such bounds."
            )
        modules.append((kernel.template, counts[0], sides[1] == (stream,)))
    return _Layout(source, target, stack, stream, modules)


def _is_kernel(variable):
    roles = [axis.role for axis in variable.axes for _ in axis.dims]
    axes = variable.axes
    return (
        not (axes.scale or axes.offset or axes.elementwise)
        and bool(roles)
        and CONSUME in roles
        and PRODUCE in roles
        and roles[0] == CONSUME
    )


def _slices(kernel, sides, stream, spec):
    """The number of squares that a kernel is cut into, or `None`."""
    if sides is None:
        return None
    width = spec.sizes[stream]
    inner = sides[1] if sides[0] == (stream,) else sides[0]
    size = int(np.prod([spec.sizes.get(str(d).strip("~"), 0) for d in inner]))
    return size // width if size and size % width == 0 else None
