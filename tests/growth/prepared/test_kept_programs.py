"""Programs on the disk: a resumed run compiles nothing that was compiled."""

import keras
import numpy as np
import pytest
from helpers.training import BACKEND

import kgrow
from kgrow.callbacks import Growth
from kgrow.schedules import GrowthSchedule, Stage

X = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
SCHEDULE = GrowthSchedule(
    [
        Stage(4, {"hidden_dim": 4, "num_layers": 1}),
        Stage(8, {"num_layers": 2}, "stack"),
    ]
)


def small():
    keras.utils.set_random_seed(0)
    model = kgrow.models.MLP(
        input_dim=3,
        output_dim=2,
        hidden_dim=4,
        intermediate_dim=8,
        num_layers=1,
    )
    model.compile("adam", "mse")
    return model


def run(model, folder, epochs):
    callbacks = [Growth(SCHEDULE, verbose=0, programs=folder)]
    model.fit(
        X,
        X[:, :2],
        batch_size=8,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )


@pytest.fixture
def kept():
    """What the other tests keep programs in comes back."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    folder = jax.config.jax_compilation_cache_dir
    yield
    jax.config.update("jax_compilation_cache_dir", folder)
    compilation_cache.reset_cache()


@pytest.mark.skipif(BACKEND != "jax", reason="JAX keeps programs")
def test_a_resumed_run_compiles_no_step_again(tmp_path, kept):
    import jax

    def steps():
        return {p.name for p in folder.iterdir() if "train_step" in p.name}

    folder, file = tmp_path / "programs", tmp_path / "half.weights.h5"
    model = small()
    run(model, folder, epochs=2)
    model.save_weights(file)
    assert steps()
    run(model, folder, epochs=9)
    assert model.growth_config["num_layers"] == 2
    wanted = steps()
    jax.clear_caches()
    resumed = small()
    resumed.load_weights(file)
    run(resumed, folder, epochs=9)
    assert steps() == wanted
    for one, other in zip(resumed.weights, model.weights, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.skipif(BACKEND == "jax", reason="JAX keeps programs")
def test_other_backends_say_so(tmp_path):
    with pytest.raises(kgrow.GrowthError, match="KERAS_BACKEND=jax"):
        Growth(SCHEDULE, programs=tmp_path)
