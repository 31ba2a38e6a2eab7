"""In mixed precision too, the small model is gone when the large one trains."""

import gc
import weakref

import keras
import numpy as np
import pytest

import kgrow
from kgrow import backend

pytestmark = pytest.mark.skipif(
    keras.backend.backend() == "tensorflow",
    reason="TensorFlow counts its own references, behind Python's",
)


class GrowAndLook(keras.callbacks.Callback):
    """Grows the model, and looks at the old values before the next batch."""

    def __init__(self, strategy):
        super().__init__()
        self.strategy = strategy
        self.old, self.kept = [], None

    def on_epoch_end(self, epoch, logs=None):
        if epoch:
            return
        backend.sync(self.model)
        network, optimizer = self.model.network, self.model.optimizer
        slots = sum(
            [
                list(getattr(optimizer, n))
                for n in ("_momentums", "_velocities")
            ],
            [],
        )
        self.old = [
            weakref.ref(backend.storage(v)) for v in [*network.weights, *slots]
        ]
        del network, slots
        self.model.grow({"hidden_dim": 16}, self.strategy, seed=0)

    def on_train_batch_begin(self, batch, logs=None):
        if self.old and self.kept is None:
            values = [ref() for ref in self.old]
            self.kept = [
                v for v in values if v is not None and not _is_freed(v)
            ]


def _is_freed(value):
    if keras.backend.backend() == "torch":
        import torch

        # Used as a tensor, one of a network that was replaced raises.
        with torch._C.DisableTorchFunctionSubclass():
            grad = torch.Tensor.grad.__get__(value)
            return value.numel() == 0 and grad is None
    return value.is_deleted()


@pytest.fixture
def without_collector():
    """Nothing is freed but what is given back."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_old_weights_and_slots_are_freed_before_the_next_batch(
    policy, without_collector
):
    keras.utils.set_random_seed(0)
    model = kgrow.models.MLP(
        input_dim=4,
        output_dim=1,
        hidden_dim=8,
        intermediate_dim=8,
        num_layers=1,
        dtype=policy,
    )
    model.compile("adam", "mse")
    x = np.random.default_rng(0).standard_normal((16, 4)).astype("float32")
    look = GrowAndLook("net2net")
    history = model.fit(
        x,
        x[:, :1],
        batch_size=8,
        epochs=3,
        verbose=0,
        callbacks=[look],
    )
    assert len(look.old) > 3
    assert look.kept == []
    assert np.isfinite(history.history["loss"]).all()
    assert {v.dtype for v in model.network.weights} == {"float32"}
    assert model.network.compute_dtype == policy.removeprefix("mixed_")
