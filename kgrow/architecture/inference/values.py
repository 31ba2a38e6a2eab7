"""The facts known about a value in the middle of a computation."""

import math
from dataclasses import dataclass, field, replace

from kgrow.architecture.inference.dimensions import Factor, resolved


@dataclass(frozen=True, eq=False)
class Value:
    """One value of a traced computation.

    Attributes:
        axes: list of axes, each a list of `Factor`s.
        leaves: paths of the variables that it is made of, if it is made of
            variables alone.
        moves: whether it depends on the inputs.
        number: the constant that it is everywhere, if it is one.
        digest: number that tells arrays of constants apart.
        pending: factors that a nonlinearity was taken along, entry by entry, of
            which it is open whether they belong to a norm.
        squared: nodes along which it is the square of what is linear.
        statistic: nodes that it is a sum of squares over.
        mean: nodes that it is a sum over.
        norm: `Norm` that it is the result or the scale of, or `None`.
        scale: whether it is the scale of its norm, not the result.
        gained: whether the gain of a norm is in it.
        total: the `origin` of what it is the sum of, or 0.
        index: `Factor` of which it holds the numbers of entries, or `None`.
        counts: whether it counts its entries from 0 along the axis that it
            varies along.
        tail: paths of variables without which it would be zero.
        origin: number of the value that it is, but for its form.
        before: bits of the `origin`s that it was computed from.
        streams: bits of the `origin`s of the residual stream that it goes on.
    """

    axes: list
    leaves: frozenset = frozenset()
    moves: bool = False
    number: float | None = None
    digest: int = 0
    pending: frozenset = frozenset()
    squared: frozenset = frozenset()
    statistic: frozenset = frozenset()
    mean: frozenset = frozenset()
    norm: "Norm | None" = None
    scale: bool = False
    gained: bool = False
    total: int = 0
    index: Factor | None = None
    counts: bool = False
    tail: frozenset = frozenset()
    origin: int = 0
    before: int = 0
    streams: int = 0

    @property
    def is_weight(self):
        """Whether variables, and no inputs, are in it."""
        return bool(self.leaves) and not self.moves

    @property
    def is_constant(self):
        return not self.leaves and not self.moves

    def varying(self):
        """The nodes along which it varies."""
        return {factor.node for factor in self.factors()}

    def factors(self, nodes=None):
        """The factors along which it varies, or those of them that belong to
        one of `nodes`."""
        return frozenset(
            factor
            for axis in self.axes
            for factor in resolved(axis)
            if factor.varies and (nodes is None or factor.node in nodes)
        )

    def undecided(self):
        """The nodes of what is pending."""
        return {
            leaf.node for factor in self.pending for leaf in factor.leaves()
        }

    def extent(self):
        """How many different entries it has, at most."""
        return math.prod(node.size for node in self.varying())

    def with_axes(self, axes):
        """The same value in another form."""
        return replace(self, axes=axes)


@dataclass(eq=False)
class Norm:
    """A norm: what it takes statistics along, and its own variables."""

    nodes: frozenset
    variables: set = field(default_factory=set)

    @property
    def size(self):
        leaves = {leaf for node in self.nodes for leaf in node.leaves()}
        return math.prod(leaf.size for leaf in leaves)
