"""The strategy that the command line names."""

from kgrow import strategies
from kgrow.algebra.errors import GrowthError


def chosen_strategy(said, arguments):
    """A strategy of a name, `WIDTH+DEPTH`, or a list of blocks.

    Args:
        said: string or list.
        arguments: dict, of the strategy's constructor.

    Raises:
        GrowthError: there is no such strategy, or it takes no such argument.

    Example:

    >>> chosen_strategy("net2net+stack", {})
    Combine(width=Net2Net(split='uneven'), depth=Stack(zero_exits=False))
    >>> chosen_strategy("lemon", {}), chosen_strategy([0, 1, 0, 1], {})
    (LEMON(), StackingList(blocks=[0, 1, 0, 1], zero_exits=False))
    """
    if isinstance(said, str) and "+" in said:
        width, depth = said.split("+", 1)
        strategy = strategies.Combine(width=width.strip(), depth=depth.strip())
    else:
        strategy = strategies.get(said)
    if not arguments:
        return strategy
    config = strategy.get_config()
    unknown = sorted(set(arguments) - set(config))
    if unknown:
        raise GrowthError(
            f"The strategy {said!r} takes no {unknown}. Received: {arguments}. "
            f"It takes: {sorted(config)}"
        )
    return type(strategy).from_config({**config, **arguments})
