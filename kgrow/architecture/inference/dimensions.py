"""Dimensions as they come to light: classes of axes that must be the same.

Every axis of every value in a computation is an ordered product of `Factor`s.
A factor belongs to a `Node`, and operations merge nodes: what is added up has
the same dimension. A reshape splits a node into a product. Beside that, each
factor has a `Token` of its own: tokens are merged with a sign, which says
whether two factors hold values of a dimension or of its dual, as the two sides
of a contraction do.
"""

import math
from dataclasses import dataclass, field


@dataclass(eq=False)
class Node:
    """A dimension, or a product of some.

    Attributes:
        size: int.
        pinned: why its entries cannot be moved, or `None`.
        nonlinear: whether a nonlinearity is taken entry by entry.
        sums: set of `"linear"`, `"square"`, what is summed up along it.
        indexed: whether values are looked up along it.
        doubts: set of reasons why its entries cannot be moved, unless they are
            experts that a router chooses from.
        normalized: whether values along it are divided by their sum.
        picks: list of nodes, of the largest entries that were looked for.
        told: whether picked entries are told apart by their numbers alone.
        parts: the nodes that it is the product of, once that is known.
    """

    size: int
    pinned: str | None = None
    nonlinear: bool = False
    sums: set = field(default_factory=set)
    indexed: bool = False
    doubts: set = field(default_factory=set)
    normalized: bool = False
    picks: list = field(default_factory=list)
    told: bool = False
    parts: list | None = None
    _above: "Node | None" = None

    def root(self):
        node = self
        while node._above is not None:
            node = node._above
        return node

    @property
    def is_routed(self):
        """Whether its entries are experts: of normalized scores the largest
        are taken, and which ones these are matters to nothing else."""
        node = self.root()
        scores = [node, *(pick.root() for pick in node.picks)]
        normalized = any(n.normalized for n in scores)
        return bool(node.picks) and node.told and normalized

    def doubt(self, reason):
        """Says why its entries cannot be moved, unless it `is_routed`."""
        for leaf in self.leaves():
            leaf.doubts.add(reason)

    def leaves(self):
        """The nodes that it is the product of, as far as is known."""
        node = self.root()
        if node.parts is None:
            return [node]
        return [leaf for part in node.parts for leaf in part.leaves()]

    def pin(self, reason):
        for leaf in self.leaves():
            leaf.pinned = leaf.pinned or reason

    def split(self, sizes):
        """Makes an unsplit node a product."""
        assert self.parts is None and math.prod(sizes) == self.size
        self.parts = [
            Node(
                size,
                self.pinned,
                self.nonlinear,
                set(self.sums),
                self.indexed,
                set(self.doubts),
            )
            for size in sizes
        ]

    def merge(self, other):
        """Makes two unsplit nodes of the same size one."""
        assert self.size == other.size
        if self is other:
            return
        self.pinned = self.pinned or other.pinned
        self.nonlinear |= other.nonlinear
        self.indexed |= other.indexed
        self.sums |= other.sums
        self.doubts |= other.doubts
        self.normalized |= other.normalized
        self.picks += other.picks
        self.told |= other.told
        other._above = self


class Token:
    """The side of a dimension that a factor is on, up to what is known.

    Attributes:
        wanted: the side that it must be on, 1, -1 or `None`.
        guess: `(order, side)`, what it is taken for if nothing is wanted; the
            earliest guess counts.
        torn: whether it would have to be on both.
    """

    def __init__(self):
        self.above = None
        self.sign = 1
        self.wanted = None
        self.guess = None
        self.torn = False
        self.parts = {}

    def part(self, place):
        """The token of one factor of a product, for itself."""
        root, sign = self.root()
        if place not in root.parts:
            part = Token()
            part.wanted, part.guess = root.wanted, root.guess
            root.parts[place] = part
        if sign > 0:
            return root.parts[place]
        token = Token()
        token.above, token.sign = root.parts[place], sign
        return token

    def root(self):
        """`(root, sign relative to it)`."""
        token, sign = self, 1
        while token.above is not None:
            sign *= token.sign
            token = token.above
        return token, sign

    def merge(self, other, sign):
        """Says that two factors are on the same side, or on opposite ones."""
        mine, one = self.root()
        its, two = other.root()
        if mine is its:
            mine.torn |= one * two != sign
            return
        its.above, its.sign = mine, one * two * sign
        for place, part in its.parts.items():
            mine.part(place).merge(part, its.sign)
        if its.wanted is not None:
            mine.want(its.wanted * its.sign)
        if its.guess is not None:
            mine.expect(its.guess[0], its.guess[1] * its.sign)
        mine.torn |= its.torn

    def expect(self, order, side):
        """Says which side it is on if nothing else does."""
        root, sign = self.root()
        if root.guess is None or order < root.guess[0]:
            root.guess = (order, side * sign)

    def want(self, sign):
        """Says which side it is, in absolute terms."""
        root, own = self.root()
        sign *= own
        if root.wanted is None:
            root.wanted = sign
        root.torn |= root.wanted != sign
        for part in root.parts.values():
            part.want(sign)

    @property
    def side(self):
        """1 or -1; 1 if nothing says otherwise."""
        root, sign = self.root()
        guess = 1 if root.guess is None else root.guess[1]
        return sign * (root.wanted or guess)


