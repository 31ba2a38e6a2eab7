"""Completes a strategy that grows only one of width and depth."""

from kgrow import strategies
from kgrow.algebra.errors import GrowthError
from kgrow.strategies import Combine


def completed(strategy, source, target):
    """The strategy, combined with another where it grows too little.

    Args:
        strategy: a `Strategy`, or the name of one.
        source: `ModelSpec` before.
        target: `ModelSpec` after.

    Returns:
        the strategy itself if it grows the one to the other, or else the
        `Combine` of it with stacking, or of net2net with it.

    Raises:
        GrowthError: neither does.

    Example:

    >>> import kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> source = model.architecture
    >>> _, target = source.build({**source.config, "hidden_dim": 8,
    ...     "num_layers": 2})
    >>> completed("fpi", source.spec, target), completed("top", source.spec,
    ...     target)
    (FPI(draw='random'), Combine(width=Net2Net(split='uneven'), \
depth=Top(zero_exits=False)))
    """
    alone = strategies.get(strategy)
    try:
        alone.plan(source, target, 0)
        return alone
    except GrowthError:
        if "width" not in alone.grows:
            both = Combine("net2net", alone)
        elif "depth" not in alone.grows:
            both = Combine(alone, "stack")
        else:
            raise
    both.plan(source, target, 0)
    return both
