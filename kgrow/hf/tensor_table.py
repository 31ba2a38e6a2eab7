"""Which axes the tensors of an architecture have: tables, and how to read one.

The notation is the algebra's, with additions for what files pack together or
divide. Brackets hold axes that are one in the file:

    "-> [kv ~(2 pairs)] ~hidden"      a key projection, (kv * 2 * pairs, hidden)

a `Packed` holds several variables, one behind the other in one tensor, and a
`Divided` is one variable in several tensors, one for each expert. PyTorch's
linear layers store (out, in): what they produce stands first, and `~` says that
the second axis consumes.
"""

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kgrow.algebra.axes import Axes
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.spec import BlockStack, Dim

_ITEM = re.compile(r"~?\([^()]*\)|~?\w+|[\[\]]")


@dataclass(frozen=True)
class Packed:
    """Several variables in one tensor, one behind the other.

    Args:
        axis: int, along which axis of the tensor they follow one another.
        parts: dict from names to axes.
    """

    axis: int
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Divided:
    """One variable in several tensors, one for each entry of its first axis.

    The rule's expression has `{dim}` in place of the entry's number, as in
    `experts.{experts}.up_proj.weight`; in the variable's path it is `*`.

    Args:
        along: string, the first axis of the variable, which the tensors have
            not: the dimension, with `~` where it is consumed.
        axes: string, the axes of each tensor.
    """

    along: str
    axes: str

    @property
    def dim(self):
        return self.along.removeprefix("~")

    @property
    def whole(self):
        """`Axes` of the variable."""
        (first,) = Axes.parse(f"-> {self.along}").axes
        inner = Axes.parse(unfold(self.axes)[0])
        return dataclasses.replace(inner, axes=(first, *inner.axes))


@dataclass(frozen=True)
class Shifted:
    """A gain that is stored as what is to be added to one (Gemma's norms).

    Args:
        axes: string.
    """

    axes: str


@dataclass(frozen=True)
class TensorTable:
    """What growth has to know of one architecture.

    Args:
        rules: dict from regular expressions over names of tensors to axes, a
            `Packed`, a `Divided` or a `Shifted`. `{layers}` is the number of a
            block.
        dims: tuple of `Dim`s.
        stacks: tuple of `BlockStack`s.
        sizes: function from a config to the sizes of all dims.
        outputs: axes of the network's output, or `None`.
        ignored: tuple of regular expressions over names of tensors that are
            not weights: buffers, copies of tied weights. They are left out.
        settle: function of `(target, source, asked)`, three configs, the last
            one what the user asked for; fills in the fields that follow from
            others, and returns the target.
        per_block: tuple of config fields with one entry per block.
        pinned: dict from names of dims to reasons why they keep their size.

    Example:

    >>> unfold("-> [kv ~(2 pairs)] ~hidden")
    ('-> kv ~(2 pairs) ~hidden', (2, 1))
    """

    rules: Mapping[str, "str | Packed | Divided | Shifted"]
    dims: tuple[Dim, ...]
    stacks: tuple[BlockStack, ...]
    sizes: Callable
    outputs: str | None = None
    ignored: tuple[str, ...] = ()
    settle: Callable | None = None
    per_block: tuple[str, ...] = ()
    pinned: Mapping[str, str] = field(default_factory=dict)

    def axis_map(self):
        """The `AxisMap` of the table's variables: of each tensor, or of each
        part of a packed one, named `tensor#part`."""
        rules = {}
        for pattern, rule in self.rules.items():
            if isinstance(rule, Divided):
                name = pattern.replace(f"{{{rule.dim}}}", r"\*")
                rules[name] = rule.whole
                continue
            for part, axes in parts_of(rule).items():
                name = f"{pattern}#{part}" if part else pattern
                rules[name] = unfold(axes)[0]
        return AxisMap(rules, self.dims, self.stacks, self.outputs)

    def find(self, name):
        """What is known of a tensor.

        Returns:
            `(rule, path, entry)`: the rule, or `None` where the tensor is
            ignored; the path of its variable; and its number where it is one
            entry of a `Divided`, otherwise `None`.

        Raises:
            GrowthError: no rule knows the tensor.
        """
        if any(re.fullmatch(pattern, name) for pattern in self.ignored):
            return None, name, None
        for pattern, rule in self.rules.items():
            expression = pattern
            if isinstance(rule, Divided):
                number = r"(?P<entry>\d+)"
                expression = pattern.replace(f"{{{rule.dim}}}", number)
            expression = re.sub(r"\{\w+\}", r"\\d+", expression)
            match = re.fullmatch(expression, name)
            if match and isinstance(rule, Divided):
                start, end = match.span("entry")
                path = f"{name[:start]}*{name[end:]}"
                return rule, path, int(match["entry"])
            if match:
                return rule, name, None
        raise GrowthError(
            f"The tensor {name!r} is none that this architecture is known to "
            "have. A model with parts of its own (adapters, heads of a task) "
            "is grown without them, or by `kgrow.hf.register` with a table "
            "that names their axes."
        )


def parts_of(rule):
    """`{part: axes}` of a rule; a tensor of one part names it `""`."""
    if isinstance(rule, Packed):
        return dict(rule.parts)
    return {"": rule if isinstance(rule, str) else rule.axes}


def unfold(text):
    """Axes without their brackets, and how many of them each axis of the file
    holds."""
    body, bar, flags = text.partition("|")
    left, arrow, right = body.partition("->")
    counts, sides = [], []
    for side in (left, right):
        inside, kept = False, []
        for item in _ITEM.findall(side):
            if item in "[]":
                inside = item == "["
                if inside:
                    counts.append(0)
                continue
            kept.append(item)
            if inside:
                counts[-1] += 1
            else:
                counts.append(1)
        sides.append(" ".join(kept))
    text = f"{sides[0]} {arrow} {sides[1]}".strip()
    return (f"{text} | {flags.strip()}" if bar else text), tuple(counts)


def unfolded_shape(axes, sizes, fixed):
    """The shape of a variable whose tensor has the shape `fixed`: an axis of
    the file that brackets divide, by the sizes of what is in them.

    Args:
        axes: `Axes`, with brackets counted by `counts`.
        sizes: dict of sizes.
        fixed: `[(count, size), ...]`, an entry for each axis of the file.
    """
    shape, axes = [], list(axes)
    for count, size in fixed:
        group, axes = axes[:count], axes[count:]
        if count == 1:
            shape.append(size)
            continue
        shape += [
            math.prod(sizes.get(f, f) for f in axis.factors) for axis in group
        ]
    return tuple(shape)
