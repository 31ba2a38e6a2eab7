"""A folder as the algebra sees it: a `ModelSpec`, before and after."""

import dataclasses
import math
from dataclasses import dataclass

from kgrow.algebra.axes import Axes
from kgrow.algebra.config_fields import check_size
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.initializers import Constant, Normal
from kgrow.algebra.spec import ModelSpec
from kgrow.hf.tensor_table import (
    Divided,
    Packed,
    Shifted,
    parts_of,
    unfold,
    unfolded_shape,
)


@dataclass(frozen=True)
class Part:
    """One variable in a tensor of the file.

    Args:
        path: string, its name in the spec.
        folded: tuple, its shape in the file.
        shape: tuple, its shape with the axes divided that brackets divide;
            without the first axis where the tensor is one entry along it.
    """

    path: str
    folded: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class TensorLayout:
    """How a tensor of the file is made of variables.

    Args:
        name: string, of the tensor.
        dtype: string.
        shape: tuple.
        parts: tuple of `Part`s.
        axis: int, along which they follow one another.
        shifted: bool, whether a gain is stored minus one.
        along: string, the dimension of which the tensor is one entry, or `""`.
        entry: int, which one.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    parts: tuple[Part, ...]
    axis: int = 0
    shifted: bool = False
    along: str = ""
    entry: int = 0


@dataclass(frozen=True)
class FolderSpec:
    """A folder as the algebra sees it.

    Attributes:
        config: dict.
        spec: `ModelSpec` of the variables.
        layouts: dict from names of tensors to `TensorLayout`s.
    """

    config: dict
    spec: ModelSpec
    layouts: dict[str, TensorLayout]

    @property
    def parameters(self):
        return sum(math.prod(t.shape) for t in self.layouts.values())


def source_spec(checkpoint, table):
    """Reads the spec off the headers of a folder.

    Raises:
        GrowthError: a tensor is not known, or its shape contradicts the
            config.
    """
    sizes = _sizes(table, checkpoint.config)
    layouts = {}
    for name, tensor in checkpoint.tensors.items():
        rule, path, entry = table.find(name)
        if rule is None:
            continue
        layout = _layout(name, tensor.dtype, tensor.shape, rule, sizes)
        if isinstance(rule, Divided):
            (part,) = layout.parts
            layout = dataclasses.replace(
                layout,
                parts=(dataclasses.replace(part, path=path),),
                along=rule.dim,
                entry=entry,
            )
        layouts[name] = layout
    return _folder_spec(table, checkpoint.config, layouts)


def target_config(source, table, asked):
    """The config after growing, by its own field names.

    Args:
        source: `FolderSpec` before.
        table: `TensorTable`.
        asked: dict from fields to sizes.

    Raises:
        GrowthError: a field sets no size, or shrinks.
    """
    config, spec = source.config, source.spec
    # A field that no tensor of this folder follows would be a word alone.
    dims = [d for d in table.dims if d.name in spec.sizes]
    fields = {field for d in dims for field in (d.field, d.top_k) if field}
    fields = sorted(fields | {s.field for s in table.stacks})
    for field, size in asked.items():
        if field not in fields:
            raise GrowthError(
                f"`{field}` is no field that sets a size of this model. There "
                f"are: {', '.join(fields)}"
            )
        old, size = config.get(field), check_size(field, size)
        if isinstance(old, int) and size < old:
            raise GrowthError(
                f"`{field}` cannot shrink: {old} -> {size}. Growth only "
                "increases sizes."
            )
    target = {**config, **asked}
    return table.settle(target, config, asked) if table.settle else target


def target_spec(source, table, config):
    """The spec of the folder after growing.

    Args:
        source: `FolderSpec` before.
        table: `TensorTable`.
        config: dict after.

    Raises:
        GrowthError: sizes of the config contradict one another, or one that
            is pinned grows.
    """
    sizes = _sizes(table, config)
    for name, reason in table.pinned.items():
        if sizes[name] != source.spec.sizes.get(name, sizes[name]):
            raise GrowthError(
                f"{reason} Received: {name!r} from {source.spec.sizes[name]} "
                f"to {sizes[name]}"
            )
    layouts = {}
    for path, layout in _new_tensors(source, config, sizes):
        rule, *_ = table.find(layout.name)
        grown = _grown_layout(path, layout, rule, sizes)
        layouts[grown.name] = grown
    return _folder_spec(table, config, layouts)


def _new_tensors(source, config, sizes):
    """`(path, layout)` of each new tensor: the path of its variable, and the
    layout of an old tensor that it is like, with its own number where it is
    one entry along a dimension. A stack's blocks follow one another, and so do
    entries."""
    for path, like in _new_paths(source, config):
        if not like.along:
            yield path, like
        elif like.entry == 0:
            for entry in range(sizes[like.along]):
                yield path, dataclasses.replace(like, entry=entry)


def _new_paths(source, config):
    stacks, done = {}, set()
    for layout in source.layouts.values():
        variable = source.spec.variables[layout.parts[0].path]
        if variable.stack is not None and variable.block == 0:
            stacks.setdefault(variable.stack, []).append((variable, layout))
    for layout in source.layouts.values():
        variable = source.spec.variables[layout.parts[0].path]
        if variable.stack is None:
            yield variable.path.partition("#")[0], layout
        elif variable.stack not in done:
            done.add(variable.stack)
            depth = config[source.spec.stacks[variable.stack].field]
            for block in range(depth):
                for first, like in stacks[variable.stack]:
                    yield first.at(block).partition("#")[0], like


def _grown_layout(name, layout, rule, sizes):
    """A layout with every axis at its new size.

    Args:
        name: string, of the tensor, or the path of the variable that it is one
            entry of.
    """
    parts = []
    for part, text in zip(layout.parts, parts_of(rule).values(), strict=True):
        pattern, counts = unfold(text)
        axes = Axes.parse(pattern)
        shape = axes.shape(sizes, part.shape)
        folded, start = [], 0
        for count in counts:
            folded.append(math.prod(shape[start : start + count]))
            start += count
        suffix = part.path.partition("#")[2]
        path = f"{name}#{suffix}" if suffix else name
        parts.append(Part(path, tuple(folded), shape))
    return dataclasses.replace(
        layout,
        name=name.replace("*", str(layout.entry)) if layout.along else name,
        shape=_whole_shape([p.folded for p in parts], layout.axis),
        parts=tuple(parts),
    )


def _layout(name, dtype, shape, rule, sizes):
    parts = []
    axis = rule.axis if isinstance(rule, Packed) else 0
    texts = parts_of(rule)
    lengths = _lengths(name, shape, axis, texts, sizes)
    for part, text in texts.items():
        folded = list(shape)
        if shape:
            folded[axis] = lengths[part]
        pattern, counts = unfold(text)
        if len(counts) != len(shape):
            raise GrowthError(
                f"{name!r} has the axes '{text}'. Received: shape {shape}"
            )
        axes = Axes.parse(pattern)
        unfolded = unfolded_shape(
            axes, sizes, list(zip(counts, folded, strict=True))
        )
        if math.prod(unfolded) != math.prod(folded):
            raise GrowthError(
                f"{name!r} with the axes '{text}' does not have the shape that "
                f"the config says, by which it would be {unfolded}. Received: "
                f"{tuple(folded)}"
            )
        path = f"{name}#{part}" if part else name
        parts.append(Part(path, tuple(folded), unfolded))
    return TensorLayout(
        name, dtype, shape, tuple(parts), axis, isinstance(rule, Shifted)
    )


def _lengths(name, shape, axis, texts, sizes):
    """How much of an axis of the file each variable in a tensor takes."""
    if len(texts) == 1 or not shape:
        return dict.fromkeys(texts, shape[axis] if shape else 0)
    lengths = {}
    for part, text in texts.items():
        pattern, counts = unfold(text)
        start = sum(counts[:axis])
        inside = list(Axes.parse(pattern))[start : start + counts[axis]]
        factors = [f for each in inside for f in each.factors]
        lengths[part] = math.prod(sizes.get(f, f) for f in factors)
    if sum(lengths.values()) != shape[axis]:
        raise GrowthError(
            f"{name!r} holds {len(texts)} variables along axis {axis}, by the "
            f"config of the lengths {lengths}. Received: shape {shape}"
        )
    return lengths


def _whole_shape(shapes, axis):
    whole = list(shapes[0])
    if whole:
        whole[axis] = sum(shape[axis] for shape in shapes)
    return tuple(whole)


def _sizes(table, config):
    try:
        sizes = table.sizes(config)
    except KeyError as error:
        raise GrowthError(
            f"The config has no field {error.args[0]!r}, which sets a size."
        ) from None
    for dim, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise GrowthError(
                f"The config's sizes make no whole number of {dim!r}. "
                f"Received: {size}"
            )
    return sizes


def _folder_spec(table, config, layouts):
    axis_map = table.axis_map()
    variables = _variables(layouts)
    std = config.get("initializer_range") or 0.02
    initializers = {
        path: _initializer(path, axis_map.lookup(path)[0], std)
        for path, _ in variables
    }
    spec = axis_map.spec(variables, config, initializers)
    _check_sizes(table, config, spec)
    return FolderSpec(config, spec, layouts)


def _variables(layouts):
    """`[(path, shape), ...]` of the variables that tensors hold.

    Raises:
        GrowthError: a variable that tensors divide is not whole.
    """
    shapes, entries = {}, {}
    for layout in layouts.values():
        for part in layout.parts:
            old = shapes.setdefault(part.path, part.shape)
            if old != part.shape:
                raise GrowthError(
                    f"Tensors along {layout.along!r} have one shape. Received: "
                    f"{layout.name!r} of shape {part.shape}, others of {old}"
                )
            if layout.along:
                entries.setdefault(part.path, []).append(layout.entry)
    for path, found in entries.items():
        if sorted(found) != list(range(len(found))):
            raise GrowthError(
                f"The tensors {path!r} are numbered from 0 without gaps. "
                f"Received: {sorted(found)}"
            )
        shapes[path] = (len(found), *shapes[path])
    return list(shapes.items())


def _check_sizes(table, config, spec):
    """The config and the tensors have to say the same."""
    told = _sizes(table, config)
    found = {
        **{d: (told[d], size) for d, size in spec.sizes.items() if d in told},
        **{
            s.field: (config.get(s.field), spec.depths[s.name])
            for s in table.stacks
            if s.name in spec.depths
        },
    }
    for name, (said, is_) in found.items():
        if said != is_:
            raise GrowthError(
                f"The config says that {name!r} is {said}, and the tensors "
                f"have {is_}. The folder is not whole, or not of this model."
            )


def _initializer(path, axes, std):
    """What a new model starts with, as `transformers` does."""
    if axes.scale:
        return Constant(1.0)
    if axes.offset or path.partition("#")[0].endswith(".bias"):
        return Constant(0.0)
    return Normal(std)
