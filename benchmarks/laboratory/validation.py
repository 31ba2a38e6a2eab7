"""How good a model is on held-out text, and how certain that is."""

import numpy as np

_BATCH = 64
# Means of as many groups of windows are kept, so that two runs can be compared
# window by window: what makes a window hard is then the same for both.
GROUPS = 32


def losses(model, tokens, targets):
    """The mean loss of each window, in nats a token.

    Args:
        model: A language model that returns logits.
        tokens: Integer array of shape `(windows, length)`.
        targets: The same, one token later.

    Returns:
        Array of shape `(windows,)`.
    """
    found = []
    for start in range(0, len(tokens), _BATCH):
        part = slice(start, start + _BATCH)
        logits = model.predict(tokens[part], batch_size=_BATCH, verbose=0)
        found.append(_cross_entropy(logits, targets[part]).mean(axis=1))
    return np.concatenate(found)


def _cross_entropy(logits, targets):
    logits = logits.astype("float64")
    highest = logits.max(axis=-1, keepdims=True)
    total = np.log(np.exp(logits - highest).sum(axis=-1)) + highest[..., 0]
    told = np.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return total - told


def summary(window_losses):
    """A loss with its standard error over windows, as plain data.

    Example:

    >>> found = summary(np.arange(64.0))
    >>> found["loss"], len(found["groups"])
    (31.5, 32)
    """
    count = len(window_losses)
    if count < GROUPS:
        raise ValueError(
            f"A summary needs {GROUPS} windows or more. Received: {count}"
        )
    groups = np.array_split(window_losses, GROUPS)
    return {
        "loss": float(np.mean(window_losses)),
        "standard_error": float(np.std(window_losses, ddof=1) / count**0.5),
        "windows": count,
        "groups": [round(float(np.mean(group)), 5) for group in groups],
    }


def difference(one, other):
    """How much higher one loss is than another, and its standard error.

    Args:
        one: What `summary()` gave, of a run.
        other: The same, of another run on the same windows.

    Returns:
        Two floats.

    Example:

    >>> easy = summary(np.arange(64.0))
    >>> hard = summary(np.arange(64.0) + 1)
    >>> difference(hard, easy)
    (1.0, 0.0)
    """
    pairs = np.subtract(one["groups"], other["groups"])
    return float(np.mean(pairs)), float(np.std(pairs, ddof=1) / GROUPS**0.5)
