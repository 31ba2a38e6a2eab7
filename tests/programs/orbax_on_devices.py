"""Checkpoints of a model that lies on eight devices; run by `test_orbax.py`.

The devices of a process are set before its backend starts, so this is a
program of its own. Its argument is a folder, in which the checkpoint stays. It
prints `same`, and a hash of the model, once all is as it was on the same mesh
and on others.
"""

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import keras  # noqa: E402

SPLIT = {
    "network/.*/intermediate_dense/kernel": ("batch", "model"),
    "network/.*/output_dense/kernel": ("model", None),
}


def model_parallel(*shape):
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh(shape, ("batch", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    for path, axes in SPLIT.items():
        layout[path] = axes
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch"
    )


def data_parallel():
    return keras.distribution.DataParallel(
        devices=keras.distribution.list_devices()
    )


def layouts(model):
    """The axes of the mesh that each weight and slot is cut along, and in how
    many pieces of which shape."""
    return [
        (
            tuple(getattr(v.value.sharding, "spec", ())),
            len(v.value.sharding.device_set),
            v.value.sharding.shard_shape(v.value.shape),
        )
        for v in (*model.weights, *model.optimizer.variables)
    ]


def main(folder):
    from helpers.saved_models import (
        assert_same_model,
        assert_trains_on_alike,
        digest,
    )
    from helpers.training import mlp, train, with_optimizer

    def make(**sizes):
        return with_optimizer(mlp(**sizes), "Adam")

    small = {"hidden_dim": 8, "intermediate_dim": 8}
    large = {"hidden_dim": 16, "intermediate_dim": 16, "num_layers": 3}
    keras.distribution.set_distribution(model_parallel(2, 4))
    model = make(**small)
    train(
        model,
        {("epoch", 0): lambda model: model.grow(large, seed=1)},
        callbacks=[keras.callbacks.OrbaxCheckpoint(folder)],
    )
    pieces = layouts(model)
    assert any(len(set(spec) - {None}) == 2 for spec, _, _ in pieces)
    others = (
        model_parallel(2, 4),
        model_parallel(4, 2),
        model_parallel(8, 1),
        data_parallel(),
        None,
    )
    for distribution in others:
        keras.distribution.set_distribution(distribution)
        # What a model that was made there, and never saved, has.
        wanted = make(**{**small, **large})
        wanted.optimizer.build(wanted.trainable_variables)
        again = make(**small)
        again.load_weights(folder)
        loaded = keras.saving.load_model(folder)
        assert layouts(again) == layouts(wanted), distribution
        for each in (again, loaded):
            assert_same_model(each, model)
        if distribution is others[0]:
            assert layouts(again) == layouts(loaded) == pieces
            assert_trains_on_alike("family", model, again, loaded)
            model.load_weights(folder)
        else:
            assert layouts(again) != pieces
    print("same", digest(model))


if __name__ == "__main__":
    main(sys.argv[1])
