"""Attention on TPUs: Keras' flash attention is not used, being wrong there."""

import functools
import types

import keras
import numpy as np
import pytest
from keras import ops

from kgrow.algebra.errors import GrowthError
from kgrow.algebra.rounding import tolerance
from kgrow.layers import HeadExtensibleAttention, RotaryAttention

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras' kernel is one of JAX"
)

LENGTH, SIZE = 128, 16


@pytest.fixture
def on_tpu(monkeypatch):
    """JAX says that its devices are TPUs; the kernel runs interpreted.

    Gives the list of the kernel's calls.
    """
    import jax
    from keras.src.backend.jax import nn

    made, kernel = nn.wrap_flash_attention, nn.splash_attention_kernel
    calls = []

    def noted(*args, **kwargs):
        calls.append(args)
        return made(*args, **kwargs)

    monkeypatch.setattr(nn, "wrap_flash_attention", noted)
    monkeypatch.setattr(
        kernel,
        "make_splash_mha",
        functools.partial(kernel.make_splash_mha, interpret=True),
    )
    tpu = types.SimpleNamespace(platform="tpu")
    monkeypatch.setattr(jax, "devices", lambda *args: [tpu])
    return calls


def values(seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(1, LENGTH, 2, SIZE)).astype("float32")


def attention(query, key, value, scale, seen):
    """Written out."""
    scores = np.einsum("btnh,bsnh->bnts", query, key) * scale
    scores = np.where(seen, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    return np.einsum("bnts,bsnh->btnh", weights, value)


def test_keras_computes_something_else_there(on_tpu):
    """When this fails, Keras has mended it: let layers use the kernel."""
    arrays = [values(seed) for seed in range(3)]
    found = ops.dot_product_attention(*arrays, scale=SIZE**-0.5)
    assert on_tpu
    everything = np.ones((LENGTH, LENGTH), bool)
    right = attention(*arrays, SIZE**-0.5, everything)
    # Causal, which nobody asked for, and without the scale.
    wrong = attention(*arrays, 1.0, np.tril(everything))
    rounding = tolerance("float32", LENGTH, 2)
    assert np.abs(found - wrong).max() <= rounding
    assert np.abs(found - right).max() > 1


@pytest.mark.parametrize("causal", [False, True])
def test_layers_do_without_it(on_tpu, monkeypatch, causal):
    layer = HeadExtensibleAttention(num_heads=2, key_dim=SIZE)
    x = values(0).reshape(1, LENGTH, -1)
    found = layer(x, x, use_causal_mask=causal)
    assert not on_tpu
    monkeypatch.undo()
    expected = layer(x, x, use_causal_mask=causal)
    assert np.abs(found - expected).max() <= tolerance("float32", LENGTH, 2)


def test_rotary_attention_does_without_it(on_tpu):
    layer = RotaryAttention(
        num_query_heads=2, num_key_value_heads=1, head_dim=SIZE
    )
    layer(values(0).reshape(1, LENGTH, -1))
    assert not on_tpu


def test_asking_for_it_is_an_error(on_tpu):
    with pytest.raises(GrowthError, match="flash_attention=True"):
        HeadExtensibleAttention(num_heads=2, key_dim=SIZE, flash_attention=True)


def test_elsewhere_the_user_decides():
    layer = HeadExtensibleAttention(
        num_heads=2, key_dim=SIZE, flash_attention=True
    )
    assert layer._flash_attention
