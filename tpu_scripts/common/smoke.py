"""A program in miniature: train, grow, write, go on, evaluate.

The configuration is `configs/smoke/NAME.toml`. The run is broken off in the
middle of a stage, while a gate is opening if the schedule has any; a second
model, made by the same call as the first, goes on from what was written. What
must be true of that is checked, and the first thing that is not ends the
program with an error.
"""

import json
import pathlib
import sys
import tempfile
import time

import keras
import numpy as np

from common import devices, records
from kgrow.algebra.errors import GrowthError

CONFIGS = pathlib.Path(__file__).parents[1] / "configs" / "smoke"


def arguments(name, options, given=None):
    """The command line of a smoke run: that of a program, with its file.

    Raises:
        GrowthError: another configuration was given.
    """
    if options.config is not None:
        raise GrowthError(
            "A smoke run has a configuration of its own. Received: "
            f"config={options.config!r}"
        )
    given = sys.argv[1:] if given is None else list(given)
    path = CONFIGS / f"{pathlib.Path(name).stem}.toml"
    return ["--config", str(path), *given]


def pretraining(make, options):
    """Runs a program twice, the second time from where the first was broken
    off.

    Args:
        make: function of flags that gives a `Run`.
        options: flags.

    Returns:
        dict, what the second run came to, and `"smoke"`: what was checked.
    """
    start = time.perf_counter()
    devices.start(options)
    with tempfile.TemporaryDirectory() as folder:
        options.checkpoints = options.checkpoints or f"{folder}/checkpoints"
        options.logs = options.logs or f"{folder}/logs"
        last = options.steps
        first = make(options)
        stages = first.schedule.stages
        # Into the last stage but one, where there are so many.
        options.steps = _middle(stages)
        before = first.begin().train()
        saved = weights(first.model)
        spread = largest_part(first.model)
        options.steps = last
        second = make(options)
        fresh = second.model.growth_config
        second.begin()
        found = weights(second.model)
        same = len(found) == len(saved) and all(
            map(np.array_equal, found, saved)
        )
        after = second.train()
        lines = read_records(options.logs)
        boards = list(pathlib.Path(options.logs).rglob("events.out.*"))
        checks = {
            "the second model began small": (
                fresh["num_layers"] < before["sizes"]["num_layers"]
                or fresh["hidden_dim"] < before["sizes"]["hidden_dim"]
            ),
            "it went on from a file": after["resumed"],
            "at the step of the first": (
                after["began_at_step"] == before["step"]
            ),
            "in the stage of the first": (
                after["began_at_stage"] == before["stage"] > 1
            ),
            "with its weights, to the bit": same,
            "it came to the last stage": after["stage"] == len(stages),
            "at the last sizes": (
                second.schedule.sizes[-1].items() <= after["sizes"].items()
            ),
            "every growth was made once": after["growths"] == len(stages) - 1,
            "the loss fell": _first_loss(lines) > after["final_loss"],
            "nothing was left out of the records": [
                line["event"] for line in lines if line["event"] != "epoch"
            ]
            == _events(len(stages)),
            "weights lay on several devices": (
                options.layout != "model" or spread < 1
            ),
            "TensorBoard has files": bool(boards) or not options.tensorboard,
        }
    seconds = time.perf_counter() - start
    return {**after, "smoke": verdict(checks, seconds)}


def verdict(checks, seconds):
    """Prints what was checked; raises if a check failed."""
    import jax

    for what, holds in checks.items():
        print(f"{'ok ' if holds else 'NOT'} {what}")
    print(
        f"smoke: {sum(map(bool, checks.values()))} of {len(checks)} checks, "
        f"{jax.device_count()} devices, {seconds:.0f} s",
        flush=True,
    )
    failed = [what for what, holds in checks.items() if not holds]
    if failed:
        raise SystemExit(f"smoke: not so: {'; '.join(failed)}")
    return {"checks": list(checks), "seconds": seconds}


def _middle(stages):
    """A step in the middle of the last stage but one."""
    ends = [stage.until.count for stage in stages]
    begins = [0, *ends]
    place = max(len(ends) - 2, 0)
    return (begins[place] + ends[place]) // 2


def _events(stages):
    return ["start", *["growth"] * (stages - 2), "end"] + [
        "resume",
        "growth",
        "end",
    ]


def _first_loss(lines):
    return next(line["loss"] for line in lines if line["event"] == "epoch")


def weights(model):
    """All weights, as numpy arrays."""
    return [
        keras.ops.convert_to_numpy(weight) for weight in model.network.weights
    ]


def largest_part(model):
    """The largest share that any device has of the largest variable."""
    largest = max(model.network.weights, key=lambda w: np.prod(w.shape))
    part = largest.value.addressable_shards[0].data.size
    return part / np.prod(largest.shape)


def read_records(folder):
    """The lines of `metrics.jsonl`."""
    text = (pathlib.Path(folder) / records.FILE).read_text()
    return [json.loads(line) for line in text.splitlines()]
