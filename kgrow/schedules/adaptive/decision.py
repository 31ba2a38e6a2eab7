"""Whether to grow now, and in which dimension: the rule, on plain numbers."""

import math


def decide(present, candidates, margin=0.0, forced=False):
    """Chooses one of several growths, or none.

    Args:
        present: float, the rate at which the model as it is learns.
        candidates: dict from fields to the rates of the grown models. One
            that is `None` or not finite is the worst.
        margin: float, the part of the present rate by which one must be
            higher.
        forced: bool, whether the model must grow now in any case.

    Returns:
        `(field, reason)`; the field is `None` where the model is to stay.

    Example:

    >>> decide(1.0, {"hidden_dim": 1.3, "num_layers": 0.7}, margin=0.1)
    ('hidden_dim', 'hidden_dim learns 1.30 times as fast')
    >>> decide(1.0, {"num_layers": 0.7})
    (None, 'the best, num_layers, learns 0.70 times as fast')
    >>> decide(1.0, {"num_layers": 0.7}, forced=True)[0]
    'num_layers'
    """
    rates = {f: _finite(rate) for f, rate in candidates.items()}
    best = max(rates, key=rates.get)
    present = _finite(present)
    said = _compared(best, rates[best], present)
    if rates[best] > present + margin * _size(present):
        return best, said
    if forced:
        return best, f"forced, to reach the target in time: {said}"
    return None, f"the best, {said.replace(' ', ', ', 1)}"


def _finite(rate):
    if rate is None or not math.isfinite(rate):
        return -math.inf
    return rate


def _size(rate):
    return abs(rate) if math.isfinite(rate) else 0.0


def _compared(field, rate, present):
    if rate == -math.inf:
        return f"{field} has a loss that is not finite"
    if present > 0:
        return f"{field} learns {rate / present:.2f} times as fast"
    if present == -math.inf:
        return f"{field} learns where the model as it is does not"
    return f"{field} has the rate {rate:.2e} beside {present:.2e}"
