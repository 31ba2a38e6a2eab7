"""Which runs are wanted next, given what was found so far.

Phases follow one another; a phase begins when the runs of the one before are
done. Methods train at the rate and the weight decay that are best for the
reference, so that they are tuned no more than it is.
"""

from laboratory.files import DONE
from laboratory.spec import RunSpec

LONGEST = 20  # tokens for each weight of the blocks
# References, as parts of the longest; rates are tuned on the shortest.
BUDGETS = (0.4, 0.55, 0.7, 1.0)
# Models that grow from a small one train on for so long.
FROM_SMALL = 0.7
_FIRST_RATES = (6e-3, 1.2e-2)
# Tried at the best rate, beside that of `RunSpec`.
_WEIGHT_DECAYS = (0.01, 0.3)
_SEEDS = (1, 2)

METHODS = (
    ("one-jump", {"layers": 2, "at": 0.5}),
    ("one-jump", {"layers": 1}),
    ("stackbert", {}),
    ("one-jump", {"layers": 0, "strategy": "random"}),
    ("midas", {}),
    ("compoundgrow-without-length", {}),
    ("msg", {}),
    ("staged", {}),
    ("small+lemon", {}),
    ("small+net2net", {}),
    ("small+ligo", {}),
    ("small+mango", {}),
)

# One thing at a time is changed of two blocks until the middle, stacked.
_VARIANTS = (
    ("one-jump", {"at": 0.3}),
    ("one-jump", {"at": 0.7}),
    ("one-jump", {"strategy": "interpolate"}),
    ("one-jump", {"strategy": "identity"}),
    ("one-jump", {"optimizer_state": "reset"}),
    ("one-jump", {"optimizer_state": "reset_new"}),
    ("one-jump", {"rates": "rewarm"}),
    ("one-jump", {"rates": "new-slowly"}),
    ("one-jump", {"rates": "new-half"}),
    ("one-jump", {"layers": 3}),
)
_OTHERS = (
    ("half-ffn", {}),
    ("half-ffn", {"rates": "law"}),
    ("half-width", {}),
    ("half-width", {"rates": "law"}),
    ("half-width", {"strategy": "lemon"}),
    ("half-width", {"optimizer_state": "reset_new", "rates": "new-slowly"}),
    ("half-all", {}),
    ("half-all", {"rates": "law"}),
    ("midas", {"power": 2}),
    ("stackbert", {"optimizer_state": "reset"}),
)


def extend(queue, results, rung, text):
    """Adds the runs of the first phase that is not done to a queue.

    Args:
        queue: `Queue`.
        results: `Results`.
        rung: String, of the runs to add.
        text: String, likewise.
    """
    found = results.read()
    for phase in PHASES:
        wanted = phase(RunSpec(rung, text, "scratch"), found)
        queue.add(wanted)
        if any(spec.key not in found for spec in wanted):
            return


def best_rate(base, found, decay):
    """The rate that is best for the reference, or `None` before it is known
    to lie between two that are worse.

    Args:
        base: `RunSpec`, whose rung and text count.
        found: `{key: result}`.
        decay: String, a key of `DECAYS`.
    """
    losses = tuned(base, found, decay)
    if not losses:
        return None
    rates = sorted(losses)
    best = min(rates, key=losses.get)
    return best if rates[0] < best < rates[-1] else None


def tuned(base, found, decay):
    """`{rate: loss}` of the runs from which the rate is chosen."""
    return {
        result["spec"]["rate"]: result["validation"]["loss"]
        for key, result in found.items()
        if result["state"] == DONE
        and key == _tuning_run(base, decay, result["spec"]["rate"]).key
    }


def _tuning_run(base, decay, rate):
    return base.replaced(decay=decay, rate=rate, tokens=BUDGETS[0] * LONGEST)


def _tuning(decay):
    """Rates, each twice the one before, until the best has neighbours."""

    def phase(base, found):
        rates = {*_FIRST_RATES, *tuned(base, found, decay)}
        losses = tuned(base, found, decay)
        if all(rate in losses for rate in _FIRST_RATES):
            best = min(losses, key=losses.get)
            if best == max(rates):
                rates.add(2 * best)
            if best == min(rates):
                rates.add(best / 2)
        return [_tuning_run(base, decay, rate) for rate in sorted(rates)]

    return phase


def best_setting(base, found, decay):
    """The longest reference's `RunSpec`, with the rate and the weight decay
    that are best for the shortest; `None` before they are known."""
    rate = best_rate(base, found, decay)
    if rate is None:
        return None
    losses = {
        spec.weight_decay: found[spec.key]["validation"]["loss"]
        for spec in _decays_tried(base, decay, rate)
        if found.get(spec.key, {}).get("state") == DONE
    }
    return base.replaced(
        decay=decay,
        rate=rate,
        weight_decay=min(losses, key=losses.get),
        tokens=LONGEST,
    )


def _decays_tried(base, decay, rate):
    tuned = _tuning_run(base, decay, rate)
    return [
        tuned.replaced(weight_decay=value)
        for value in (base.weight_decay, *_WEIGHT_DECAYS)
    ]


def _weight_decays(decay):
    def phase(base, found):
        rate = best_rate(base, found, decay)
        if rate is None:
            raise ValueError(
                f"The best rate is not known, as runs that tune it failed. "
                f"Received: rung={base.rung!r}, text={base.text!r}, "
                f"decay={decay!r}"
            )
        return _decays_tried(base, decay, rate)

    return phase


def _references(decay, seeds=(0,)):
    def phase(base, found):
        best = best_setting(base, found, decay)
        return [
            best.replaced(tokens=part * LONGEST, seed=seed)
            for seed in seeds
            for part in BUDGETS
        ]

    return phase


def _methods(decay, methods, seeds=(0,)):
    def phase(base, found):
        best = best_setting(base, found, decay)
        return [
            best.replaced(
                recipe=recipe,
                options=options,
                seed=seed,
                tokens=length(recipe) * LONGEST,
            )
            for seed in seeds
            for recipe, options in methods
        ]

    return phase


def length(recipe):
    """How long a recipe's run is, as a part of the longest reference."""
    return FROM_SMALL if recipe.startswith("small+") else 1.0


def _all_variants():
    base = {"layers": 2, "at": 0.5}
    near = [(recipe, {**base, **changed}) for recipe, changed in _VARIANTS]
    return [*near, *_OTHERS]


PHASES = (
    _tuning("wsd"),
    _weight_decays("wsd"),
    _references("wsd"),
    _methods("wsd", METHODS),
    _tuning("cosine"),
    _weight_decays("cosine"),
    _references("cosine"),
    _methods("cosine", METHODS[:5]),
    _references("wsd", _SEEDS),
    _methods("wsd", METHODS[:5], _SEEDS),
    _methods("wsd", _all_variants()),
)
