"""A grid search for schedules: short runs, a dimension at a time."""

import contextlib
import gc
import itertools

import keras

from kgrow.algebra.errors import GrowthError
from kgrow.architecture.architecture import count_parameters
from kgrow.backend.keras_internals import (
    GLOBAL_RANDOM_SEED,
    global_attribute,
    print_msg,
)
from kgrow.backend.random import private_random
from kgrow.schedules.grid_search.result import Search, SearchRow
from kgrow.schedules.trials.loss_rates import flops_at, readable, record
from kgrow.schedules.trials.variants import (
    check_sizes,
    differences,
    given_ladder,
    is_count,
    ladder,
)


def search(
    make_model,
    data,
    start,
    target,
    steps=None,
    budget=None,
    *,
    between=1,
    values=None,
    seeds=(0,),
    batch_size=32,
    windows=3,
    every=None,
    verbose=1,
):
    """Measures how fast structures between a small and a large one learn.

    From the start one dimension is made larger at a time, the others held.
    Each variant is trained anew for a short while, from the same seed and on
    the same batches in the same order, and its pre-training rate is measured:

        gamma = loss / time = (loss / step) * (step / time) = alpha * tau

    per second of wall time, and per FLOP, which is the same on every machine.
    What it says of the order in which to grow, `Search.propose()` makes a
    schedule of.

    Args:
        make_model: function from a dict of sizes to a compiled
            `GrowableModel` of these sizes.
        data: arrays `(x, y)`, or a dataset of batches that can be read more
            than once.
        start: dict of sizes, those of the small structure. Those left out are
            as `make_model` makes them.
        target: dict of the sizes that are larger at the end.
        steps: int, the training steps of each variant; or
        budget: number, the training FLOPs of each variant: larger ones get
            fewer steps.
        between: int, how many sizes to try between start and target.
        values: optional dict from fields to lists of sizes to try in place of
            those.
        seeds: ints, with each of which every variant is trained.
        batch_size: int, where the data are arrays.
        windows: int, in how many parts the runs are looked at.
        every: optional int, steps between readings of the loss; by default as
            many as give each part four readings of the largest variant.
        verbose: 0 or 1, whether a line is printed for each run.

    Returns:
        `Search`. A variant whose loss is no longer finite is marked in it.

    Raises:
        GrowthError: nothing differs, a size shrinks or is unknown,
            `make_model` makes something else, or the steps are too few.

    Example:

    >>> import numpy as np, kgrow
    >>> def make_model(sizes):
    ...     model = kgrow.models.MLP(input_dim=2, output_dim=1, **sizes)
    ...     model.compile("adam", "mse")
    ...     return model
    >>> x = np.random.default_rng(0).standard_normal((64, 2))
    >>> found = search(make_model, (x, x[:, :1] * x[:, 1:]),
    ...     {"hidden_dim": 4, "intermediate_dim": 8, "num_layers": 1},
    ...     {"hidden_dim": 8, "num_layers": 2}, steps=60, verbose=0)
    >>> [row.name for row in found.rows]
    ['start', 'hidden_dim=6', 'hidden_dim=8', 'num_layers=2']
    >>> found.propose(total_steps=300).sizes[-1]["num_layers"]
    2

    Reference:

    - Yao et al., "Masked Structural Growth" (2305.02869), Sec. 3.2.1, Fig. 2
      and Eq. 21. The paper reads its curves over wall time, by eye, on 10k
      examples. FLOPs, several seeds and numbers for the rates are ours.
    """
    _check_numbers(steps, budget, between, seeds, batch_size, windows, every)
    check_sizes("start", start)
    data = readable(data)
    with _seeded(seeds[0]):
        model = _made(make_model, start, start)
    known = model.growth_config
    variants = _variants(start, target, between, values, known)
    batch = next(data.batches(batch_size))
    costs = _Costs(model, batch)
    lengths = [steps or int(budget // costs(sizes)) for *_, sizes in variants]
    every = every or _every(lengths, variants, costs, windows)
    _check_lengths(lengths, variants, costs, windows, every)
    rows = []
    for (field, size, sizes), count in zip(variants, lengths, strict=True):
        runs, parameters = [], None
        for seed in seeds:
            with _seeded(seed):
                model = _made(make_model, sizes, {**known, **sizes})
                batches = data.batches(batch_size, seed)
                batches = itertools.islice(batches, count)
                runs.append(record(model, batches, count, every))
                parameters = count_parameters(model.network)
            # A Keras model refers to itself; it would wait for the collector
            # while the next one is made.
            del model
            gc.collect()
            if verbose:
                _report(field, size, seed, runs[-1], len(rows), len(variants))
        rows.append(
            SearchRow(field, size, sizes, parameters, costs(sizes), tuple(runs))
        )
    flops = tuple((sizes, costs(sizes)) for sizes in _corners(rows))
    return Search(tuple(rows), windows, flops)


def _check_numbers(steps, budget, between, seeds, batch_size, windows, every):
    if (steps is None) == (budget is None):
        raise GrowthError(
            "Say how long each variant is trained: by `steps` or by `budget`, "
            f"in FLOPs. Received: steps={steps}, budget={budget}"
        )
    counts = {
        "steps": (1 if steps is None else steps, 1),
        "between": (between, 0),
        "batch_size": (batch_size, 1),
        "windows": (windows, 1),
        "every": (1 if every is None else every, 1),
    }
    for name, (value, least) in counts.items():
        if not is_count(value, least):
            raise GrowthError(
                f"`{name}` is an integer of at least {least}. Received: "
                f"{name}={value!r}"
            )
    if budget is not None and not budget > 0:
        raise GrowthError(
            f"`budget` is a number of FLOPs. Received: budget={budget!r}"
        )
    if (
        not isinstance(seeds, (list, tuple))
        or not seeds
        or not all(is_count(seed, 0) for seed in seeds)
    ):
        raise GrowthError(
            "`seeds` are integers of at least 0, one at least. Received: "
            f"seeds={seeds!r}"
        )


def _variants(start, target, between, values, known):
    """`[(field, size, sizes)]`; the first is the start, whose field is
    `None`."""
    differ = differences(start, target, known)
    start = {**start, **{f: known[f] for f in target if f not in start}}
    values = values or {}
    unknown = sorted(set(values) - set(differ))
    if unknown:
        raise GrowthError(
            f"There are sizes to try of {unknown}, which do not differ. "
            f"Received: values={values}, start={start}, target={target}"
        )
    found = [(None, None, start)]
    for field, (first, last) in differ.items():
        sizes = ladder(first, last, between)
        if field in values:
            sizes = given_ladder("values", field, values[field], first, last)
        found += [(field, size, {**start, field: size}) for size in sizes]
    return found


def _corners(rows):
    """All structures whose sizes are those of the start or of the target."""
    start = rows[0].config
    last = {row.field: row.size for row in rows[1:]}
    for count in range(len(last) + 1):
        for fields in itertools.combinations(last, count):
            yield {**start, **{field: last[field] for field in fields}}


def _made(make_model, sizes, expected):
    """Builds a model of these sizes, or raises with the sizes it got
    instead."""
    model = make_model(dict(sizes))
    if not hasattr(model, "growth_config") or not model.compiled:
        raise GrowthError(
            "`make_model` returns a compiled `kgrow.GrowableModel`. Received: "
            f"{model!r} (of type {type(model).__name__})"
        )
    made = model.growth_config
    for field, size in expected.items():
        # One that there is not is said where start and target are compared.
        if made.get(field, size) != size:
            raise GrowthError(
                f"All variants are to have {field}={size} but for what differs "
                f"in them, and `make_model` made {made[field]}. If it follows "
                "from other sizes, as `head_dim` may, name it in `start`. "
                f"Received: make_model({sizes})"
            )
    return model


class _Costs:
    """Training FLOPs of a step, by sizes."""

    def __init__(self, model, batch):
        self._model = model
        self._batch = batch
        self._found = {}

    def __call__(self, sizes):
        key = tuple(sorted(sizes.items()))
        if key not in self._found:
            self._found[key] = flops_at(self._model, sizes, self._batch)
        return self._found[key]


def _horizon(lengths, variants, costs):
    """The cost at which all variants are compared."""
    return min(
        count * costs(sizes)
        for count, (*_, sizes) in zip(lengths, variants, strict=True)
    )


def _fewest(lengths, variants, costs):
    """The steps of the most expensive variant up to there."""
    dearest = max(costs(sizes) for *_, sizes in variants)
    return int(_horizon(lengths, variants, costs) // dearest)


def _every(lengths, variants, costs, windows):
    return max(1, _fewest(lengths, variants, costs) // (4 * windows))


def _check_lengths(lengths, variants, costs, windows, every):
    fewest = _fewest(lengths, variants, costs)
    if fewest < 2 * windows * every:
        raise GrowthError(
            "The runs are too short to be looked at in parts: where the "
            f"cheapest ends, the most expensive one has had {fewest} steps, "
            f"and {windows} windows with two readings each take "
            f"{2 * windows * every}. Give more `steps` or `budget`, or fewer "
            f"`windows`. Received: windows={windows}, every={every}"
        )


def _report(field, size, seed, run, index, count):
    name = "start" if field is None else f"{field}={size:,}"
    if run.broken is None:
        said = f"loss {run.losses[-1]:.4f}"
    else:
        said = f"loss not finite at step {run.broken:,}"
    print_msg(
        f"kgrow: variant {index + 1} of {count}, {name}, seed {seed}: {said}"
    )


@contextlib.contextmanager
def _seeded(seed):
    """Context in which all that is drawn follows from a seed, and after which
    the user's generators are as they were."""
    with private_random(seed), global_attribute(GLOBAL_RANDOM_SEED, seed):
        keras.utils.set_random_seed(seed)
        yield
