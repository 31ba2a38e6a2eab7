"""What a strategy is: it chooses the matrices, and nothing else."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Set
from typing import Any, Self, TypeAlias

import numpy as np

from kgrow.algebra.depth_expansion import DepthExpansion
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.exactness import Claim, claims
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.plan import Plan
from kgrow.algebra.plan_term import NewEntryInit, PlanTerm
from kgrow.algebra.spec import BlockStack, Dim, ModelSpec
from kgrow.strategies.arguments import (
    from_config,
    read_arguments,
    to_config,
)
from kgrow.strategies.fixed_dims import is_placed, place
from kgrow.strategies.task import Task

# The terms of a plan, and its `effect`.
SplitTerms: TypeAlias = tuple[tuple[PlanTerm, ...], tuple[PlanTerm, ...] | None]


class Strategy:
    """Base class of all growth strategies.

    A strategy chooses, for each dimension that grows, an `Expansion` and, for
    each stack, a `DepthExpansion`. It sees dimensions, never layers; the same
    strategy serves every architecture. Subclasses implement `expand_width()`,
    `expand_depth()` or both; what they leave out they refuse, rather than do
    another's work. `grows` says which, and `@register("name")` makes the
    class known by name. Each argument of the constructor is an attribute of
    the same name; config, equality and `repr` follow from that.

    Dimensions whose entries have places (a vocabulary, positions, rotary
    frequencies) keep them under every strategy; see `fixed_dims`.

    Example:

    >>> from kgrow.algebra.expansion import Expansion
    >>> class Tile(Strategy):
    ...     grows = {"width"}
    ...
    ...     def __init__(self, even=True):
    ...         self.even = even
    ...
    ...     def expand_width(self, dim, source, target, rng):
    ...         return Expansion.tile(source, target // source)
    >>> Tile(even=False), Tile() == Tile(even=False)
    (Tile(even=False), False)
    """

    # What it grows: "width", "depth" or both.
    grows: Set[str] = frozenset()
    registered_name: str | None = None  # set by `register`
    new_entries: NewEntryInit = NewEntryInit()
    # What its growths train unless `grow()` says so: "all", or what is "new".
    default_trainable: str = "all"
    needs_data: bool = False  # whether it needs data
    standalone: bool = False  # whether it cannot be a part of a `Combine`

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        """Chooses the `Expansion` of a dimension.

        Args:
            dim: `Dim`.
            source: int, size before.
            target: int, size after.
            rng: `numpy.random.Generator`, the strategy's only randomness.
        """
        raise GrowthError(
            f"The strategy '{self.name}' grows depth only, and `{dim.field}` "
            f"is to grow from {source} to {target}. Combine it with one for "
            f"width: Combine(width='net2net', depth='{self.name}')."
        )

    def expand_depth(
        self,
        stack: BlockStack,
        source: int,
        target: int,
        rng: np.random.Generator,
    ) -> DepthExpansion:
        """Chooses the `DepthExpansion` of a stack; see `expand_width()`."""
        raise GrowthError(
            f"The strategy '{self.name}' grows width only, and `{stack.field}` "
            f"is to grow from {source} to {target}. Combine it with one for "
            f"depth: Combine(width='{self.name}', depth='stack')."
        )

    def noise(self, dim: Dim) -> float:
        """Relative size of the noise on weights that read `dim`."""
        del dim
        return 0.0

    def plan(self, source: ModelSpec, target: ModelSpec, seed: int = 0) -> Plan:
        """Makes the `Plan` from one network to a larger one.

        Args:
            source: `ModelSpec` before.
            target: `ModelSpec` after.
            seed: int. The same seed gives the same plan on every backend.

        Raises:
            GrowthError: the strategy cannot grow one of the dimensions, or
                one is smaller in the target.
        """
        depths = {}
        for name, stack in target.stacks.items():
            old, new = source.depths[name], target.depths[name]
            if is_larger(stack.field, old, new):
                depths[name] = self.expand_depth(
                    stack, old, new, random_generator(seed, name)
                )
        widths, new_entries, noise = {}, {}, {}
        for name, dim in target.dims.items():
            # A dim that only blocks use is not there before the first one.
            new = target.sizes[name]
            old = source.sizes.get(name, new)
            if not is_larger(dim.field, old, new):
                continue
            if is_placed(dim):
                widths[name], new_entries[name] = place(dim, old, new)
                continue
            stack = target.stack_of(name)
            if stack is None:
                widths[name] = self.expand_width(
                    dim, old, new, random_generator(seed, name)
                )
            else:
                widths[name] = tuple(
                    self.expand_width(
                        dim, old, new, random_generator(seed, name, block)
                    )
                    for block in range(target.depths[stack])
                )
            new_entries[name] = self.new_entries
            noise[name] = self.noise(dim)
        terms, effect = self.split_terms(
            PlanTerm(widths, depths), source, target
        )
        return Plan(
            source, target, terms, new_entries, noise, seed, effect=effect
        )

    def split_terms(
        self, term: PlanTerm, source: ModelSpec, target: ModelSpec
    ) -> SplitTerms:
        """Divides the growth among several terms, if one cannot express it.

        Args:
            term: `PlanTerm` of the expansions and mixings that were chosen.
            source: `ModelSpec` before.
            target: `ModelSpec` after.

        Returns:
            The plan's `terms`, and its `effect`.
        """
        del source, target
        return (term,), None

    def fit(self, plan: Plan, task: Task) -> Plan:
        """Makes a better plan of the first one, from data for example.

        Args:
            plan: `Plan`, this strategy's own.
            task: `Task`, what can be asked for: data, losses, gradients.

        Returns:
            the `Plan` to apply.
        """
        del task
        return plan

    def teacher_config(self) -> dict[str, Any] | None:
        """How the old network teaches the new one from now on: the arguments
        of `Inheritance` as a dict, or `None` if it does not."""
        return None

    def claims(self, plan: Plan) -> list[Claim]:
        """Which dimensions of its plan keep the function, and why (not).

        Returns:
            list of `Claim`s. An exact claim is checked at every growth.
        """
        return claims(plan)

    @property
    def name(self) -> str:
        """The name it is registered by, or else its class's, in lower case."""
        cls = type(self)
        return vars(cls).get("registered_name") or cls.__name__.lower()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, from attributes of the same names.

        Raises:
            GrowthError: an argument has no such attribute.
        """
        return {k: to_config(v) for k, v in read_arguments(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**{k: from_config(v) for k, v in config.items()})

    def __repr__(self) -> str:
        # Their config would need Keras, where an argument is a strategy.
        plain = type(self).get_config is Strategy.get_config
        shown = read_arguments(self) if plain else self.get_config()
        arguments = ", ".join(
            f"{k}={getattr(self, k, v)!r}" for k, v in shown.items()
        )
        return f"{type(self).__name__}({arguments})"

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Strategy)
            and type(self) is type(other)
            and self.get_config() == other.get_config()
        )

    # Equal by value and not frozen, so not hashable, as Python says it.
    __hash__ = None  # pyright: ignore[reportAssignmentType]


def is_larger(field: str, old: int, new: int) -> bool:
    """Whether a field grows; an error if it shrinks."""
    if new < old:
        raise GrowthError(
            f"`{field}` cannot shrink: {old} -> {new}. Plans go from a "
            "network to a larger one."
        )
    return new > old


def random_generator(seed: int, *name: object) -> np.random.Generator:
    """The generator of one dimension's choices: the same on every backend,
    and whatever else is drawn."""
    words = [zlib.crc32(str(part).encode()) for part in name]
    return np.random.default_rng([seed, *words])
