"""A small model of a family, and how it grows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """A small model of a family and two growths of it, to try the family on.

    Tests put it through the laws of growing, golden files hold it, and
    `Family.small()` makes it. Choose the sizes as small as may be and no two
    alike, so that no axis is taken for another.

    Args:
        sizes: dict of constructor arguments, with a size for every field that
            grows.
        exact: dict of fields to sizes: a growth at which the default strategy
            keeps the function.
        gated: dict of fields to sizes: a growth of any kind, which gates
            make exact, before `exact` or after it. Choose widths that are no
            multiples.

    Example:

    >>> import kgrow
    >>> kgrow.models.MLP.example.exact
    {'hidden_dim': 11, 'num_layers': 3}
    """

    sizes: dict
    exact: dict
    gated: dict
