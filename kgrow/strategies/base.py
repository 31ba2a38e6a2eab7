"""The base class of strategies: a strategy chooses the matrices of a plan."""

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
from kgrow.strategies.identity_blocks import (
    insert_identities,
    with_identity_reasons,
)
from kgrow.strategies.task import Task

# The terms of a plan, and its `effect`.
SplitTerms: TypeAlias = tuple[tuple[PlanTerm, ...], tuple[PlanTerm, ...] | None]


class Strategy:
    """Base class of all growth strategies.

    A strategy chooses an `Expansion` for each dimension that grows and a
    `DepthExpansion` for each stack of blocks that grows. It sees dimensions and
    no layers, so one strategy serves every architecture. A subclass implements
    `expand_width()`, `expand_depth()` or both, and says which in `grows`; a
    growth of the other kind raises an error. `@register("name")` makes the
    class known by name. Each argument of the constructor must be kept as an
    attribute of the same name: config, equality and `repr` are read from those.

    Dimensions whose entries have fixed positions (a vocabulary, positions,
    rotary frequencies) grow in the same way under every strategy; see
    `fixed_dims`.

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

    # "width", "depth" or both.
    grows: Set[str] = frozenset()
    registered_name: str | None = None  # set by `register`
    new_entries: NewEntryInit = NewEntryInit()
    # The default of `grow(trainable=...)`: "all", or "new" weights only.
    default_trainable: str = "all"
    needs_data: bool = False  # whether `grow()` must be given `data`
    standalone: bool = False  # whether `Combine` refuses it

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        """Chooses the `Expansion` of a dimension.

        Args:
            dim: `Dim`.
            source: int, size before.
            target: int, size after.
            rng: `numpy.random.Generator`, the only source of randomness that a
                strategy may use.
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
            # A dimension that only blocks use has no size without blocks.
            new = target.sizes[name]
            old = source.sizes.get(name, new)
            if not is_larger(dim.field, old, new):
                continue
            if is_placed(dim):
                widths[name], new_entries[name] = place(dim, old, new)
                continue
            stack = target.stack_of(name)
            if stack is None:
                widths[name] = self._expansion(
                    dim, old, new, random_generator(seed, name)
                )
            else:
                widths[name] = tuple(
                    self._expansion(
                        dim, old, new, random_generator(seed, name, block)
                    )
                    for block in range(target.depths[stack])
                )
            new_entries[name] = self.new_entries
            noise[name] = self.noise(dim)
        terms, effect = self.split_terms(
            PlanTerm(widths, depths), source, target
        )
        plan = Plan(
            source, target, terms, new_entries, noise, seed, effect=effect
        )
        return insert_identities(plan)

    def _expansion(self, dim, source, target, rng):
        expansion = self.expand_width(dim, source, target, rng)
        softmax = dim.norm == "softmax"
        return expansion.after_softmax() if softmax else expansion

    def split_terms(
        self, term: PlanTerm, source: ModelSpec, target: ModelSpec
    ) -> SplitTerms:
        """Splits the growth into a sum of terms, if one cannot express it.

        Args:
            term: `PlanTerm`, the expansions that were chosen.
            source: `ModelSpec` before.
            target: `ModelSpec` after.

        Returns:
            `(terms, effect)`, see `Plan`.
        """
        del source, target
        return (term,), None

    def fit(self, plan: Plan, task: Task) -> Plan:
        """Improves a plan, for example by learning from data.

        Args:
            plan: `Plan` that `plan()` made.
            task: `Task`, which gives access to data, losses and gradients.

        Returns:
            `Plan`, the one to apply.
        """
        del task
        return plan

    def teacher_config(self) -> dict[str, Any] | None:
        """Arguments of `Inheritance` if the old network is to teach the new
        one, or `None`."""
        return None

    def claims(self, plan: Plan) -> list[Claim]:
        """Which grown dimensions of a plan keep the function, and why.

        Returns:
            list of `Claim`s. `grow()` compares outputs wherever all are exact.
        """
        return with_identity_reasons(plan, claims(plan))

    @property
    def name(self) -> str:
        """The registered name, or the class's name in lower case."""
        cls = type(self)
        return vars(cls).get("registered_name") or cls.__name__.lower()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, read from attributes of the same names.

        Raises:
            GrowthError: there is no attribute of an argument's name.
        """
        return {k: to_config(v) for k, v in read_arguments(self).items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        return cls(**{k: from_config(v) for k, v in config.items()})

    def __repr__(self) -> str:
        # Not from the config: serializing an argument would import Keras.
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
    """Whether a field grows. Raises if it shrinks."""
    if new < old:
        raise GrowthError(
            f"`{field}` cannot shrink: {old} -> {new}. Plans go from a "
            "network to a larger one."
        )
    return new > old


def random_generator(seed: int, *name: object) -> np.random.Generator:
    """A generator for the random choices of one dimension.

    It depends on the seed and the name alone: not on the backend, and not on
    how many numbers were drawn for other dimensions.
    """
    words = [zlib.crc32(str(part).encode()) for part in name]
    return np.random.default_rng([seed, *words])
