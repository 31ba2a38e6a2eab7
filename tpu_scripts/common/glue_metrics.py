"""The metrics of GLUE, by scikit-learn and SciPy.

All lie between -1 or 0 and 1. Where one is not defined, because nothing varies
or nothing was found, it is 0, as the leaderboard counts it.
"""

import math

import numpy as np
from scipy import stats
from sklearn import metrics


def accuracy(labels, predictions):
    """The share of predictions that are right.

    Example:

    >>> accuracy([0, 1, 1, 0], [0, 1, 0, 0])
    0.75
    """
    return float(metrics.accuracy_score(labels, predictions))


def f1(labels, predictions):
    """The harmonic mean of precision and recall, of class 1.

    Example:

    >>> f1([1, 1, 0, 0], [1, 0, 1, 0])
    0.5
    """
    return float(metrics.f1_score(labels, predictions, zero_division=0.0))


def matthews(labels, predictions):
    """Matthews' correlation of two binary sequences.

    Example:

    >>> matthews([1, 1, 0, 0], [1, 1, 0, 0]), matthews([1, 0], [0, 1])
    (1.0, -1.0)
    """
    return float(metrics.matthews_corrcoef(labels, predictions))


def pearson(labels, predictions):
    """The correlation of values.

    Example:

    >>> round(pearson([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]), 6)
    1.0
    """
    return _defined(stats.pearsonr, labels, predictions)


def spearman(labels, predictions):
    """The correlation of ranks; equal values share the mean of theirs.

    Example:

    >>> round(spearman([1.0, 2.0, 3.0], [1.0, 10.0, 100.0]), 6)
    1.0
    """
    return _defined(stats.spearmanr, labels, predictions)


def _defined(correlation, labels, predictions):
    if np.ptp(labels) == 0 or np.ptp(predictions) == 0:
        return 0.0
    value = float(correlation(labels, predictions).statistic)
    return 0.0 if math.isnan(value) else value
