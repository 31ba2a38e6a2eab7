"""A longer table of positions: copied, interpolated or fresh."""

import dataclasses

import keras
import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.linear_maps import Dense, Gather
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import get, serialize

_RULES = ("fresh", "copy", "interpolate")


@keras.saving.register_keras_serializable("kgrow")
class Positions(Strategy):
    """Grows the table of positions by a rule, and all else by a strategy.

    Args:
        new: what stands in the table afterwards. `"copy"`: the old table,
            over and over, which keeps the function on inputs of the old
            length; `"interpolate"`: the old table stretched, neighbours mixed,
            which changes it everywhere and leaves no position untrained;
            `"fresh"`: the old table, and the layer's own initial values behind
            it, as every other strategy does.
        rest: the strategy for everything else.
        dim: name of the dimension.

    Raises:
        GrowthError: `new` is none of the three, or the network has no such
            dimension.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.GPT2(vocabulary_size=32, num_layers=1,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
    ...     max_sequence_length=4)
    >>> model.grow({"max_sequence_length": 8}, Positions("copy")).exact
    True

    Reference:

    - Gu et al., "On the Transformer Growth for Progressive BERT Training"
      (2010.12562), Sec. 3.1, on what is wrong with fresh positions after
      training on truncated data. Copying is Longformer's way (Beltagy et al.,
      2004.05150, Sec. 5), interpolation that of vision transformers at a
      higher resolution (Dosovitskiy et al., 2010.11929, Sec. 3.2).
    """

    is_whole = True

    def __init__(self, new="copy", rest="net2net", dim="positions"):
        if new not in _RULES:
            raise GrowthError(
                f"`new` must be one of {_RULES}. Received: new={new!r}"
            )
        self.new = new
        self.rest = get(rest)
        self.dim = dim
        self.fresh = self.rest.fresh
        self.learns = self.rest.learns
        self.train = self.rest.train

    def plan(self, source, target, seed=0):
        if self.dim not in target.dims:
            raise GrowthError(
                "The network has no such dimension. Received: "
                f"dim={self.dim!r}; there are {sorted(target.dims)}"
            )
        plan = self.rest.plan(source, target, seed)
        return self._with_positions(plan)

    def refine(self, plan, task):
        return self._with_positions(self.rest.refine(plan, task))

    def teaching(self):
        return self.rest.teaching()

    def claims(self, plan):
        claims = [c for c in self.rest.claims(plan) if c.dim != self.dim]
        if self.dim in plan.grown:
            stretched = self.new == "interpolate"
            reason = "old positions are stretched" if stretched else "exact"
            claims.append(Claim(self.dim, not stretched, reason))
        return claims

    def _with_positions(self, plan):
        if self.dim not in plan.grown or self.new == "fresh":
            return plan
        sizes = plan.source.sizes[self.dim], plan.target.sizes[self.dim]
        expansion = _RULE_OF[self.new](*sizes)
        terms = [
            dataclasses.replace(t, widths={**t.widths, self.dim: expansion})
            for t in plan.terms
        ]
        return dataclasses.replace(plan, terms=tuple(terms))

    def get_config(self):
        return {
            "new": self.new,
            "rest": serialize(self.rest),
            "dim": self.dim,
        }

    def __repr__(self):
        return f"Positions({self.new!r}, rest={self.rest!r})"


def _copies(source, target):
    # Looked up one at a time: no two copies share what one reader reads.
    rows = Gather(source, np.arange(target) % source)
    return Expansion(rows, rows)


def _stretched(source, target):
    places = np.linspace(0.0, source - 1.0, target)
    matrix = np.maximum(
        0.0, 1.0 - np.abs(places[:, None] - np.arange(source)[None])
    )
    return Expansion(Dense(matrix), Dense(matrix))


_RULE_OF = {"copy": _copies, "interpolate": _stretched}
