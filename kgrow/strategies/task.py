"""The interface between a strategy that needs data and a growth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from kgrow.algebra.plan import Plan
from kgrow.algebra.spec import ModelSpec
from kgrow.algebra.types import Array, Config, Values

if TYPE_CHECKING:
    from kgrow.strategies.base import Strategy
    from kgrow.strategies.gradmax import GradMax
    from kgrow.strategies.learned_operator import Learned


class Task(Protocol):
    """The services of one growth, passed to `Strategy.fit()`.

    A strategy uses these members and sees no model; `kgrow.growth.context`
    implements them.

    Attributes:
        values: dict from paths to arrays, the weights to be grown. A strategy
            may replace them by tuned ones.
        seed: int, the growth's seed.
        report: dict, the record of a learned phase, or `None`; it becomes the
            receipt's `learned`.
    """

    values: dict[str, Array]
    seed: int
    report: dict[str, Any] | None

    def data_for(self, strategy: Strategy) -> object:
        """The data given to `grow()`. Raises, naming `strategy`, if there are
        none."""
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
            settings: the learned strategy, for its steps, optimizer and so on.

        Returns:
            dict of arrays, the trained parameters.
        """
        ...

    def grown(self, plan: Plan) -> dict[str, Array]:
        """The weights that a plan makes: a dict from paths to arrays."""
        ...

    def build(self, config: Config) -> tuple[object, ModelSpec]:
        """A network of other sizes, its weights without values, and its
        `ModelSpec`."""
        ...

    def gradients(
        self,
        network: object,
        values: Values,
        paths: Sequence[str],
        settings: GradMax,
    ) -> dict[str, np.ndarray]:
        """Gradients of the loss, the mean over the examples of the data.

        Args:
            network: one that `build()` made.
            values: dict from paths to arrays, the weights to use.
            paths: list of the paths whose gradients are wanted.
            settings: the strategy that asks, with its `batch_size` and
                `steps`.

        Returns:
            dict from paths to arrays.
        """
        ...
