"""Checkpoints of a model that lies on two devices; run by `test_orbax.py`.

The devices of a process are set before its backend starts, so this is a
program of its own. It prints `same` once all is as it was.
"""

import os
import tempfile

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"

import keras  # noqa: E402


def distribute():
    devices = keras.distribution.list_devices()
    mesh = keras.distribution.DeviceMesh((1, 2), ("batch", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout["network/.*/intermediate_dense/kernel"] = (None, "model")
    keras.distribution.set_distribution(
        keras.distribution.ModelParallel(
            layout_map=layout, batch_dim_name="batch"
        )
    )


def specs(model):
    return [tuple(v.value.sharding.spec) for v in model.weights]


def main():
    from file_helpers import assert_same_model, assert_trains_on_alike
    from fit_helpers import mlp, train, with_optimizer

    def make():
        return with_optimizer(mlp(), "Adam")

    target = {"hidden_dim": 6, "intermediate_dim": 8}
    with tempfile.TemporaryDirectory() as folder:
        model = make()
        train(
            model,
            {("epoch", 0): lambda model: model.grow(target, seed=1)},
            callbacks=[keras.callbacks.OrbaxCheckpoint(folder)],
        )
        small = make()
        small.load_weights(folder)
        loaded = keras.saving.load_model(folder)
        for each in (small, loaded):
            assert_same_model(each, model)
            assert specs(each) == specs(model)
        assert (None, "model") in specs(model)
        assert_trains_on_alike("family", model, small, loaded)
    print("same")


if __name__ == "__main__":
    distribute()
    main()
