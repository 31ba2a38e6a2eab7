"""Complete a strategy that grows only width or only depth."""

from kgrow import strategies
from kgrow.algebra.errors import GrowthError
from kgrow.strategies import Combine


def completed(name, source, target):
    """The strategy of a name, combined with another where it needs one.

    Args:
        name: string, of a registered strategy.
        source: `ModelSpec` before.
        target: `ModelSpec` after.

    Returns:
        the strategy itself if it grows the one to the other, or else the
        `Combine` of it with stacking, or of net2net with it, that its error
        advises.

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
    alone = strategies.get(name)
    try:
        alone.plan(source, target, 0)
        return alone
    except GrowthError as error:
        # A strategy that grows one of the two names its complement.
        advice = str(error)
        if f"Combine(width='{name}', depth='stack')" in advice:
            both = Combine(alone, "stack")
        elif f"Combine(width='net2net', depth='{name}')" in advice:
            both = Combine("net2net", alone)
        else:
            raise
    both.plan(source, target, 0)
    return both
