"""The metrics of GLUE, on arrays.

Accuracy, F1 of the class 1, Matthews' correlation, Pearson's and Spearman's;
all lie between -1 or 0 and 1. Where one is not defined, because nothing varies
or nothing was found, it is 0.
"""

import numpy as np


def accuracy(labels, predictions):
    """The share of predictions that are right.

    Example:

    >>> accuracy([0, 1, 1, 0], [0, 1, 0, 0])
    0.75
    """
    return float(np.mean(np.asarray(labels) == np.asarray(predictions)))


def f1(labels, predictions):
    """The harmonic mean of precision and recall, of class 1.

    Example:

    >>> f1([1, 1, 0, 0], [1, 0, 1, 0])
    0.5
    """
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    found = float(np.sum((labels == 1) & (predictions == 1)))
    total = float(np.sum(labels == 1) + np.sum(predictions == 1))
    return 2 * found / total if total else 0.0


def matthews(labels, predictions):
    """Matthews' correlation of two binary sequences.

    Example:

    >>> matthews([1, 1, 0, 0], [1, 1, 0, 0]), matthews([1, 0], [0, 1])
    (1.0, -1.0)
    """
    return pearson(
        np.asarray(labels, "float64") == 1,
        np.asarray(predictions, "float64") == 1,
    )


def pearson(labels, predictions):
    """The correlation of values.

    Example:

    >>> pearson([1.0, 2.0, 3.0], [2.0, 4.0, 6.0])
    1.0
    """
    x, y = np.asarray(labels, "float64"), np.asarray(predictions, "float64")
    x, y = x - x.mean(), y - y.mean()
    norm = np.sqrt(np.sum(x * x) * np.sum(y * y))
    return float(np.clip(np.sum(x * y) / norm, -1, 1)) if norm else 0.0


def spearman(labels, predictions):
    """The correlation of ranks; equal values share the mean of theirs.

    Example:

    >>> spearman([1.0, 2.0, 3.0], [1.0, 10.0, 100.0])
    1.0
    """
    return pearson(ranks(labels), ranks(predictions))


def ranks(values):
    """Ranks from 1, those of equal values their mean.

    Example:

    >>> ranks([3.0, 1.0, 3.0]).tolist()
    [2.5, 1.0, 2.5]
    """
    values = np.asarray(values)
    _, which, counts = np.unique(
        values, return_inverse=True, return_counts=True
    )
    ends = np.cumsum(counts)
    return (ends - (counts - 1) / 2)[which.reshape(values.shape)]
