"""How many of the new weights may be anything at all?"""

import dataclasses

import keras
import numpy as np

from kgrow.algebra.rounding import tolerance


def free_weights(bench, strategy, dim, size):
    """New weights that the function does not depend on, and all new ones.

    The network is grown twice, with other noise each time in every entry that
    the plan leaves to the layers' initial values. What differs between the two
    is free, if neither of them changes the outputs.

    Args:
        bench: `Bench` in float64.
        strategy: the strategy.
        dim: name of the dimension that grows.
        size: `"multiple"` or `"any"`.

    Returns:
        `(free, new)`, two ints; `free` is 0 if the outputs change.

    Raises:
        GrowthError: the strategy refuses.

    Example:

    >>> from kgrow import strategies
    >>> from kgrow.analysis.preservation.bench import Bench
    >>> bench = Bench("pre-LN", "float64")
    >>> free_weights(bench, strategies.get("net2net"), "ffn", "any")[0]
    0
    """
    plan = bench.plan(strategy, dim, size)
    new = _count(plan.target) - _count(plan.source)
    anything = dataclasses.replace(
        plan, target=_with_noise(plan.target), noise={}
    )
    grown = []
    for seed in (1, 2):
        drawn = dataclasses.replace(anything, seed=seed)
        if bench.difference(drawn, dim, size) > tolerance("float64", 64, 16):
            return 0, new
        grown.append(drawn.apply(bench.values))
    one, other = grown
    free = sum(int(np.sum(one[path] != other[path])) for path in one)
    return free, new


def _with_noise(spec):
    """The spec of a network whose layers all start from noise."""
    noise = keras.initializers.RandomNormal(stddev=1.0)
    variables = {
        path: dataclasses.replace(variable, initializer=noise)
        for path, variable in spec.variables.items()
    }
    return dataclasses.replace(spec, variables=variables)


def _count(spec):
    return sum(int(np.prod(v.shape)) for v in spec.variables.values())
