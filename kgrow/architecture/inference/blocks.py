"""Which config field adds blocks, and how their paths are numbered."""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class BlockStack:
    """A stack of blocks, as the paths of its variables show it.

    Args:
        field: config field that holds the depth.
        prefix: text before a block's number in a path.
        first: number of the first block.
        depth: how many blocks there are.
        suffixes: text after the number, the same in every block.
    """

    field: str
    prefix: str
    first: int
    depth: int
    suffixes: frozenset

    def split(self, path):
        """`(block, suffix)` of a path in the stack, or `None`."""
        if not path.startswith(self.prefix):
            return None
        match = re.match(r"(\d+)(.*)", path[len(self.prefix) :])
        if match is None or match[2] not in self.suffixes:
            return None
        block = int(match[1]) - self.first
        return (block, match[2]) if 0 <= block < self.depth else None


def find_stacks(field, before, after):
    """The stacks that get a block more by a change of a field.

    Args:
        field: string.
        before: `{path: shape}`.
        after: the same, with one block more.

    Returns:
        list of `BlockStack`s; empty if the field adds no blocks, or if the
        new ones are not like the old ones.

    Example:

    >>> before = {"in": (2,), "block_0/w": (3,), "block_1/w": (3,)}
    >>> after = {**before, "block_2/w": (3,)}
    >>> find_stacks("num_layers", before, after)[0].prefix
    'block_'
    """
    new = [path for path in after if path not in before]
    if not new or any(p not in after or after[p] != before[p] for p in before):
        return []
    found = {}
    for path in new:
        place = _block_number(path, before)
        if place is None:
            return []
        prefix, number, suffix = place
        found.setdefault((prefix, number), set()).add(suffix)
    if len({prefix for prefix, _ in found}) < len(found):
        return []
    stacks = []
    for (prefix, number), suffixes in found.items():
        stack = _stack(field, prefix, number, suffixes, before, after)
        if stack is None:
            return []
        stacks.append(stack)
    return stacks


def _block_number(path, known):
    """`(prefix, number, suffix)` such that the block before is there."""
    for match in re.finditer(r"\d+", path):
        number = int(match[0])
        prefix, suffix = path[: match.start()], path[match.end() :]
        if number and f"{prefix}{number - 1}{suffix}" in known:
            return prefix, number, suffix
    return None


def _stack(field, prefix, number, suffixes, before, after):
    first = number
    while any(f"{prefix}{first - 1}{s}" in before for s in suffixes):
        first -= 1
        if first == 0:
            break
    members = range(first, number)
    for suffix in suffixes:
        shapes = {before.get(f"{prefix}{n}{suffix}") for n in members}
        if shapes != {after[f"{prefix}{number}{suffix}"]}:
            return None
    return BlockStack(field, prefix, first, number - first, frozenset(suffixes))


def period_of(computed):
    """After how many blocks the same is computed again.

    The first and the last block may do something more, for all of them or for
    what comes after. Whether that matters is found out by `verify()`.

    Args:
        computed: list of `(way, block)`: what each block computes, and what is
            on the way to it, `None` where that is not known.

    Returns:
        int; the number of blocks if none is like another.

    Example:

    >>> period_of([(None, "a"), (1, "b"), (1, "a"), (1, "b")])
    2
    >>> period_of([(None, "a"), (2, "a"), (1, "a"), (2, "a")])
    2
    >>> period_of([(None, "b"), *[(1, "a")] * 6, (1, "c")])
    1
    """
    inner = computed[1:-1]
    for period in range(1, len(computed)):
        pairs = zip(computed, computed[period:], strict=False)
        if all(_alike(one, other) for one, other in pairs):
            return period
    for period in range(1, len(inner) // 2 + 1):
        pairs = zip(inner, inner[period:], strict=False)
        if all(_alike(one, other) for one, other in pairs):
            return period
    return max(1, len(computed))


def _alike(one, other):
    ways = one[0], other[0]
    return one[1] == other[1] and (None in ways or ways[0] == ways[1])
