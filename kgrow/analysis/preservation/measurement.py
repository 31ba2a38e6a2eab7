"""Measure function preservation of every strategy."""

import dataclasses

from kgrow import strategies
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.rounding import tolerance
from kgrow.analysis.preservation.bench import DIMS, SIZES, Bench, growth
from kgrow.analysis.preservation.small_transformer import PLACEMENTS
from kgrow.analysis.preservation.table import PreservationRow, PreservationTable

DTYPES = ("float32", "float64")

# Length of the sums and depth that the rounding bound assumes.
_FAN_IN = 64
_DEPTH = 16


def preservation_table(
    strategies=None, placements=None, dims=None, sizes=None, dtypes=None
):
    """Measures which strategies keep the function, where, and how nearly.

    A small transformer with noise in every weight, gains, shifts and biases
    included, is grown by each strategy, along one dimension at a time, and its
    outputs are compared with those of the grown one, in float32 and float64.
    Strategies that learn are measured as they start, before any step.

    Args:
        strategies: optional list of strategies and of registered names; all
            that are registered by default, each once.
        placements: optional list from `"pre-LN"`, `"post-LN"`, `"RMSNorm"`.
        dims: optional list from `"hidden"`, `"ffn"`, `"heads"`, `"width"`
            (all three by one factor), `"depth"`.
        sizes: optional list from `"multiple"`, `"any"`.
        dtypes: optional list from `"float32"`, `"float64"`.

    Returns:
        `PreservationTable`.

    Raises:
        GrowthError: an option is not among those.

    Example:

    >>> table = preservation_table(["net2net"], ["pre-LN"], ["hidden"],
    ...     dtypes=["float32"])
    >>> [row.verdict for row in table.rows]
    ['exact', 'inexact']
    >>> table.rows[1].reason[:33]
    'entries copied in unequal numbers'
    """
    # Refused before networks are built.
    _chosen_rows(strategies, dims, sizes)
    return measure(benches(placements, dtypes), strategies, dims, sizes)


def benches(placements=None, dtypes=None):
    """`{placement: {dtype: Bench}}`, to measure on more than once."""
    placements = _chosen("placements", placements, PLACEMENTS)
    dtypes = _chosen("dtypes", dtypes, DTYPES)
    return {p: {d: Bench(p, d) for d in dtypes} for p in placements}


def measure(benches, chosen=None, dims=None, sizes=None):
    """The `PreservationTable` of networks that are there already."""
    chosen, dims, sizes = _chosen_rows(chosen, dims, sizes)
    return PreservationTable(
        tuple(
            _row(beside, label, strategy, placement, dim, size)
            for dim in dims
            for label, strategy in chosen.items()
            for placement, beside in benches.items()
            for size in sizes
        )
    )


def _chosen_rows(chosen, dims, sizes):
    return (
        _labelled(chosen),
        _chosen("dims", dims, DIMS),
        _chosen("sizes", sizes, SIZES),
    )


def _labelled(chosen):
    """`{label: Strategy}` of names, each its own label, and strategies."""
    if chosen is None:
        chosen = strategies.names(aliases=False)
    if isinstance(chosen, (str, strategies.Strategy)):
        raise GrowthError(
            "`strategies` must be a list of strategies or of names. Received: "
            f"{chosen!r}"
        )
    return {
        one if isinstance(one, str) else repr(one): strategies.get(one)
        for one in chosen
    }


def _chosen(name, values, allowed):
    wrong = [v for v in values or () if v not in allowed]
    if wrong or isinstance(values, str):
        raise GrowthError(
            f"`{name}` must be a list of some of {list(allowed)}. Received: "
            f"{values!r}"
        )
    return list(allowed) if values is None else list(values)


def _row(beside, label, strategy, placement, dim, size):
    place = (label, placement, dim, size, *growth(dim, size))
    plan, differences = None, {}
    try:
        for dtype, bench in beside.items():
            plan = bench.plan(strategy, dim, size)
            differences[dtype] = bench.difference(plan, dim, size)
    except GrowthError as error:
        return PreservationRow(*place, "refuses", {}, [], str(error))
    claims = strategy.claims(plan)
    return PreservationRow(
        *place,
        _verdict(claims, differences),
        differences,
        [dataclasses.asdict(claim) for claim in claims],
        "; ".join(claim.reason for claim in claims if not claim.exact),
    )


def _verdict(claims, differences):
    within = sum(claim.within for claim in claims)
    kept = all(
        difference <= tolerance(dtype, _FAN_IN, _DEPTH) + within
        for dtype, difference in differences.items()
    )
    if all(claim.exact for claim in claims):
        exact = "exact but for epsilon" if within else "exact"
        return exact if kept else "CONTRADICTION"
    return "unclaimed" if kept else "inexact"
