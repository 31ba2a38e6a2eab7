"""Confidence intervals of a mean of few numbers, by Student's t."""

import math

import numpy as np


def interval(values, confidence=0.95):
    """`(low, high)` between which the mean lies with some confidence.

    Args:
        values: sequence of at least two numbers, taken to be drawn from one
            normal distribution.
        confidence: float in (0, 1).

    Example:

    >>> low, high = interval([1.0, 2.0, 3.0])
    >>> round(low, 3), round(high, 3)
    (-0.484, 4.484)
    """
    values = np.asarray(values, float)
    if len(values) < 2:
        raise ValueError(
            "An interval needs at least two numbers. Received: "
            f"values={values.tolist()}"
        )
    error = np.std(values, ddof=1) / math.sqrt(len(values))
    half = quantile(0.5 + confidence / 2, len(values) - 1) * error
    mean = float(np.mean(values))
    return mean - float(half), mean + float(half)


def quantile(probability, degrees):
    """Where Student's t has a probability below it.

    Args:
        probability: float in (0.5, 1).
        degrees: int, degrees of freedom, at least 1.

    Example:

    >>> round(quantile(0.975, 2), 4)
    4.3027
    """
    # In the angle, of which the probability is a finite sum.
    low, high = 0.0, math.pi / 2
    for _ in range(100):
        middle = (low + high) / 2
        if _within(middle, degrees) < 2 * probability - 1:
            low = middle
        else:
            high = middle
    return math.sqrt(degrees) * math.tan(low)


def _within(angle, degrees):
    """Probability of `|t| < sqrt(degrees) * tan(angle)`.

    Reference:

    - Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.3 and
      26.7.4.
    """
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = degrees % 2
    if degrees == 1:
        return 2 * angle / math.pi
    term = cosine if odd else 1.0
    total = term
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= cosine**2 * ((k - 1) / k)
        total += term
    if odd:
        return 2 / math.pi * (angle + sine * total)
    return sine * total
