"""Axes of a task's variables, from the table of the folder it came from."""

import dataclasses

from kgrow.algebra.axes import CONSUME, Axes, Axis
from kgrow.algebra.axis_map import AxisMap
from kgrow.hf.tensor_table import Shifted, parts_of, unfold

# Their gains are stored minus one, so that a gain that a growth multiplies, as
# that before a tied head, would not be what is stored.
_SHIFTED = "hidden"
_NOTE = "the gains of its norms are stored minus one"


def folder_axes(names, axes_table, table, backbone):
    """The `AxisMap` of a task, so that nothing has to be derived.

    Args:
        names: names of the folder's tensors.
        axes_table: `TensorTable` of the folder.
        table: `HubTable`.
        backbone: the task's backbone.
    """
    rules, shifted = dict(table.axes), False
    for name in names:
        rule, *_ = axes_table.find(name)
        if rule is None:
            continue
        shifted |= isinstance(rule, Shifted)
        for part, text in parts_of(rule).items():
            path = table.path_of(f"{name}#{part}" if part else name, "{layers}")
            rules[path] = _in_keras_order(text, path, table)
    fields = _fields(table, backbone)
    dims = [_renamed(dim, fields) for dim in axes_table.dims]
    notes = {}
    if shifted:
        rules = {path: str(_fixed(axes)) for path, axes in rules.items()}
        dims = [dim for dim in dims if dim.name != _SHIFTED]
        notes = {"hidden_dim": [_NOTE]}
    used = {d for axes in rules.values() for d in Axes.parse(axes).dims}
    return AxisMap(
        rules,
        [dim for dim in dims if dim.name in used],
        [
            dataclasses.replace(_renamed(stack, fields), period=table.period)
            for stack in axes_table.stacks
        ],
        axes_table.outputs,
        notes=notes,
    )


def _in_keras_order(text, path, table):
    """Axes as a string, in the order in which KerasHub stores them."""
    pattern, counts = unfold(text)
    axes = Axes.parse(pattern)
    order, first = list(axes), counts[0] if counts else 0
    if path.endswith(table.per_head):
        order = [order[0], order[2], order[1]]
    elif len(counts) == 2 and path.endswith(table.transposed):
        order = order[first:] + order[:first]
    return str(dataclasses.replace(axes, axes=tuple(order)))


def _fields(table, backbone):
    """`{field of the folder's config: field of the backbone}`."""
    fields = {there: here for here, there in table.fields.items()}
    own = backbone.get_config()
    # Heads without a field of their own share the width.
    head = "head_dim" if "head_dim" in own else "hidden_dim"
    return {
        "intermediate_size": "intermediate_dim",
        "n_inner": "intermediate_dim",
        "head_dim": head,
        **fields,
    }


def _renamed(part, fields):
    return dataclasses.replace(part, field=fields.get(part.field, part.field))


def _fixed(axes):
    """Axes along which the width does not grow."""
    axes = Axes.parse(axes)
    return dataclasses.replace(
        axes,
        axes=tuple(
            Axis((), CONSUME) if _SHIFTED in axis.dims else axis
            for axis in axes
        ),
        powers=tuple(p for p in axes.powers if p[0] != _SHIFTED),
    )
