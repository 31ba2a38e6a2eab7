"""A larger vocabulary: the initial values of new tokens."""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim
from kgrow.algebra.lazy_keras import ops
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import factor_shape, factors
from kgrow.algebra.spec import ModelSpec
from kgrow.strategies.base import random_generator
from kgrow.strategies.registry import StrategyLike, register, serialize
from kgrow.strategies.task import Task
from kgrow.strategies.with_base import WithBase

# The old tokens that each new one is composed of.
Pieces: TypeAlias = Mapping[int, Sequence[int]]

_RULES = ("mean", "gaussian", "compose", "fresh")


@register()
class Vocabulary(WithBase):
    """Grows a vocabulary by a rule, and all else by a strategy.

    The rule sets the entries of new tokens wherever the vocabulary is an axis:
    rows of the embedding, columns of a head with weights of its own, entries
    of a bias. Under every rule old tokens keep their entries, and so their
    logits; their probabilities fall by the share of the softmax that new
    tokens take. With the layers' own initial values a new token's logit is
    about 0. A model that has learned logits far below 0 for all old tokens
    then gives nearly all probability to the new ones. Under `"mean"` a new
    token's logit is the mean of the old ones, so that `k` new tokens beside
    `n` old ones divide the old probabilities by at most `1 + k / n`. New
    entries are computed from the grown ones, so other dimensions may grow at
    the same time. Their optimizer state starts as that of any new entry.

    Args:
        init: the initial values of new tokens. `"mean"`: the mean of all old
            ones; `"gaussian"`: drawn from the Gaussian with the mean and the
            covariance of the old ones, so that no two are equal; `"compose"`:
            the mean of the `pieces` of each; `"fresh"`: the layers' own initial
            values, as in every other strategy.
        pieces: dict from the number of each new token to the list of numbers
            of the old tokens that it is composed of, for `"compose"`.
        base: the strategy for everything else.
        dim: name of the dimension.

    Raises:
        GrowthError: `init` is none of the four, `pieces` are missing, given
            without need, or not those of all new tokens; the network has no
            such dimension, or its entries are not looked up.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.GPT2(vocabulary_size=32, num_layers=1,
    ...     num_heads=2, hidden_dim=8, intermediate_dim=16,
    ...     max_sequence_length=4)
    >>> model.grow({"vocabulary_size": 40}, Vocabulary("mean")).exact
    True
    >>> pieces = {40: [3, 7], 41: [7]}
    >>> model.grow({"vocabulary_size": 42}, Vocabulary("compose", pieces)
    ...     ).exact
    True

    Reference:

    - Hewitt, "Initializing New Word Embeddings for Pretrained Language
      Models" (2021), for the mean, the bound above and the Gaussian. He scales
      the covariance by 1e-5; here it is not scaled.
    """

    def __init__(
        self,
        init: str = "mean",
        pieces: Pieces | None = None,
        base: StrategyLike = "net2net",
        dim: str = "vocab",
    ) -> None:
        if init not in _RULES:
            raise GrowthError(
                f"`init` must be one of {_RULES}. Received: init={init!r}"
            )
        if (init == "compose") != (pieces is not None):
            raise GrowthError(
                "`pieces` say what new tokens are composed of, under "
                '`init="compose"`, which needs them, and under no other rule. '
                f"Received: init={init!r}, pieces={pieces!r}"
            )
        super().__init__(base)
        self.init = init
        self.pieces = None if pieces is None else _checked(pieces)
        self.dim = dim

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        dim = target.dims.get(self.dim)
        if dim is None or dim.kind != "lookup":
            found = [d.name for d in target.dims.values() if d.kind == "lookup"]
            raise GrowthError(
                "The network has no such dimension whose entries are looked "
                f"up. Received: dim={self.dim!r}; there are {found}"
            )
        if self.pieces is not None:
            old, new = source.sizes[dim.name], target.sizes[dim.name]
            _check_pieces(self.pieces, old, new)
        return super().plan(source, target, seed)

    def fit(self, plan: Plan, task: Task) -> Plan:
        plan = super().fit(plan, task)
        if self.dim not in plan.grown or self.init == "fresh":
            return plan
        given = {
            path: self._with_new_rows(plan, variable, task.values)
            for path, variable in plan.target.variables.items()
            if self.dim in variable.axes.dims
        }
        return dataclasses.replace(plan, given={**plan.given, **given})

    def claims(self, plan: Plan) -> list[Claim]:
        reason = "exact: old tokens have the logits that they had"
        return [
            Claim(self.dim, True, reason) if claim.dim == self.dim else claim
            for claim in super().claims(plan)
        ]

    def _with_new_rows(self, plan, variable, values):
        """The grown variable, with new tokens by the rule."""
        grown = plan.grow(variable.path, values)
        grown = ops.convert_to_numpy(grown)
        dtype = "float64" if grown.dtype == "float64" else "float32"
        rows = np.array(grown, "float64")
        rows = rows.reshape(factor_shape(variable, plan.target.sizes))
        names = [factor for factor, _ in factors(variable.axes)]
        # A view: writing to `table` writes to `rows`.
        table = np.moveaxis(rows, names.index(self.dim), 0)
        old = plan.source.sizes[self.dim]
        count = len(table) - old
        if self.pieces is not None:
            for token, pieces in self.pieces.items():
                table[token] = table[pieces].mean(axis=0)
        elif self.init == "gaussian":
            rng = random_generator(plan.seed, "vocabulary", variable.path)
            table[old:] = _drawn(table[:old], count, rng)
        else:
            table[old:] = table[:old].mean(axis=0)
        return rows.reshape(variable.shape).astype(dtype)

    def get_config(self) -> dict[str, Any]:
        pieces = self.pieces
        return {
            "init": self.init,
            # Pairs, for keys of JSON objects are strings.
            "pieces": None
            if pieces is None
            else list(map(list, pieces.items())),
            "base": serialize(self.base),
            "dim": self.dim,
        }

    def __repr__(self) -> str:
        pieces = "" if self.pieces is None else f", {len(self.pieces)} pieces"
        return f"Vocabulary({self.init!r}{pieces}, base={self.base!r})"


