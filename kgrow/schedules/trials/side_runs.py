"""Short trial runs of copies of a model, at larger sizes."""

import dataclasses
import gc
import itertools
import math
import pathlib
import tempfile
import time
from dataclasses import dataclass

from kgrow import backend, strategies
from kgrow.algebra.errors import GrowthError
from kgrow.algebra.ramp import Ramp
from kgrow.backend.random import private_random
from kgrow.schedules.learning_rate import apply_policies
from kgrow.schedules.trials.loss_rates import flops_at, flops_per_step, record


@dataclass(frozen=True)
class SideRun:
    """The result of a few training steps of a copy.

    Attributes:
        before: float, the held-out loss before them.
        after: float, the held-out loss after them.
        steps: int, how many they were.
        flops_per_step: number.
        seconds_per_step: float or `None`.
    """

    before: float
    after: float
    steps: int
    flops_per_step: float
    seconds_per_step: float | None

    def rate(self, before, unit="flops"):
        """How far the loss fell for a unit of cost, from a given loss on.

        Args:
            before: float, a loss.
            unit: `"flops"` or `"seconds"`.

        Returns:
            float, or `None` if it is not finite, or not measured.

        Example:

        >>> SideRun(3.0, 2.0, 5, 10.0, None).rate(3.0)
        0.02
        """
        cost = getattr(self, f"{unit}_per_step")
        if not cost or not math.isfinite(before - self.after):
            return None
        return (before - self.after) / (self.steps * cost)