@dataclass(frozen=True)
class Factor:
    """One factor of an axis of one value.

    Args:
        node: `Node`.
        token: `Token`.
        varies: whether the value varies along it, or repeats itself.
    """

    node: Node
    token: Token
    varies: bool = True

    @property
    def is_settled(self):
        """Whether it is known to be a value after a nonlinearity."""
        root, sign = self.token.root()
        known = root.wanted is not None and root.wanted * sign > 0
        return known and all(n.nonlinear for n in self.node.leaves())

    def leaves(self):
        parts = self.node.root().parts
        if parts is None:
            return [Factor(self.node.root(), self.token, self.varies)]
        return [
            leaf
            for place, part in enumerate(parts)
            for leaf in Factor(
                part, self.token.part(place), self.varies
            ).leaves()
        ]


def new_axis(size, varies=True, pinned=None):
    """A fresh axis: a list of factors."""
    if size == 1:
        return []
    return [Factor(Node(int(size), pinned), Token(), varies)]


def resolved(axis):
    """An axis in the factors that are known by now."""
    return [leaf for factor in axis for leaf in factor.leaves()]


def size_of(axis):
    return math.prod(factor.node.root().size for factor in axis)


def pin(axis, reason):
    for factor in axis:
        factor.node.pin(reason)


def doubt(axis, reason):
    for factor in axis:
        factor.node.doubt(reason)


def take(axis, size):
    """Cuts an axis into a leading product of `size` and the rest.

    Returns:
        `(head, rest)`, or `None` if `size` cuts through what has no factors.
    """
    head, left = [], int(size)
    rest = resolved(axis)
    while left > 1:
        if not rest:
            return None
        first = rest[0]
        have = first.node.size
        if left % have == 0:
            head.append(first)
            rest = rest[1:]
            left //= have
        elif have % left == 0:
            first.node.split([left, have // left])
            rest = [*first.leaves(), *rest[1:]]
        else:
            return None
    return head, rest


def unify(one, other, sign=1, soft=None):
    """Says that two axes are the same dimension.

    Args:
        one: axis.
        other: axis of the same size.
        sign: 1 if both are on the same side of it, -1 for opposite ones.
        soft: optional list. Instead of being merged, pairs of tokens are put
            there: they are on the same side if nothing says otherwise.

    Returns:
        the axis that results: it varies where one of the two does.
    """
    one, other, result = resolved(one), resolved(other), []
    if not one or not other:
        # An axis of one entry is broadcast.
        return one or other
    while one and other:
        a, b = one[0], other[0]
        if a.node.size != b.node.size:
            small = min(a.node.size, b.node.size)
            if not small or max(a.node.size, b.node.size) % small:
                reason = "it is met by a product of other factors"
                pin(one, reason)
                pin(other, reason)
                return [*result, *one]
            for f in (a, b):
                if f.node.size > small:
                    f.node.split([small, f.node.size // small])
            one, other = resolved(one), resolved(other)
            continue
        a.node.merge(b.node) if a.node is not b.node else None
        if a.varies and b.varies:
            if soft is None:
                a.token.merge(b.token, sign)
            else:
                soft.append((a.token, b.token))
        chosen = a if a.varies else b
        result.append(Factor(chosen.node.root(), chosen.token, chosen.varies))
        one, other = resolved(one[1:]), resolved(other[1:])
    return result