def _check_pieces(pieces, old, new):
    """Raises unless `pieces` are of the tokens `old` to `new - 1`."""
    wanted = set(range(old, new))
    missing = sorted(wanted - set(pieces))
    beyond = sorted(set(pieces) - wanted)
    if missing or beyond:
        raise GrowthError(
            f"`pieces` must name the tokens {old} to {new - 1}, which are "
            "new, each once, and no other. Received: "
            + (
                f"none of {missing[:5]}"
                if missing
                else f"pieces of {beyond[:5]}"
            )
        )
    for token, parts in pieces.items():
        if not all(0 <= piece < old for piece in parts):
            raise GrowthError(
                f"New tokens are composed of old ones, 0 to {old - 1}. "
                f"Received: pieces of {token}: {parts}"
            )


def _checked(pieces):
    """`{token: [tokens]}`, from a dict or from the pairs in a config."""
    try:
        return {
            operator.index(token): _nonempty(
                [operator.index(piece) for piece in parts]
            )
            for token, parts in dict(pieces).items()
        }
    except (TypeError, ValueError):
        raise GrowthError(
            "`pieces` must be a dict from the number of each new token to a "
            "list of numbers of old ones, at least one, such as "
            f"{{300: [12, 7]}}. Received: pieces={pieces!r}"
        ) from None


def _nonempty(parts):
    if not parts:
        raise ValueError
    return parts


def _drawn(rows, count, rng):
    """`count` draws from the Gaussian that has the mean and the covariance of
    the rows of an array."""
    flat = rows.reshape(len(rows), -1)
    mean = flat.mean(axis=0)
    covariance = (flat - mean).T @ (flat - mean) / len(flat)
    values, vectors = np.linalg.eigh(covariance)
    # The symmetric root does not depend on the signs of the eigenvectors.
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    draws = mean + rng.standard_normal((count, flat.shape[1])) @ root
    return draws.reshape(count, *rows.shape[1:])