class SideRuns:
    """Trial runs that start from the present state of a model.

    Each copy begins with the model's weights, optimizer, random states, gates
    and frozen entries, as they are saved in a file of weights and loaded from
    it. The model itself is only read. Copies are made by `from_config()` and
    compiled with the model's loss; an optimizer comes back by its own
    `from_config()`, so that variables excluded from its weight decay by hand
    decay in the copies.

    Args:
        model: a compiled `GrowableModel`, perhaps inside a running `fit`.
        held_out: list of batches that losses are taken on.
        batches: list of batches to train on; a copy takes the first ones.

    Raises:
        GrowthError: the model cannot be copied.

    Example:

    >>> import numpy as np, kgrow
    >>> model = kgrow.models.MLP(input_dim=2, output_dim=1, hidden_dim=4,
    ...     intermediate_dim=8, num_layers=1)
    >>> model.compile("adam", "mse")
    >>> batch = np.ones((4, 2)), np.ones((4, 1))
    >>> with SideRuns(model, [batch], [batch] * 8) as runs:
    ...     found = runs.run(8)
    >>> found.after < found.before, int(model.optimizer.iterations)
    (True, 0)
    """

    def __init__(self, model, held_out, batches):
        self._model = model
        self._held_out = held_out
        self._batches = batches

    def __enter__(self):
        self._folder = tempfile.TemporaryDirectory()
        self._path = pathlib.Path(self._folder.name) / "model.weights.h5"
        backend.sync(self._model)
        self._model.save_weights(self._path)
        return self

    def __exit__(self, *error):
        self._folder.cleanup()
        # Keras models refer to themselves; the copies would wait for the
        # collector while the run goes on.
        gc.collect()

    def run(self, steps, config=None, strategy=None, seed=0, data=None):
        """Trains a copy, grown or as it is.

        Args:
            steps: int.
            config: optional dict of sizes to grow to.
            strategy: `Strategy` by which it grows. A ramp is cut to half the
                steps, so that what is new takes part in the other half.
            seed: int, of the growth.
            data: of `model.grow()`, for strategies that learn.

        Returns:
            `SideRun`.
        """
        copy = self._copy()
        if config:
            strategy = shortened(strategy, steps // 2)
            needs_data = strategy.needs_data
            copy.grow(
                config, strategy, data=data if needs_data else None, seed=seed
            )
        flops = flops_per_step(copy.network, self._batches[0])
        before = self._loss(copy)
        every = max(1, steps // 4)
        found = record(copy, iter(self._batches[:steps]), steps, every)
        after = self._loss(copy) if found.broken is None else float("nan")
        variables = [*copy.variables, *copy.optimizer.variables]
        backend.delete_buffers([backend.storage(v) for v in variables])
        return SideRun(before, after, steps, flops, found.seconds_per_step)

    def flops(self, config):
        """Training FLOPs of a step at other sizes; nothing is trained."""
        return flops_at(self._model, config, self._batches[0])

    def _copy(self):
        model = self._model
        with backend.scope(model):
            copy, optimizer = made_again(model)
            given = model._compile_config.config
            copy.compile(
                optimizer,
                loss=given["loss"],
                loss_weights=given["loss_weights"],
                run_eagerly=given["run_eagerly"],
                jit_compile=given["jit_compile"],
                auto_scale_loss=False,
            )
            if model.optimizer.built:
                # Without its variables there is nothing to load into.
                copy.optimizer.build(copy.trainable_variables)
        copy.load_weights(self._path)
        apply_policies.restore(copy)
        return copy

    def _loss(self, copy):
        found = copy.evaluate(
            (batch for batch in self._held_out),
            steps=len(self._held_out),
            verbose=0,
            return_dict=True,
        )
        return float(found["loss"])


def measure(model, stages, batches, held_out, steps, unit, target):
    """How fast a model learns as it is, and grown in each of several ways.

    Args:
        model: a compiled `GrowableModel`; it is only read.
        stages: dict from names to `Stage`s, each of which grows it.
        batches: iterator of batches.
        held_out: int, how many of them losses are taken on.
        steps: int, that the copy that does not grow trains on those after
            them. The others get as many as cost the same FLOPs.
        unit: `"flops"` or `"seconds"`, of the rates.
        target: dict of sizes, whose cost is wanted too.

    Returns:
        dict that JSON can hold: `present` and `candidates`, what each copy
        did; `flops`, `seconds`, what it took; `target_flops_per_step`.
    """
    begin = time.perf_counter()
    held_out = list(itertools.islice(batches, held_out))
    trained = list(itertools.islice(batches, steps))
    found = {}
    with private_random(0), SideRuns(model, held_out, trained) as runs:
        present = runs.run(steps)
        for name, stage in stages.items():
            share = present.flops_per_step / runs.flops(stage.config)
            found[name] = runs.run(
                min(steps, max(2, round(steps * share))),
                stage.config,
                stage.grown_by,
                stage.seed,
                data=trained,
            )
        target_flops = runs.flops(target)
    # All trials start from the model's present state, so a harmful growth is
    # charged for the loss it causes.
    before = present.before
    return {
        "present": _plain(present, before, unit),
        "candidates": {
            name: {**stages[name].config, **_plain(run, before, unit)}
            for name, run in found.items()
        },
        "flops": sum(
            # A forward pass is a third of a step; there are two over these.
            run.flops_per_step * (run.steps + 2 * len(held_out) / 3)
            for run in [present, *found.values()]
        ),
        "seconds": time.perf_counter() - begin,
        "target_flops_per_step": target_flops,
    }


def _plain(run, before, unit):
    values = {"rate": run.rate(before, unit), **dataclasses.asdict(run)}
    return {
        key: None if value is None or not math.isfinite(value) else value
        for key, value in values.items()
    }


def made_again(model):
    """A model and an optimizer like those of a compiled model, with values of
    their own.

    Raises:
        GrowthError: one of them cannot be made from its config.
    """
    optimizer = model.optimizer
    try:
        return (
            type(model).from_config(model.get_config()),
            type(optimizer).from_config(optimizer.get_config()),
        )
    except Exception as error:
        raise GrowthError(
            "The model is measured on copies, and cannot be copied: it, or "
            "its optimizer, is not made again by `from_config(get_config())`. "
            f"Received: {model!r}, {error}"
        ) from error


def shortened(strategy, steps):
    """A strategy whose ramp takes at most a given number of steps.

    Example:

    >>> shortened("msg", 10)
    MSG(ramp=10)
    """
    strategy = strategies.get(strategy)
    config = strategy.get_config()
    if "ramp" not in config:
        return strategy
    ramp = Ramp.get(config["ramp"])
    if ramp.steps > steps:
        ramp = Ramp.from_config({**ramp.get_config(), "steps": steps})
    return type(strategy).from_config({**config, "ramp": ramp})
