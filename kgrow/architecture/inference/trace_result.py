"""The dimensions and variables that a trace found in a network."""

from dataclasses import dataclass, field

from kgrow.architecture.inference.dimensions import resolved


@dataclass
class Residual:
    """One addition to a residual stream.

    Args:
        exits: paths of the variables that the branch would be zero without.
        norm: paths of the variables of the norm that the stream comes from.
    """

    exits: frozenset
    norm: frozenset


@dataclass(frozen=True)
class Operation:
    """One operation of a trace.

    Attributes:
        path: of a variable that is read first, or `None`.
        done: what is computed, in a form in which blocks compare.
        made: bits of the `origin`s of its results.
        before: bits of the `origin`s that they were computed from.
    """

    path: str | None
    done: tuple
    made: int
    before: int


@dataclass
class Facts:
    """All that a trace has found out.

    Attributes:
        axes: `{path: [axis, ...]}`, each axis a list of `Factor`s.
        gains, shifts, factors: paths of variables, by what they do.
        read: paths of variables that a computation read at all.
        residuals: list of `Residual`s, in order.
        constants: `[(number, paths of variables), ...]`: what is multiplied by
            a number, as the variables that it is proportional to.
        picks: `[(node, number), ...]`: how many of its largest entries are
            taken, in order.
        summed: paths of variables that what is summed up over experts is
            proportional to.
        soft: pairs of `Token`s on the same side, if nothing says otherwise.
        outputs: list of the outputs' axes.
        normed: list of Booleans, whether each output leaves a norm.
        log: list of all `Operation`s, in order.
        unknown: names of operations that are not known.
    """

    axes: dict = field(default_factory=dict)
    gains: set = field(default_factory=set)
    shifts: set = field(default_factory=set)
    factors: set = field(default_factory=set)
    read: set = field(default_factory=set)
    residuals: list = field(default_factory=list)
    constants: list = field(default_factory=list)
    picks: list = field(default_factory=list)
    summed: set = field(default_factory=set)
    soft: list = field(default_factory=list)
    outputs: list = field(default_factory=list)
    normed: list = field(default_factory=list)
    log: list = field(default_factory=list)
    unknown: set = field(default_factory=set)

    def sizes(self):
        """`{path: [sizes of the factors of each axis, ...]}`."""
        return {
            path: [[f.node.size for f in resolved(axis)] for axis in axes]
            for path, axes in self.axes.items()
        }

    def picked(self):
        """How many of the largest entries are taken, each time."""
        return [number for _, number in self.picks]

    def computed_by(self, members):
        """What each block computes, and what is computed on the way to it.

        Args:
            members: list with a set of paths for each block.

        Returns:
            list of `(way, block)`, each a tuple: what comes between the last
            use of variables of the block before and the first of its own, as
            far as the block is computed from it, `None` for the first block;
            and from that to their last use.
        """
        parts, end = [], None
        for paths in members:
            uses = [i for i, o in enumerate(self.log) if o.path in paths]
            if not uses:
                return [(None, ())] * len(members)
            block = self.log[uses[0] : uses[-1] + 1]
            way = None if end is None else self.log[end : uses[0]]
            if way is not None:
                # Networks of several parts begin with one while they end
                # another.
                read = 0
                for operation in block:
                    read |= operation.before
                way = tuple(o.done for o in way if o.made & read)
            end = uses[-1] + 1
            parts.append((way, tuple(o.done for o in block)))
        return parts

    def settle(self):
        """Joins the sides that nothing else has said of."""
        for one, other in self.soft:
            if one.root()[0] is not other.root()[0]:
                wanted = {t.root()[0].wanted for t in (one, other)}
                if None in wanted or one.side == other.side:
                    one.merge(other, 1)
        self.soft = []
