"""The parts of a model, as data read off its spec and as a tree."""

import math
import os

from rich.markup import escape
from rich.tree import Tree

from kgrow.algebra.config_fields import text
from kgrow_cli.commands.fitting import AlignedRows
from kgrow_cli.commands.units import flops_text

_KINDS = {
    "stream": "linear stream",
    "nonlinear": "copies only",
    "lookup": "looked up",
    "rotary": "rotary pairs",
    "alibi": "heads with slopes",
}
_NORMS = {
    None: "",
    "layer": ", LayerNorm along it",
    "rms": ", RMSNorm along it",
}


def spec_facts(spec):
    """The dimensions, stacks and variables of a `ModelSpec`, as plain data."""
    return {
        "dims": [
            {
                "name": name,
                "size": spec.sizes[name],
                "field": dim.field,
                "kind": dim.kind,
                "norm": dim.norm,
                "stack": spec.stack_of(name),
            }
            for name, dim in spec.dims.items()
        ],
        "stacks": [
            {
                "name": name,
                "blocks": spec.depths[name],
                "field": stack.field,
                "norm": stack.norm,
                "period": stack.period,
            }
            for name, stack in spec.stacks.items()
        ],
        "variables": _variables(spec),
    }


def _variables(spec):
    """One entry for each variable outside the stacks, and one for all that
    differ by the number of their block only."""
    found = {}
    for variable in spec.variables.values():
        path = variable.template or variable.path
        entry = found.setdefault(
            path,
            {
                "path": path,
                "stack": variable.stack,
                "axes": str(variable.axes),
                "shape": list(variable.shape),
                "blocks": 0,
                "parameters": 0,
            },
        )
        entry["blocks"] += 1
        entry["parameters"] += math.prod(variable.shape)
    return list(found.values())


def tree_of(facts):
    """The facts as a `rich.tree.Tree`."""
    tree = Tree(
        f"[bold]{escape(facts['file'])}[/]  "
        + escape(f"{facts['class']} of {facts['network']}, {facts['dtype']}")
    )
    _add_rows(
        tree.add("[bold]sizes that grow[/]"),
        [(field, text(size)) for field, size in facts["sizes"].items()],
    )
    _add_rows(
        tree.add("[bold]dimensions[/]"),
        [
            (dim["name"], f"{dim['size']:,}", _said_of(dim))
            for dim in facts["dims"]
        ],
    )
    if facts["stacks"]:
        _add_rows(
            tree.add("[bold]stacks of blocks[/]"),
            [
                (
                    stack["name"],
                    f"{stack['blocks']:,}",
                    f"set by {stack['field']}; {stack['norm']}-norm"
                    + (
                        f"; of {stack['period']} alternating kinds"
                        if stack["period"] > 1
                        else ""
                    ),
                )
                for stack in facts["stacks"]
            ],
        )
    _add_parameters(tree, facts)
    if "forward_flops" in facts:
        _add_flops(tree, facts)
    if "growths" in facts:
        gates = f", {facts['active_gates']} gates still opening"
        tree.add(
            f"[bold]growths[/] {facts['growths']}"
            + (gates if facts["active_gates"] else "")
        )
    return tree


def _add_flops(tree, facts):
    _add_rows(
        tree.add(f"[bold]FLOPs[/] of {facts['inputs']}"),
        [
            ("forward", flops_text(facts["forward_flops"])),
            ("training step", flops_text(facts["training_flops"])),
        ],
    )


def _said_of(dim):
    inside = f"; inside the blocks of {dim['stack']}" if dim["stack"] else ""
    return (
        f"set by {dim['field']}; {_KINDS[dim['kind']]}{_NORMS[dim['norm']]}"
        f"{inside}"
    )


def _add_parameters(tree, facts):
    branch = tree.add(f"[bold]parameters[/] {facts['parameters']:,}")
    groups = {}
    for variable in facts["variables"]:
        groups.setdefault(variable["stack"], []).append(variable)
    for stack, variables in groups.items():
        total = sum(v["parameters"] for v in variables)
        if stack is None:
            node = branch.add(f"outside the stacks: {total:,}")
        else:
            blocks = variables[0]["blocks"]
            node = branch.add(
                f"{stack}: {total:,} in {blocks} blocks of {total // blocks:,}"
            )
        folder = _common_folder([v["path"] for v in variables])
        if folder:
            node = node.add(folder.replace("[", "\\["))
        _add_rows(
            node,
            [
                (
                    v["path"].removeprefix(folder),
                    str(tuple(v["shape"])),
                    v["axes"],
                )
                for v in variables
            ],
            right=(),
        )


def _common_folder(paths):
    """The folder that all paths are in, with its slash, or nothing.

    Example:

    >>> _common_folder(["a/b/c", "a/b/d"]), _common_folder(["a/b", "c"])
    ('a/b/', '')
    """
    common = os.path.commonprefix(paths)
    return common[: common.rfind("/") + 1]


def _add_rows(node, rows, right=(1,)):
    """Rows under a node, their columns aligned."""
    if rows:
        node.add(AlignedRows(rows, right))
