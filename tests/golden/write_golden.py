"""Writes the golden files: a model of every family, grown once.

What one version writes, the next ones read; `test_golden_files.py` holds them
to it. Files are written once for a form of files and stay as they are:

    KERAS_BACKEND=jax python tests/golden/write_golden.py [family ...]

With no family named, those are written that there is no file of.
"""

import json
import pathlib
import sys

import keras
import numpy as np

import kgrow

FOLDER = pathlib.Path(__file__).parent
TEXT = {
    "vocabulary_size": 5,
    "max_sequence_length": 3,
    "num_layers": 1,
    "num_heads": 2,
    "hidden_dim": 4,
    "intermediate_dim": 5,
    "dropout": 0.0,
}
IMAGE = {"image_size": 4, "patch_size": 2, "num_channels": 3, "num_classes": 3}
VISION = {
    **IMAGE,
    **{n: TEXT[n] for n in ("num_layers", "num_heads", "hidden_dim")},
    "intermediate_dim": 5,
    "dropout": 0.0,
}
LLAMA = {**TEXT, "num_query_heads": 2, "num_key_value_heads": 1}
del LLAMA["num_heads"], LLAMA["max_sequence_length"]
# A ramp of which the files hold the middle.
RAMP = 8
# The constructor call, what it grows into, and whether behind gates.
FAMILIES = {
    "BERT": (TEXT, {"intermediate_dim": 7}, True),
    "CaiT": (
        {**VISION, "num_class_layers": 1},
        {"intermediate_dim": 7},
        False,
    ),
    "DeiT": (VISION, {"num_layers": 2}, True),
    "GPT2": (TEXT, {"hidden_dim": 8, "num_heads": 3}, False),
    "Llama": (LLAMA, {"intermediate_dim": 7}, True),
    "MLP": (
        {
            "input_dim": 3,
            "output_dim": 2,
            "hidden_dim": 4,
            "intermediate_dim": 5,
            "num_layers": 1,
        },
        {"hidden_dim": 6, "num_layers": 2},
        True,
    ),
    "ResNet": (
        {
            "num_classes": 3,
            "filters": [3, 4],
            "depths": [1, 1],
            "inner_filters": [2, 3],
            "stem": "small",
            "image_size": 4,
        },
        {"filters": [4, 5]},
        False,
    ),
    "RoBERTa": (TEXT, {"hidden_dim": 6, "num_heads": 3}, True),
    "Swin": (
        {
            "num_classes": 3,
            "embed_dim": 4,
            "depths": [1, 1],
            "num_heads": [1, 2],
            "window_size": 2,
            "image_size": 8,
            "patch_size": 2,
            "head_dim": [4, 4],
            "intermediate_dim": [5, 6],
        },
        {"intermediate_dim": [6, 7]},
        True,
    ),
    "ViT": (VISION, {"hidden_dim": 8}, False),
}


def make(family):
    """The small model, as a process has it that knows its constructor."""
    model = getattr(kgrow.models, family)(**FAMILIES[family][0])
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


def write(family):
    """Grows a model of a family and writes its files, and beside them what
    the model computes."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    model, (_, target, gated) = make(family), FAMILIES[family]
    x = model.network.example_inputs(2, 1)
    y = np.random.default_rng(2).standard_normal(outputs(model, x).shape)
    y = y.astype("float32")
    for _ in range(2):
        step(model, x, y)
    strategy = kgrow.strategies.MSG(ramp=RAMP) if gated else "net2net"
    model.grow(target, strategy, seed=0)
    for _ in range(3):
        step(model, x, y)
    model.save(FOLDER / f"{family}.keras")
    model.save_weights(FOLDER / f"{family}.weights.h5")
    told, before = json.dumps(facts(model)), outputs(model, x)
    losses = [step(model, x, y), step(model, x, y)]
    inputs = {f"x/{i}": v for i, v in enumerate(keras.tree.flatten(x))}
    np.savez_compressed(
        FOLDER / f"{family}.npz",
        y=y,
        outputs=before,
        losses=losses,
        facts=np.array(told),
        **inputs,
    )


if __name__ == "__main__":
    chosen = sys.argv[1:] or [
        family for family in FAMILIES if not (FOLDER / f"{family}.npz").exists()
    ]
    for name in chosen:
        write(name)
