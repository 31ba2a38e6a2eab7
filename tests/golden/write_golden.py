"""Writes the golden files: a small model of every family, grown once.

What one version writes, the next ones read; `test_golden_files.py` holds them
to it. Files are written once for a form of files and stay as they are:

    KERAS_BACKEND=jax python tests/golden/write_golden.py [family ...]

With no family named, those of the package are written that have no files yet.
A file holds the constructor call that it was written with, so that the example
of a family may change after it.
"""

import json
import pathlib
import sys

import keras
import numpy as np

import kgrow
from kgrow.models import registered

FOLDER = pathlib.Path(__file__).parent
ENDINGS = (".keras", ".weights.h5", ".npz")
# A ramp of which the files hold the middle.
RAMP = 8


def families():
    """Names of the package's own families."""
    return [
        name
        for name, cls in registered().items()
        if cls.__module__.startswith("kgrow.models.")
    ]


def make(family, sizes):
    """The small model, as a process has it that knows its constructor."""
    model = registered()[family](**sizes)
    model.compile(keras.optimizers.Adam(1e-3), "mse")
    return model


def step(model, x, y):
    """One step of training.

    Returns:
        float, the loss before it.
    """
    history = model.fit(
        x, y, batch_size=len(y), epochs=1, verbose=0, shuffle=False
    )
    return history.history["loss"][0]


def outputs(model, x):
    return np.array(keras.ops.convert_to_numpy(model(x)))


def facts(model):
    """What a file brings back that is no array."""
    return {
        "config": model.growth_config,
        "steps": int(model.optimizer.iterations),
        "strategies": [r.strategy for r in model.growth_history],
        "openings": [
            [gate.get_config(), steps] for gate, steps in model.active_gates
        ],
    }


def write(family, folder=FOLDER):
    """Grows the small model of a family and writes its files, and beside them
    its outputs and losses."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    example = registered()[family].example
    model = make(family, example.sizes)
    x = model.network.example_inputs(2, 1)
    y = np.random.default_rng(2).standard_normal(outputs(model, x).shape)
    y = y.astype("float32")
    for _ in range(2):
        step(model, x, y)
    model.grow(example.gated, kgrow.strategies.MSG(ramp=RAMP), seed=0)
    for _ in range(3):
        step(model, x, y)
    model.save(folder / f"{family}.keras")
    model.save_weights(folder / f"{family}.weights.h5")
    told, before = json.dumps(facts(model)), outputs(model, x)
    losses = [step(model, x, y), step(model, x, y)]
    inputs = {f"x/{i}": v for i, v in enumerate(keras.tree.flatten(x))}
    np.savez_compressed(
        folder / f"{family}.npz",
        sizes=np.array(json.dumps(example.sizes)),
        y=y,
        outputs=before,
        losses=losses,
        facts=np.array(told),
        **inputs,
    )


if __name__ == "__main__":
    chosen = sys.argv[1:] or [
        name for name in families() if not (FOLDER / f"{name}.npz").exists()
    ]
    for name in chosen:
        write(name)
