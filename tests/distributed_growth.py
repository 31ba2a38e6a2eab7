"""Grows a model inside `fit` on two devices; run by `test_distribution.py`.

The devices of a process are set before its backend starts, so this is a
program of its own. It prints one JSON line.
"""

import json
import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras  # noqa: E402
import numpy as np  # noqa: E402

VOCABULARY, LENGTH = 16, 8


GATES = "_gates"


def strategy():
    from kgrow.strategies import MSG

    # Open, and gone, before the last step.
    return MSG(ramp=3) if sys.argv[1].endswith(GATES) else "net2net"


class GrowOnce(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            target = {"hidden_dim": 16, "num_layers": 2}
            self.model.grow(target, strategy(), seed=0)


def fit(**sizes):
    import kgrow

    keras.utils.set_random_seed(0)
    model = kgrow.models.GPT2(
        vocabulary_size=VOCABULARY,
        num_layers=1,
        num_heads=2,
        hidden_dim=8,
        intermediate_dim=16,
        max_sequence_length=LENGTH,
        dropout=0.0,
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (8, LENGTH + 1))
    history = model.fit(
        tokens[:, :-1],
        tokens[:, 1:],
        batch_size=4,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[GrowOnce()],
    )
    return model, history.history["loss"]


def mirrored():
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        model, losses = fit()
    replicas = {len(w.value.values) for w in model.network.weights}
    return losses, replicas == {2}


def data_parallel():
    devices = keras.distribution.list_devices("cpu")
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices)
    )
    model, losses = fit()
    placed = {
        len(v.value.sharding.device_set)
        for v in [*model.network.weights, *model.optimizer.variables]
    }
    return losses, placed == {2}


def model_parallel():
    mesh = keras.distribution.DeviceMesh(
        (1, 2), ["batch", "model"], keras.distribution.list_devices("cpu")
    )
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*token_embedding/embeddings"] = (None, "model")
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout, batch_dim_name="batch"
        )
    )
    model, losses = fit()
    embeddings = model.network.token_embedding.embeddings
    (momentum,) = [
        slot
        for slot, variable in zip(
            model.optimizer.momentums,
            model.optimizer._trainable_variables,
            strict=True,
        )
        if variable is embeddings
    ]
    split = [str(v.value.sharding.spec) for v in (embeddings, momentum)]
    return losses, all("model" in spec for spec in split)


def one_device():
    return fit()[1], True


def learn():
    """The losses of an operator that is learned, before and after."""
    from kgrow.models import MLP
    from kgrow.strategies import LiGO

    model = MLP(4, 3, 8, 16, 1, activation="gelu")
    model.compile("adam", "mse")
    x = np.random.default_rng(0).standard_normal((32, 4))
    y = np.tile(x[:, :1], (1, 3))
    strategy = LiGO(steps=10, learning_rate=0.01, verbose=0)
    target = {"hidden_dim": 11, "num_layers": 2}
    learned = model.grow(target, strategy, data=(x, y), seed=0).learned
    return [learned["loss_before"], learned["loss_after"]]


def mirrored_learning():
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    halves = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, halves)
    with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
        return learn(), True


def data_parallel_learning():
    devices = keras.distribution.list_devices("cpu")
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices)
    )
    return learn(), True


if __name__ == "__main__":
    losses, placed = globals()[sys.argv[1].removesuffix(GATES)]()
    print(json.dumps({"losses": losses, "placed": placed}))
