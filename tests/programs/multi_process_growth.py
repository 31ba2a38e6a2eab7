"""Grows models in one of two processes; run by `test_multi_process.py`.

Its arguments are the number of the process, the address of the first one and
the names of runs below. It prints one JSON line.
"""

import hashlib
import json
import sys

import jax

jax.config.update("jax_cpu_collectives_implementation", "gloo")

import keras  # noqa: E402
import numpy as np  # noqa: E402
from jax.experimental import multihost_utils  # noqa: E402

import kgrow  # noqa: E402
from kgrow.callbacks import Growth  # noqa: E402
from kgrow.schedules import GrowthSchedule, Plateau, Stage  # noqa: E402
from kgrow.strategies import LiGO  # noqa: E402

PROCESS = int(sys.argv[1])
STAGES = [{"hidden_dim": 8, "num_layers": 1}, {"hidden_dim": 16}]


def data_parallel():
    return keras.distribution.DataParallel(
        devices=keras.distribution.list_devices("cpu"),
        auto_shard_dataset=False,
    )


def model_parallel():
    mesh = keras.distribution.DeviceMesh(
        (1, 2), ["batch", "model"], keras.distribution.list_devices("cpu")
    )
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*intermediate_dense/kernel"] = (None, "model")
    return keras.distribution.ModelParallel(
        layout_map=layout,
        batch_dim_name="batch",
        auto_shard_dataset=False,
    )


def mlp():
    model = kgrow.models.MLP(
        input_dim=4,
        output_dim=1,
        hidden_dim=8,
        intermediate_dim=16,
        num_layers=1,
    )
    model.compile(keras.optimizers.Adam(0.01), "mse")
    return model


def batches(whole=False):
    """What this process has of the data: half of each batch, or all."""
    x = np.random.default_rng(0).standard_normal((32, 4)).astype("float32")
    y = x[:, :1] ** 2
    return (x, y) if whole else (x[PROCESS::2], y[PROCESS::2])


def digest(model):
    """A hash of all weights and slots, each put together from its pieces."""
    found = hashlib.sha256()
    for variable in [*model.network.weights, *model.optimizer.variables]:
        value = variable.value
        if not value.is_fully_replicated:
            value = multihost_utils.process_allgather(value, tiled=True)
        found.update(np.asarray(value).tobytes())
    return found.hexdigest()


def trained(model, schedule, whole=False):
    x, y = batches(whole)
    history = model.fit(
        x,
        y,
        batch_size=4,
        epochs=20,
        shuffle=False,
        verbose=0,
        callbacks=[Growth(schedule, data=batches(True), verbose=0)],
    )
    return {
        "grown_at": [receipt.step for receipt in model.growth_history],
        "exact": [receipt.exact for receipt in model.growth_history],
        "losses": history.history["loss"],
        "digest": digest(model),
    }


def plateau():
    """Each process decides for itself when the loss has stopped falling."""
    keras.distribution.set_distribution(data_parallel())
    trigger = Plateau(patience=2, min_delta=1.0, every=2, at_most=40)
    return trained(
        mlp(),
        GrowthSchedule([Stage(trigger, STAGES[0]), Stage(60, STAGES[1])]),
    )


def divided():
    """Weights of which each process has a half."""
    keras.distribution.set_distribution(model_parallel())
    model = mlp()
    schedule = GrowthSchedule([Stage(6, STAGES[0]), Stage(12, STAGES[1])])
    # The batch is not divided: each process has all of it.
    found = trained(model, schedule, whole=True)
    pieces = [
        v.value.addressable_shards[0].data.size / v.value.size
        for v in model.network.weights
    ]
    return found | {"smallest_piece": min(pieces)}


def learned():
    keras.distribution.set_distribution(data_parallel())
    strategy = LiGO(steps=4, learning_rate=0.01, verbose=0)
    schedule = [Stage(6, STAGES[0]), Stage(12, STAGES[1], strategy)]
    return trained(mlp(), GrowthSchedule(schedule))


def disagreement():
    """What is said where the processes do not plan the same."""
    keras.distribution.set_distribution(data_parallel())
    model = mlp()
    x, y = batches()
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    before, found = digest(model), {}
    for name, options in (
        ("seed", {"seed": PROCESS}),
        ("data", {"seed": 0, "data": batches()}),
    ):
        try:
            model.grow(STAGES[1], **options)
            found[name] = "grown"
        except kgrow.GrowthError as error:
            found[name] = str(error)
    return found | {"kept": digest(model) == before}


if __name__ == "__main__":
    keras.distribution.initialize(sys.argv[2], 2, PROCESS)
    keras.utils.set_random_seed(0)
    runs = {name: globals()[name]() for name in sys.argv[3:]}
    print(json.dumps(runs))
