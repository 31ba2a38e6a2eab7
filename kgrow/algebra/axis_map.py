"""Which axes each variable has: a table from paths to axes."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Self

from kgrow.algebra.axes import Axes
from kgrow.algebra.config_fields import base, read
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec, VariableSpec
from kgrow.algebra.types import Config

_PLACEHOLDER = re.compile(r"\{([A-Za-z]\w*)\}")


class AxisMap:
    """Says which axes each variable has, by its path.

    Args:
        rules: dict from a regular expression, which must match the whole path
            of a variable relative to the network (`[w.path for w in
            network.weights]`), to its axes, written as a string. `{name}` in
            an expression means the number of a block in the stack `name`.
        dims: `Dim`s; one that is not listed is of kind `"nonlinear"`, has its
            own
            name as config field, and counts as normalised by a LayerNorm if a
            gain lies along it.
        stacks: `BlockStack`s; one that is not listed is treated as
            `BlockStack(name)`.
        outputs: axes of the network's output, `"_ _ -> vocab"` for logits, if
            an axis of it may grow; a list for several outputs. What leaves a
            norm is marked as its shift: `"_ _ -> hidden | offset"`.
        notes: optional dict from config fields to reasons why growing them
            may not work, for the error that then comes.

    Raises:
        GrowthError: a rule that cannot be read.

    Example:

    >>> axes = AxisMap({
    ...     "inner/kernel": "_ -> units",
    ...     "inner/bias": "-> units",
    ...     "outer/kernel": "units -> _",
    ...     "outer/bias": "-> _",
    ... })
    >>> spec = axes.spec([("inner/kernel", (4, 8)), ("inner/bias", (8,)),
    ...     ("outer/kernel", (8, 2)), ("outer/bias", (2,))], config={})
    >>> spec.sizes
    {'units': 8}
    """

    def __init__(
        self,
        rules: Mapping[str, str | Axes],
        dims: Iterable[Dim] = (),
        stacks: Iterable[BlockStack] = (),
        outputs: Any = None,
        notes: Any = None,
    ) -> None:
        if not isinstance(rules, Mapping) or not rules:
            raise GrowthError(
                "`axes` is a non-empty dict from path expressions to axes, "
                f"such as {{'dense/kernel': 'hidden -> ffn'}}. Received: "
                f"{rules!r}"
            )
        for path, axes in rules.items():
            if not isinstance(path, str) or not isinstance(axes, (str, Axes)):
                raise GrowthError(
                    "Rules are strings: a path expression and its axes. "
                    f"Received: {path!r}: {axes!r}"
                )
        self.rules = {p: Axes.parse(axes) for p, axes in rules.items()}
        self.outputs = _outputs(outputs)
        dims = _parts("dims", dims, Dim)
        stacks = _parts("stacks", stacks, BlockStack)
        _check_notes(notes)
        self.notes = {f: list(why) for f, why in (notes or {}).items()}
        self.stacks = {s.name: s for s in stacks}
        for pattern in self.rules:
            for name in _PLACEHOLDER.findall(pattern):
                self.stacks.setdefault(name, BlockStack(name))
        self.dims = {d.name: d for d in dims}
        normalised = {
            d for axes in self.rules.values() if axes.scale for d in axes.dims
        }
        for axes in self.rules.values():
            for name in axes.dims:
                norm = "layer" if name in normalised else None
                self.dims.setdefault(name, Dim(name, norm=norm))
        self._compiled = [
            (pattern, *_compile(pattern)) for pattern in self.rules
        ]

    @property
    def fields(self) -> dict[str, Any]:
        """`{config field: names of the dims and stacks it sizes}`."""
        fields = {}
        for part in self.parts.values():
            fields.setdefault(base(part.field or part.name), []).append(
                part.name
            )
        return fields

    @property
    def parts(self) -> dict[str, Dim | BlockStack]:
        """`{name: Dim or BlockStack}`."""
        return {**self.dims, **self.stacks}

    def get_config(self) -> dict[str, Any]:
        return {
            "rules": {p: str(axes) for p, axes in self.rules.items()},
            "dims": [vars(d).copy() for d in self.dims.values()],
            "stacks": [vars(s).copy() for s in self.stacks.values()],
            "outputs": self.outputs and [str(axes) for axes in self.outputs],
            "notes": self.notes,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        return cls(
            config["rules"],
            [Dim(**d) for d in config["dims"]],
            [BlockStack(**s) for s in config["stacks"]],
            config["outputs"],
            config.get("notes"),
        )

    def lookup(self, path: str) -> Any:
        """The rule that a path falls under: `(axes, stack, block, template)`.

        Raises:
            GrowthError: no rule matches, or more than one.
        """
        hits = []
        for pattern, expression, stack in self._compiled:
            match = expression.fullmatch(path)
            if match:
                hits.append((pattern, stack, match))
        if len(hits) != 1:
            patterns = [pattern for pattern, _, _ in hits]
            raise GrowthError(
                f"Exactly one rule must name the axes of {path!r}. "
                + (
                    f"Received: {patterns}, which all match it."
                    if hits
                    else f"Received: none of {list(self.rules)} matches it. "
                    "Add a rule; '_' means an axis that never grows."
                )
            )
        pattern, stack, match = hits[0]
        axes = self.rules[pattern]
        if stack is None:
            return axes, None, None, None
        start, end = match.span("block")
        template = f"{path[:start]}{{{stack}}}{path[end:]}"
        block = int(match["block"]) - self.stacks[stack].first
        return axes, stack, block, template

    def spec(
        self,
        variables: Iterable[tuple[str, Sequence[int]]],
        config: Config,
        initializers: Mapping[str, Any] | None = None,
    ) -> ModelSpec:
        """Reads a `ModelSpec` off a network's variables.

        Args:
            variables: `[(path, shape), ...]`.
            config: dict of the network's config fields.
            initializers: optional dict from paths to initial-value functions.

        Raises:
            GrowthError: a variable without a rule, or whose shape contradicts
                its axes.
        """
        specs, initializers = {}, initializers or {}
        for path, shape in variables:
            axes, stack, block, template = self.lookup(path)
            if len(axes) != len(shape):
                raise GrowthError(
                    f"The axes of {path!r} must name {len(shape)} axes, for it "
                    f"has the shape {tuple(shape)}. Received: '{axes}'"
                )
            if path in specs:
                raise GrowthError(
                    f"Two variables have the path {path!r}. Give the layers "
                    "of the network names of their own."
                )
            specs[path] = VariableSpec(
                path,
                tuple(shape),
                axes,
                stack,
                block,
                template,
                initializers.get(path),
                0 if stack is None else self.stacks[stack].first,
            )
        sizes = _solve_sizes(specs, self.dims, config)
        depths = _count_blocks(specs, self.stacks)
        dims = {name: dim for name, dim in self.dims.items() if name in sizes}
        _check_top_k(dims, sizes, config)
        return ModelSpec(
            dict(config), dims, sizes, self.stacks, depths, specs, self.outputs
        )


def _parts(name: str, given: Any, kind: type) -> list[Any]:
    """The entries of an argument, each of a kind."""
    listed = isinstance(given, Iterable) and not isinstance(given, str)
    entries = list(given) if listed else [None]
    if not all(isinstance(entry, kind) for entry in entries):
        raise GrowthError(
            f"`{name}` is a list of `{kind.__name__}`s. Received: "
            f"{name}={given!r}"
        )
    return entries


def _check_notes(notes: Any) -> None:
    if notes is None:
        return
    if not isinstance(notes, Mapping) or not all(
        isinstance(field, str) and isinstance(why, (list, tuple))
        for field, why in notes.items()
    ):
        raise GrowthError(
            "`notes` is a dict from fields to lists of reasons. Received: "
            f"notes={notes!r}"
        )


def _outputs(outputs):
    if outputs is None:
        return None
    if isinstance(outputs, (str, Axes)):
        outputs = [outputs]
    if not isinstance(outputs, (list, tuple)) or not all(
        isinstance(axes, (str, Axes)) for axes in outputs
    ):
        raise GrowthError(
            "`outputs` is the axes of the output, such as '_ -> classes', or a "
            f"list of these. Received: outputs={outputs!r}"
        )
    return tuple(Axes.parse(axes) for axes in outputs)


def _compile(pattern):
    names = _PLACEHOLDER.findall(pattern)
    if len(names) > 1:
        raise GrowthError(
            "A path expression holds at most one block number. Received: "
            f"{pattern!r}"
        )
    expression = _PLACEHOLDER.sub(r"(?P<block>\\d+)", pattern)
    try:
        return re.compile(expression), names[0] if names else None
    except re.error as error:
        raise GrowthError(
            f"{pattern!r} is not a regular expression: {error}"
        ) from None


def _solve_sizes(specs, dims, config):
    """Sizes of all dims, contradiction-free: from shapes, and where these leave
    it open (two dims in one axis), from config fields."""
    used = {name for spec in specs.values() for name in spec.axes.dims}
    told = {
        name: read(config, dim.field)
        for name, dim in dims.items()
        if name in used
    }
    told = {name: n for name, n in told.items() if isinstance(n, int)}
    sizes = _sizes_by_shape(specs, {})
    for name, size in told.items():
        if name not in sizes:
            sizes = _sizes_by_shape(specs, {**sizes, name: size})
    unknown = sorted(used - set(sizes))
    if unknown:
        raise GrowthError(
            f"The sizes of {unknown} follow neither from a config field nor "
            "from a variable's shape. Name the config field in "
            "`Dim(name, field=...)`."
        )
    for spec in specs.values():
        for name, _ in spec.axes.powers:
            if name not in sizes:
                raise GrowthError(
                    f"{spec.path!r} with axes '{spec.axes}' is rescaled when "
                    f"{name!r} grows, which is none of the dimensions "
                    f"{sorted(sizes)}."
                )
        expected = spec.axes.shape(sizes, spec.shape)
        if expected != spec.shape:
            known = {d: sizes[d] for d in spec.axes.dims}
            raise GrowthError(
                f"{spec.path!r} with axes '{spec.axes}' and {known} should "
                f"have the shape {expected}. Received: {spec.shape}"
            )
    return {name: sizes[name] for name in dims if name in sizes}


def _check_top_k(dims, sizes, config):
    for name, dim in dims.items():
        top_k = config.get(dim.top_k)
        if isinstance(top_k, int) and not 1 <= top_k <= sizes[name]:
            raise GrowthError(
                f"`{dim.top_k}` is how many of the {sizes[name]} entries that "
                f"`{dim.field}` says take part. Received: {dim.top_k}={top_k}"
            )


def _sizes_by_shape(specs, sizes):
    """The sizes that shapes give, one unknown in an axis at a time."""
    sizes, open_axes = dict(sizes), {}
    for spec in specs.values():
        for axis, size in zip(spec.axes, spec.shape, strict=True):
            if axis.dims:
                open_axes[axis.factors, size] = axis.dims
    progress = True
    while progress:
        progress = False
        for (factors, size), names in list(open_axes.items()):
            missing = {d for d in names if d not in sizes}
            if len(missing) > 1:
                continue
            del open_axes[factors, size]
            for name in missing:
                known = math.prod(sizes.get(f, f) for f in factors if f != name)
                sizes[name] = size // known
                progress = True
    return sizes


def _count_blocks(specs, stacks):
    depths = {}
    for name in stacks:
        found = {}
        for spec in specs.values():
            if spec.stack == name:
                found.setdefault(spec.template, set()).add(spec.block)
        blocks = sorted(set().union(*found.values()))
        if blocks != list(range(len(blocks))):
            raise GrowthError(
                f"The blocks of the stack {name!r} must be numbered without "
                f"gaps from {stacks[name].first}, its `first`. Received: "
                f"{[b + stacks[name].first for b in blocks]}"
            )
        for template, members in found.items():
            if len(members) < len(blocks):
                raise GrowthError(
                    f"All blocks of the stack {name!r} must have the same "
                    f"variables. Received: {template!r} in the blocks "
                    f"{sorted(members)} of {len(blocks)}. A variable that one "
                    "block has alone is no part of the stack: write its block "
                    "number into a rule of its own."
                )
        depths[name] = len(blocks)
    return depths
