"""One answer over seeds: a ratio of costs, or a difference of a metric, each
with its spread and a confidence interval by Student's t."""

import math
from dataclasses import dataclass

import numpy as np


def interval(values, confidence=0.95):
    """`(low, high)` between which the mean lies, by Student's t.

    Args:
        values: sequence of at least two numbers, taken to be drawn from one
            normal distribution.
        confidence: float in (0, 1).

    Example:

    >>> low, high = interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    # Imported here: `kgrow` itself must stay quick to import.
    from scipy import stats

    if len(values) < 2:
        raise ValueError(
            "An interval needs at least two numbers. Received: "
            f"values={list(values)}"
        )
    mean, error = np.mean(values), stats.sem(values)
    half = stats.t.ppf(0.5 + confidence / 2, len(values) - 1) * error
    return float(mean - half), float(mean + half)


@dataclass(frozen=True)
class Estimate:
    """One ratio of costs over seeds: the run's over the reference's.

    Means and intervals are those of the logarithm, so that the saving
    `1 - ratio` and the speed-up `1 / ratio` say the same.

    Args:
        ratios: Tuple of numbers, one for each seed that has one.
        asked: Integer, seeds that were asked.
        confidence: Float.
        paired: Boolean, whether each seed was compared with the same one.
        extrapolated: Integer, how many ratios lie beyond what was measured.
        unknown: String or `None`, why there is no number at all.

    Example:

    >>> two = Estimate((0.5, 0.6), asked=2)
    >>> print(two)
    saves 45.2 ± 7.1 % (1.83x), n = 2, 95 %: -74.4 to 82.8 %
    >>> round(two.saving, 3), round(two.speed_up, 3)
    (0.452, 1.826)
    >>> print(Estimate((0.8,), asked=1))
    saves 20.0 % (1.25x), n = 1
    >>> print(Estimate((), asked=3))
    not reached, 0 of 3
    """

    ratios: tuple
    asked: int
    confidence: float = 0.95
    paired: bool = True
    extrapolated: int = 0
    unknown: str | None = None

    @property
    def is_complete(self):
        """Whether every seed has a ratio; a mean over those that happened to
        get there would flatter."""
        return not self.unknown and 0 < len(self.ratios) == self.asked

    @property
    def ratio(self):
        """The mean ratio, or `None`."""
        if not self.is_complete:
            return None
        return math.exp(np.mean(np.log(self.ratios)))

    @property
    def saving(self):
        """`1 - cost / reference`, or `None`."""
        return None if self.ratio is None else 1 - self.ratio

    @property
    def speed_up(self):
        """`reference / cost`, or `None`."""
        return None if self.ratio is None else 1 / self.ratio

    @property
    def spread(self):
        """Standard deviation of the savings, or `None` from fewer than two."""
        if not self.is_complete or len(self.ratios) < 2:
            return None
        return float(np.std([1 - ratio for ratio in self.ratios], ddof=1))

    @property
    def interval(self):
        """`(low, high)` of the saving, by Student's t; `None` from fewer than
        two seeds, or where they are not the reference's."""
        if not self.is_complete or not self.paired or len(self.ratios) < 2:
            return None
        low, high = interval(np.log(self.ratios), self.confidence)
        return 1 - math.exp(high), 1 - math.exp(low)

    def __str__(self):
        if self.unknown:
            return self.unknown
        if not self.is_complete:
            return f"not reached, {len(self.ratios)} of {self.asked}"
        percent, speed_up = 100 * self.saving, f"({self.speed_up:.2f}x)"
        spread = "" if self.spread is None else f" ± {100 * self.spread:.1f}"
        if percent < 0:
            text = f"costs {-percent:.1f}{spread} % more {speed_up}"
        else:
            text = f"saves {percent:.1f}{spread} % {speed_up}"
        text += f", n = {self.asked}"
        if self.interval is not None:
            low, high = (100 * bound for bound in self.interval)
            text += f", {100 * self.confidence:g} %: {low:.1f} to {high:.1f} %"
        if self.extrapolated:
            text += f", extrapolated ({self.extrapolated} of {self.asked})"
        return text


@dataclass(frozen=True)
class Difference:
    """How much better a run ends than a reference of equal FLOPs, over seeds.

    Args:
        gains: Tuple of numbers, in the metric's unit; above zero the run is
            better, whichever way the metric goes.
        asked: As in `Estimate`, and what follows.

    Example:

    >>> print(Difference((0.02, 0.04, 0.03), asked=3))
    better by 0.03 ± 0.01, n = 3, 95 %: 0.00516 to 0.0548
    """

    gains: tuple
    asked: int
    confidence: float = 0.95
    paired: bool = True
    extrapolated: int = 0
    unknown: str | None = None

    @property
    def mean(self):
        """The mean gain, or `None`."""
        if self.unknown or not self.gains:
            return None
        return float(np.mean(self.gains))

    @property
    def spread(self):
        """Standard deviation of the gains, or `None` from fewer than two."""
        if self.mean is None or len(self.gains) < 2:
            return None
        return float(np.std(self.gains, ddof=1))

    @property
    def interval(self):
        """As in `Estimate`, of the gain."""
        if self.spread is None or not self.paired:
            return None
        return interval(self.gains, self.confidence)

    def __str__(self):
        if self.mean is None:
            return self.unknown or "none"
        word = "worse" if self.mean < 0 else "better"
        spread = "" if self.spread is None else f" ± {self.spread:.2g}"
        text = f"{word} by {abs(self.mean):.3g}{spread}, n = {self.asked}"
        if self.interval is not None:
            low, high = self.interval
            text += f", {100 * self.confidence:g} %: {low:.3g} to {high:.3g}"
        if self.extrapolated:
            text += f", extrapolated ({self.extrapolated} of {self.asked})"
        return text
