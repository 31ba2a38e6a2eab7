"""Keras' NNX mode, in which layers are those of Flax, is refused."""

import keras
import pytest

from kgrow import GrowthError, backend

pytestmark = pytest.mark.once


@pytest.mark.parametrize("enabled", [False, True])
def test_nnx_is_refused_where_the_backend_is_loaded(monkeypatch, enabled):
    # Every part of kgrow that needs Keras loads the backend first.
    pytest.importorskip("jax")
    monkeypatch.setattr(keras.config, "is_nnx_enabled", lambda: enabled)
    if not enabled:
        assert backend.load("jax").compiles
        return
    with pytest.raises(GrowthError) as caught:
        backend.load("jax")
    said = str(caught.value)
    assert "KERAS_NNX_ENABLED" in said
    assert "Received: keras.config.is_nnx_enabled()=True" in said
