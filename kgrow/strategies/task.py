"""What a strategy may ask of the growth it is used in."""

from typing import Any, Protocol

from kgrow.algebra.plan import Plan


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

    values: dict[str, Any]
    seed: int
    report: dict[str, Any] | None

    def data_for(self, strategy) -> Any:
        """The data given to `grow()`, or an error that names `strategy`."""

    def fit(self, parameters, make_plan, settings) -> dict[str, Any]:
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

    def grown(self, plan: Plan) -> dict[str, Any]:
        """The grown network's variables, from paths to arrays."""
        ...

    def build(self, config) -> tuple[Any, Any]:
        """A network of other sizes and its `ModelSpec`, without values."""
        ...

    def gradients(self, network, values, paths, strategy) -> dict[str, Any]:
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
