"""The state of a trace, handed from one operation to the next."""

import itertools
from dataclasses import replace

from kgrow.architecture.inference.dimensions import resolved
from kgrow.architecture.inference.rules import RULES
from kgrow.architecture.inference.value_ops import pinned
from kgrow.architecture.inference.values import Value

# What Keras' recurrent layers, and other loops, are traced as.
_LOOPS = {
    "scan": "recurrent layers and other loops cannot be read yet",
    "while": "recurrent layers and other loops cannot be read yet",
}


class Tracer:
    """Carries what is found out from one operation to the next."""

    def __init__(self, facts):
        self.facts = facts
        self._numbers = itertools.count(1)

    def apply(self, name, values, shapes, params):
        """The results of one operation.

        Args:
            name: string.
            values: list of `Value`s.
            shapes: list of the shapes of the results.
            params: dict of the operation's parameters.
        """
        known = RULES.get(name)
        if known is None:
            self.facts.unknown.add(name)
            self.flush(values)
            reason = _LOOPS.get(name, f"`{name}` is not known")
            results = pinned(values, shapes, reason)
        else:
            results = known(self, values, shapes, params)
        if isinstance(results, Value):
            results = [results]
        return [self._numbered(r, values) for r in results]

    def _numbered(self, result, values):
        if any(result.origin and result.origin == v.origin for v in values):
            return result
        number = next(self._numbers)
        before = 1 << number
        for value in values:
            before |= value.before
        return replace(result, origin=number, before=before)

    def input(self, value):
        """A value that comes from outside, with a number of its own."""
        return self._numbered(value, [])

    def expect_values(self, axes):
        """What a contraction with a weight puts out is a value, not a dual
        one, if nothing says otherwise; the first that comes decides."""
        order = next(self._numbers)
        for axis in axes:
            for factor in resolved(axis):
                factor.token.expect(order, 1)

    def flush(self, values):
        """Nonlinearities that turned out to belong to no norm."""
        for value in values:
            for factor in value.pending:
                for leaf in factor.leaves():
                    leaf.node.nonlinear = True
                    leaf.token.want(1)
