"""From what traces found out to the `AxisMap` of a network."""

import math
import re
from dataclasses import dataclass, field
from fractions import Fraction

from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.config_fields import read
from kgrow.algebra.spec import BlockStack, Dim
from kgrow.architecture.inference.dimensions import resolved, size_of
from kgrow.architecture.inference.naming import dimension_names, stack_name

_POWERS = (0.5, 1.0, -0.5, -1.0)


@dataclass(eq=False)
class Group:
    """A dimension: nodes that are one, or at the same place of blocks.

    Attributes:
        nodes: list of `Node`s.
        size: int.
        uses: list of `(path, axis, place, factor)`.
        ratios: `{number of a change: Fraction}`.
        field: config field that moves it, or `None`.
        kind, norm, top_k: as of `Dim`.
        stuck: why it cannot grow, or `None`.
        name: string.
    """

    nodes: list
    size: int
    uses: list = field(default_factory=list)
    ratios: dict = field(default_factory=dict)
    field: str | None = None
    kind: str = "nonlinear"
    norm: str | None = None
    top_k: str = ""
    stuck: str | None = None
    name: str = ""


class Reading:
    """Reads an `AxisMap` off what traces found out.

    Args:
        facts: `Facts` of a network.
        changes: `[(Change, Facts), ...]`, of the same network with other
            sizes.
        stacks: list of `BlockStack`s.
        periods: list with the period of each.
        config: dict.
        paths: list of the paths of the weights that need a rule.
    """

    def __init__(self, facts, changes, stacks, periods, config, paths):
        self.facts = facts
        self.changes = changes
        self.stacks = stacks
        self.periods = periods
        self.config = config
        self.paths = [p for p in facts.axes if p in set(paths)]
        self.stack_names = []
        for stack in stacks:
            name = stack_name(stack.prefix, self.stack_names)
            self.stack_names.append(name)
        self.groups = self._find_groups()
        self._at = {
            (path, a, k): group
            for group in self.groups
            for path, a, k, _ in group.uses
        }
        for group in self.groups:
            self._classify(group)
        self._pin_unbalanced()
        self._pin_divided()
        self._share_fields()
        self._name()
        self.notes = self._notes()

    def axis_map(self):
        """The `AxisMap`."""
        scales = self._scales()
        rules = {}
        for path in self.paths:
            pattern = self._pattern(path)
            if pattern not in rules:
                rules[pattern] = self._axes(path, scales)
        dims = [
            Dim(g.name, g.field, g.kind, g.norm, g.top_k)
            for g in self.groups
            if g.stuck is None
        ]
        return AxisMap(rules, dims, self._stacks(), self._outputs(), self.notes)

    # --- dimensions

    def _find_groups(self):
        found, of_node, at = [], {}, {}
        for path in self.paths:
            for a, axis in enumerate(self.facts.axes[path]):
                for k, factor in enumerate(resolved(axis)):
                    key = self._pattern(path), a, k
                    node = factor.node
                    group = of_node.get(node) or at.get(key)
                    if group is None:
                        group = Group([], node.size)
                        found.append(group)
                    other = at.setdefault(key, group)
                    if other is not group:
                        _join(group, other, of_node, at)
                        found.remove(other)
                    if node not in of_node:
                        of_node[node] = group
                        group.nodes.append(node)
                    group.uses.append((path, a, k, factor))
        for group in found:
            self._measure(group)
        return found

    def _measure(self, group):
        for number, (_, other) in enumerate(self.changes):
            ratios = set()
            for path, a, k, factor in group.uses:
                if path not in other.axes:
                    continue
                mine = resolved(self.facts.axes[path][a])
                its = resolved(other.axes[path][a])
                if len(mine) == len(its):
                    size = its[k].node.size
                    ratios.add(Fraction(size, factor.node.size))
                elif len(mine) == 1 and not its:
                    # An axis of one entry has no factors.
                    ratios.add(Fraction(1, factor.node.size))
                elif size_of(mine) != size_of(its):
                    ratios.add(None)
            if len(ratios) == 1 and None not in ratios:
                group.ratios[number] = ratios.pop()
            elif ratios:
                group.stuck = "sizes do not say what moves it"

    def _classify(self, group):
        nodes = group.nodes
        group.field = self._field(group)
        pinned = next((n.pinned for n in nodes if n.pinned), None)
        doubts = [pinned] if pinned else []
        doubts += sorted(set().union(*(n.doubts for n in nodes)))
        indexed = any(n.indexed for n in nodes)
        sums = set().union(*(n.sums for n in nodes))
        group.kind = (
            "nonlinear" if any(n.nonlinear for n in nodes) else "stream"
        )
        if sums >= {"linear", "square"}:
            group.norm = "layer"
        elif "square" in sums:
            group.norm = "rms"
        if group.field is None:
            group.stuck = group.stuck or "no config field makes it larger"
        elif not {path for path, *_ in group.uses} & self.facts.read:
            # Nothing reads these values in this computation, so their meaning
            # is unknown: old entries keep their positions.
            group.kind, group.norm = "lookup", None
        elif self._is_table(group, indexed, pinned):
            group.kind, group.norm = "lookup", None
        elif self._is_output_only(group):
            group.kind, group.norm = "lookup", None
        elif not pinned and self._is_routed(group):
            group.kind, group.norm = "nonlinear", "softmax"
            group.top_k = self._top_k(group)
        elif doubts:
            group.stuck = doubts[0]
        elif any(f.token.root()[0].torn for *_, f in group.uses):
            group.stuck = "the same weights make it and read it"
        elif sums == {"linear"}:
            group.stuck = "it is averaged"

    def _is_routed(self, group):
        """Whether it counts experts, and how many of them are taken is a
        field."""
        routed = all(node.is_routed for node in group.nodes)
        return routed and bool(self._top_k(group))

    def _top_k(self, group):
        """The config field of how many entries are taken, or `""`."""
        at = [
            i
            for i, (node, _) in enumerate(self.facts.picks)
            if node.root() in group.nodes
        ]
        taken = {self.facts.picked()[i] for i in at}
        for change, other in self.changes:
            more = other.picked()
            if any(more[i] == self.facts.picked()[i] for i in at):
                continue
            for name in change.fields:
                if name != group.field and {read(self.config, name)} == taken:
                    return name
        return ""

    def _factors(self, path, a):
        """The factors of an axis, each with its dimension."""
        factors = resolved(self.facts.axes[path][a])
        return [(f, self._at[path, a, k]) for k, f in enumerate(factors)]

    def _side(self, path, group, factor):
        """1 for what produces along an axis, -1 for what consumes. The sum
        over experts consumes, and with it what it is proportional to."""
        summed = group.norm == "softmax" and path in self.facts.summed
        return -1 if summed else factor.token.side

    def _field(self, group):
        """The config field that moves a dimension, best the one that says its
        size."""
        moving = []
        for number, ratio in group.ratios.items():
            change, _ = self.changes[number]
            if ratio > 1:
                moving.append(change.fields)
        names = [fields[0] for fields in moving]
        for name in names:
            if read(self.config, name) == group.size:
                return name
        alone = [fields[0] for fields in moving if len(fields) == 1]
        return next(iter([*alone, *names]), None)

    def _share_fields(self):
        """Gives fields that can only be moved together a dimension each, so
        that all of them are among those that grow."""
        taken = {s.field for s in self.stacks}
        taken |= {g.field for g in self.groups if g.stuck is None}
        for number, (change, _) in enumerate(self.changes):
            for name in change.fields[1:]:
                if name in taken or read(self.config, name) is None:
                    continue
                moved = [
                    g
                    for g in self.groups
                    if g.stuck is None
                    and g.ratios.get(number, 1) > 1
                    and read(self.config, g.field) != g.size
                ]
                if moved:
                    moved[0].field = name
                    taken.add(name)

    def _is_table(self, group, indexed, pinned):
        """Whether rows are looked up by number, and a larger table is one
        with more rows."""
        sliced = pinned == "a part of it is taken"
        return (
            (indexed or sliced)
            and read(self.config, group.field) == group.size
            and all(a == 0 or not sliced for _, a, _, _ in group.uses)
            and all(self._alone(path, a) for path, a, _, _ in group.uses)
        )

    def _alone(self, path, axis):
        return len(resolved(self.facts.axes[path][axis])) == 1

    def _is_output_only(self, group):
        """Whether it is made for the output and read by nothing: classes,
        tokens."""
        out = {
            factor.node
            for axes in self.facts.outputs
            for axis in axes
            for factor in resolved(axis)
        }
        if not out & set(group.nodes):
            return False
        same_field = [g for g in self.groups if self._field(g) == group.field]
        return all(
            f.token.side > 0 or g.nodes[0].indexed
            for g in same_field
            for *_, f in g.uses
        ) and all(n in out or n.indexed for g in same_field for n in g.nodes)

    def _name(self):
        growing = [g for g in self.groups if g.stuck is None]
        names = dimension_names(
            [(g.field, g.uses[0][0], self._rank(g)) for g in growing]
        )
        taken = set(self.stack_names)
        for group, name in zip(growing, names, strict=True):
            group.name = f"{name}_dim" if name in taken else name

    def _rank(self, group):
        said = read(self.config, group.field) == group.size
        return said, len(group.uses)

    def _notes(self):
        """Why fields move what cannot grow, `{field: [reason, ...]}`."""
        notes = {}
        for group in self.groups:
            if group.stuck is None:
                continue
            for number, ratio in group.ratios.items():
                if ratio == 1:
                    continue
                path = group.uses[0][0]
                text = f"{path!r} has an axis that cannot grow: {group.stuck}"
                field = self.changes[number][0].fields[0]
                notes.setdefault(field, [])
                if text not in notes[field]:
                    notes[field].append(text)
        return notes

    # --- variables

    def _block(self, path):
        for stack, name in zip(self.stacks, self.stack_names, strict=True):
            place = stack.split(path)
            if place is not None:
                return stack, name, *place
        return None

    def _pattern(self, path):
        place = self._block(path)
        if place is None:
            return re.escape(path)
        stack, name, _, suffix = place
        return f"{re.escape(stack.prefix)}{{{name}}}{re.escape(suffix)}"

    def _axes(self, path, scales):
        texts, sides = [], []
        for a in range(len(self.facts.axes[path])):
            found = self._factors(path, a)
            groups = [group for _, group in found]
            open_ones = {
                self._side(path, g, f) for f, g in found if g.stuck is None
            }
            if len(open_ones) != 1:
                texts.append("_")
                sides.append(0)
                continue
            words = _words(groups)
            texts.append(f"({' '.join(words)})" if len(words) > 1 else words[0])
            sides.append(open_ones.pop())
        # Consuming axes go left of the arrow until the first producing axis;
        # after it they are marked with `~`.
        split = next((i for i, s in enumerate(sides) if s > 0), len(sides))
        left = texts[:split]
        right = [
            f"~{t}" if s < 0 else t
            for t, s in zip(texts[split:], sides[split:], strict=True)
        ]
        flags = [*self._flags(path), *scales.get(self._pattern(path), ())]
        text = " ".join([*left, "->", *right])
        return f"{text} | {', '.join(flags)}" if flags else text

    def _flags(self, path):
        facts, flags = self.facts, []
        if path in facts.gains:
            flags.append("scale")
        elif path in facts.factors:
            flags.append("elementwise")
        elif path in facts.shifts:
            flags.append("offset")
        place = self._block(path)
        if place is None:
            # A norm outside the blocks whose result the stream goes on with.
            if any(path in r.norm for r in facts.residuals):
                flags.append("ffn_norm")
            return flags
        pattern = self._pattern(path)
        if pattern in self._exits():
            flags.append("residual_out")
        for flag, patterns in self._repeated().items():
            if pattern in patterns:
                flags.append(flag)
        return flags

    def _exits(self):
        return {
            self._pattern(path)
            for residual in self.facts.residuals
            for path in residual.exits
            if self._block(path)
        }

    def _repeated(self):
        """Patterns of the norms after the first and the last addition of a
        block, where there are two."""
        found = {"attention_norm": set(), "ffn_norm": set()}
        for residual in self.facts.residuals:
            norm = [self._block(path) for path in residual.norm]
            exits = [self._block(path) for path in residual.exits]
            if not norm or None in norm or not exits or None in exits:
                continue
            # The stream of an addition is the norm of the one before.
            same = {n[2] for n in norm} == {e[2] for e in exits}
            flag = "attention_norm" if same else "ffn_norm"
            found[flag] |= {self._pattern(path) for path in residual.norm}
        return found

    def _stacks(self):
        stacks = []
        for stack, name, period in zip(
            self.stacks, self.stack_names, self.periods, strict=True
        ):
            post = any(
                stack.split(path)
                for residual in self.facts.residuals
                for path in residual.norm
            )
            stacks.append(
                BlockStack(
                    name,
                    stack.field,
                    norm="post" if post else "pre",
                    period=period,
                    first=stack.first,
                )
            )
        return stacks

    # --- outputs, and what depends on sizes

    def _outputs(self):
        of_node = {n: g for g in self.groups for n in g.nodes}
        texts = []
        for axes, normed in zip(
            self.facts.outputs, self.facts.normed, strict=True
        ):
            words = []
            for axis in axes:
                groups = [of_node.get(f.node) for f in resolved(axis)]
                known = all(g is not None for g in groups)
                grows = known and any(g.stuck is None for g in groups)
                text = " ".join(_words(groups)) if grows else "_"
                words.append(f"({text})" if " " in text else text)
            mark = " | offset" if normed else ""
            texts.append(f"-> {' '.join(words)}{mark}")
        return texts

    def _scales(self):
        """`{pattern: ["dim^power", ...]}`: how variables make good what a
        constant loses that depends on a size."""
        scales = {}
        for paths, ratios in self._moved_constants():
            found = self._explained(ratios, paths)
            if found is None:
                continue
            group, power = found
            for path in paths:
                flags = scales.setdefault(self._pattern(path), [])
                if (text := f"{group.name}^{power}") not in flags:
                    flags.append(text)
        return scales

    def _pin_unbalanced(self):
        """Sizes on which a constant depends stay, where what it multiplies is
        not proportional to any variable that could make it good."""
        for paths, ratios in self._moved_constants():
            found = None if paths else self._explained(ratios, paths)
            if found is not None:
                found[0].stuck = "a constant depends on its size"

    def _pin_divided(self):
        """Sizes stay of what is on another side than the other factors of an
        axis, as keys are whose heads share an axis with their entries: an
        axis has one side."""
        again = True
        while again:
            again = False
            for path in self.paths:
                for a in range(len(self.facts.axes[path])):
                    found = [
                        (self._side(path, g, f), g)
                        for f, g in self._factors(path, a)
                    ]
                    found = [(s, g) for s, g in found if g.stuck is None]
                    if len({side for side, _ in found}) < 2:
                        continue
                    again = True
                    moved = [g.ratios for side, g in found if side < 0]
                    for group in self.groups:
                        # Everything sized by the same fields would have to grow
                        # too.
                        if group.stuck is None and group.ratios in moved:
                            group.stuck = (
                                "it shares an axis with what is on the other "
                                "side"
                            )

    def _moved_constants(self):
        """`(paths, {number of a change: ratio})` of each constant that config
        fields change."""
        constants = self.facts.constants
        for place, (number, paths) in enumerate(constants):
            if not number:
                continue
            ratios = {
                change: other.constants[place][0] / number
                for change, (_, other) in enumerate(self.changes)
                if len(other.constants) == len(constants)
            }
            if not all(_close(r, 1.0) for r in ratios.values()):
                yield paths, ratios

    def _explained(self, ratios, paths):
        """`(group, power)` by which variables make good a constant."""
        near = [g for g in self.groups if {u[0] for u in g.uses} & paths]
        rest = [g for g in self.groups if g not in near]
        for group in [*reversed(near), *rest]:
            if group.stuck is not None:
                continue
            for power in _POWERS:
                if all(
                    _close(r, float(group.ratios.get(c, 1)) ** -power)
                    for c, r in ratios.items()
                ):
                    return group, power
        return None


def _join(group, other, of_node, at):
    group.nodes += other.nodes
    group.uses += other.uses
    for node in other.nodes:
        of_node[node] = group
    for key, value in at.items():
        if value is other:
            at[key] = group


def _words(groups):
    """Factors of an axis: names, and sizes of what does not grow."""
    words = []
    for group in groups:
        fixed = group is None or group.stuck is not None
        words.append(group.size if fixed else group.name)
    merged = []
    for word in words:
        if isinstance(word, int) and merged and isinstance(merged[-1], int):
            merged[-1] = math.prod((merged[-1], word))
        else:
            merged.append(word)
    return [str(word) for word in merged]


def _close(one, other):
    return abs(one - other) <= 1e-4 * max(abs(one), abs(other))
