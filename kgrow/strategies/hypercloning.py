"""Every dimension tiled."""

from __future__ import annotations

from typing import Any

import numpy as np

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.expansion import Expansion
from kgrow.algebra.scalar_checks import check_number
from kgrow.algebra.spec import Dim
from kgrow.strategies.base import Strategy
from kgrow.strategies.registry import register


@register("hypercloning")
class HyperCloning(Strategy):
    """Tiles every dimension; the tiles share their outgoing weights equally.

    `produce = [I; ...; I]`, `consume = produce / k`. All units are copied
    equally often, so this is exact through LayerNorm and RMSNorm, wherever
    they are. It grows width only, to whole multiples.

    Copies with equal weights would get equal gradients for ever. Noise is
    added to their outgoing weights and projected so that it cancels as long as
    the copies are equal: it keeps the function and breaks the symmetry.

    These are two of the paper's four variants, the symmetric one with noise
    and (`snr=None`) without. `Staged` makes the two diagonal ones.

    Deviates: the paper adds noise `+n` to one copy and `-n` to the next, and
    none to an odd last copy; the projection treats all copies alike.

    Args:
        snr: float, signal-to-noise ratio of the noise in decibels, 10 as in the
            paper; or `None` for no noise, if dropout is to break the symmetry.

    Example:

    >>> from kgrow.algebra.spec import Dim
    >>> e = HyperCloning().expand_width(Dim("hidden"), 2, 4, None)
    >>> e.produce.indices.tolist(), e.consume.weights.tolist()
    ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5])

    Reference:

    - Samragh et al., "Scaling Smart: Accelerating Large Language Model
      Pre-training with Small Model Initialization" (2409.12903), the
      symmetric variant with noise.
    """

    grows = frozenset({"width"})

    def __init__(self, snr: float | None = 10.0) -> None:
        self.snr = check_snr(snr)

    def expand_width(
        self, dim: Dim, source: int, target: int, rng: np.random.Generator
    ) -> Expansion:
        del rng
        return whole_tiles(self.name, dim, source, target)

    def noise(self, dim: Dim) -> float:
        del dim
        return noise_ratio(self.snr)


def whole_tiles(name: str, dim: Dim, source: int, target: int) -> Expansion:
    """The expansion that tiles a dimension; errors name the strategy `name`.

    Raises:
        GrowthError: the target is no multiple of the source.
    """
    if target % source:
        raise GrowthError(
            f"'{name}' grows by whole multiples, and `{dim.field}` is to grow "
            f"from {source} to {target}. Choose {2 * source} or another "
            "multiple, or the strategy 'net2net', which copies to any size."
        )
    return Expansion.tile(source, target // source)


def check_snr(snr: Any) -> float | None:
    return None if snr is None else check_number("snr", snr)


def noise_ratio(snr: float | None) -> float:
    """Standard deviation of noise, relative to that of the weights, at a
    signal-to-noise ratio of `snr` decibels."""
    return 0.0 if snr is None else 10.0 ** (-snr / 20.0)
