"""What a strategy may ask of the growth it is used in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.algebra.types import Array, Config, Values

if TYPE_CHECKING:
    from kgrow.strategies.base import Strategy
    from kgrow.strategies.learned_operator import Learned


class Task(Protocol):
    """One growth, as a strategy that needs more than sizes sees it.

    `Strategy.fit()` is given one. A strategy knows these members and no model;
    `kgrow.growth` implements them.

    Attributes:
        values: dict from paths to arrays, the weights that the plan starts
            from. A strategy may replace them by tuned ones.
        seed: int, the growth's seed.
        report: dict of what a learned phase did, or `None`; it becomes the
            receipt's `learned`.
    """

    values: dict[str, Array]
    seed: int
    report: dict[str, Any] | None

    def data_for(self, strategy: Strategy) -> object:
        """The data given to `grow()`, or an error that names `strategy`."""
        ...

    def fit(
        self,
        parameters: Mapping[str, np.ndarray],
        make_plan: Callable[[Mapping[str, Array]], Plan],
        settings: Learned,
    ) -> dict[str, Array]:
        """Trains the parameters of an operator on the data.

        Args:
            parameters: dict of arrays.
            make_plan: function from such a dict, of arrays or tensors, to a
                `Plan`.
            settings: the learned strategy: steps, optimizer and so on.

        Returns:
            dict of the trained arrays.
        """
        ...

    def grown(self, plan: Plan) -> dict[str, Array]:
        """The grown network's variables, from paths to arrays."""
        ...

    def build(self, config: Config) -> tuple[object, ModelSpec]:
        """A network of other sizes and its `ModelSpec`, without values."""
        ...

    def gradients(
        self,
        network: object,
        values: Values,
        paths: Sequence[str],
        strategy: Strategy,
    ) -> dict[str, np.ndarray]:
        """Gradients of the loss on the first batch.

        Args:
            network: one that `build()` made.
            values: dict from paths to arrays, its weights.
            paths: list of the paths whose gradients are wanted.
            strategy: the `Strategy` that asks.

        Returns:
            dict from paths to arrays.
        """
        ...
