"""A schedule made of the rates that a grid search measured."""

import math

from kgrow import strategies
from kgrow.algebra.errors import GrowthError
from kgrow.schedules.schedule import GrowthSchedule
from kgrow.schedules.stage import Stage
from kgrow.schedules.trials.variants import is_count

_RAMP = 5000
_SOURCE = (
    "a grid search; the method of Yao et al., Masked Structural Growth "
    "(2305.02869), Sec. 3.2.1"
)


def propose(
    search,
    total_steps=None,
    budget=None,
    unit="flops",
    strategy="msg",
    ramp=None,
    learning_rate=None,
    emphasis=0.25,
    margin=0.02,
):
    """See `Search.propose()`."""
    if (total_steps is None) == (budget is None):
        raise GrowthError(
            "Say either `total_steps` or `budget`, in FLOPs. Received: "
            f"total_steps={total_steps}, budget={budget}"
        )
    if not 0 <= emphasis < 1:
        raise GrowthError(
            "`emphasis` must be at least 0 and less than 1. Received: "
            f"emphasis={emphasis!r}"
        )
    order = _order(search, unit, margin)
    sizes = [dict(search.start)]
    for field in order:
        sizes.append({**sizes[-1], field: search.target[field]})
    shares = _shares(len(sizes), emphasis)
    if budget is not None:
        total_steps = _affordable(search, sizes, shares, budget)
    elif not is_count(total_steps):
        raise GrowthError(
            "`total_steps` is an integer of at least 1. Received: "
            f"total_steps={total_steps!r}"
        )
    ends = _ends(shares, total_steps)
    if ramp is None and "ramp" in strategies.get(strategy).get_config():
        shortest = min(b - a for a, b in zip([0, *ends], ends, strict=False))
        ramp = max(1, min(_RAMP, shortest // 4))
    stages = [Stage(ends[0], sizes[0])]
    stages += [
        Stage(
            end,
            {field: search.target[field]},
            strategy,
            ramp,
            learning_rate=learning_rate,
        )
        for end, field in zip(ends[1:], order, strict=True)
    ]
    return GrowthSchedule(stages, source=_SOURCE)


def _order(search, unit, margin):
    """The dimensions in the order in which they grow."""
    if search.rows[0].broken is not None:
        raise GrowthError(
            "The start's loss was not finite, so that there is nothing to "
            "compare with. Lower the learning rate, and search again. "
            f"Received: {search.rows[0].name}, broken at step "
            f"{search.rows[0].broken}"
        )
    ratios = {f: search.ratio(search.row(f), unit) for f in search.fields}
    costs = {f: search.row(f).flops_per_step for f in search.fields}
    # One whose loss was not finite comes last.
    ratios = {f: -math.inf if math.isnan(r) else r for f, r in ratios.items()}
    order = []
    while ratios:
        best = max(ratios.values())
        alike = [f for f, r in ratios.items() if r == best or best - r < margin]
        order.append(min(alike, key=costs.get))
        del ratios[order[-1]]
    return order


def _shares(count, emphasis):
    """The part of the run that each stage takes.

    Example:

    >>> _shares(2, 0.25)
    [0.625, 0.375]
    """
    if count == 1:
        return [1.0]
    return [
        (1 + emphasis * (1 - 2 * index / (count - 1))) / count
        for index in range(count)
    ]


def _affordable(search, sizes, shares, budget):
    """The steps of a whole run that costs no more than a budget."""
    costs = [_flops(search, found) for found in sizes]
    mean = sum(s * c for s, c in zip(shares, costs, strict=True))
    total = int(budget // mean)
    while total >= len(sizes):
        ends = _ends(shares, total)
        lengths = [b - a for a, b in zip([0, *ends], ends, strict=False)]
        spent = sum(n * c for n, c in zip(lengths, costs, strict=True))
        if spent <= budget:
            return total
        total -= 1  # rounding
    return total


def _ends(shares, total_steps):
    ends = [
        round(total_steps * sum(shares[: index + 1]))
        for index in range(len(shares))
    ]
    if any(a >= b for a, b in zip([0, *ends], ends, strict=False)):
        raise GrowthError(
            f"{len(shares)} stages do not fit into {total_steps} steps. "
            f"Received: total_steps={total_steps}"
        )
    return ends


def _flops(search, sizes):
    return next(cost for found, cost in search.flops if found == sizes)
