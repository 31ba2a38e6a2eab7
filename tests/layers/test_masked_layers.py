"""Layers with gates: stock without one, a smaller layer behind a shut one."""

import functools

import keras
import numpy as np
import pytest
from helpers.toy import array, assert_close, assert_same
from keras import layers as stock
from keras import ops

from kgrow import layers as masked
from kgrow.algebra import tolerance
from kgrow.algebra.gate import Gate
from kgrow.algebra.ramp import Ramp
from kgrow.layers.float64 import exact_float64

pytestmark = pytest.mark.compiles

OLD, NEW, OTHER = 5, 8, 6
RNG = np.random.default_rng(0)


def fill(layer, seed=0):
    rng = np.random.default_rng(seed)
    for weight in layer.weights:
        weight.assign(rng.standard_normal(weight.shape))
    return layer


def vectors(features, seed=1):
    return np.random.default_rng(seed).standard_normal((2, 4, features))


# For each masked layer: the stock one, arguments at a size, inputs at a size,
# and which of the two sizes its outputs have.
CASES = {
    "dense": (
        masked.MaskedDense,
        stock.Dense,
        lambda n: dict(units=n, activation="gelu"),
        lambda n: vectors(OTHER),
    ),
    "dense, an activation that is not zero at zero": (
        masked.MaskedDense,
        stock.Dense,
        lambda n: dict(units=n, activation="exponential"),
        lambda n: vectors(OTHER),
    ),
    "einsum": (
        masked.MaskedEinsumDense,
        stock.EinsumDense,
        lambda n: dict(
            equation="btd,dhk->bthk", output_shape=(None, 3, n), bias_axes="hk"
        ),
        lambda n: vectors(OTHER),
    ),
    "embedding": (
        masked.MaskedEmbedding,
        stock.Embedding,
        lambda n: dict(input_dim=OTHER, output_dim=n),
        lambda n: np.arange(6).reshape(2, 3),
    ),
    "layer norm": (
        masked.MaskedLayerNormalization,
        stock.LayerNormalization,
        lambda n: dict(epsilon=1e-3),
        vectors,
    ),
    "layer norm without a shift": (
        masked.MaskedLayerNormalization,
        stock.LayerNormalization,
        lambda n: dict(center=False, scale=False),
        vectors,
    ),
    "RMS norm": (
        masked.MaskedRMSNormalization,
        stock.RMSNormalization,
        lambda n: dict(epsilon=1e-3),
        vectors,
    ),
}


@pytest.mark.grid
@pytest.mark.parametrize("case", CASES)
def test_without_a_gate_it_is_the_stock_layer(case):
    cls, base, arguments, inputs = CASES[case]
    one, other = cls(**arguments(NEW)), base(**arguments(NEW))
    x = ops.convert_to_tensor(inputs(NEW))
    one(x), other(x)
    fill(one), fill(other)
    assert [w.name for w in one.weights] == [w.name for w in other.weights]
    assert_same(array(one(x)), array(other(x)))
    assert isinstance(one, base)
    again = cls.from_config(one.get_config())
    assert again.get_config() == one.get_config()


@pytest.mark.grid
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_behind_a_shut_gate_stands_the_smaller_layer(float64, case, dtype):
    """Whatever the new weights, and the new inputs of a norm, are."""
    cls, base, arguments, inputs = CASES[case]
    large = cls(**arguments(NEW), dtype=dtype)
    small = base(**arguments(OLD), dtype=dtype)
    x = inputs(NEW)
    gate = ops.convert_to_tensor(np.arange(NEW) < OLD, dtype)
    less = x[..., :OLD] if inputs is vectors else x
    with exact_float64():
        large(ops.convert_to_tensor(x)), small(ops.convert_to_tensor(less))
        fill(large)
        for old, new in zip(small.weights, large.weights, strict=True):
            old.assign(array(new)[..., :OLD])
        outputs = array(large(ops.convert_to_tensor(x), gate=gate))
        expected = array(small(ops.convert_to_tensor(less)))
    assert_close(outputs[..., :OLD], expected, dtype)
    assert not outputs[..., OLD:].any()


@pytest.mark.parametrize("case", ["layer norm", "RMS norm"])
def test_an_open_gate_is_none(case):
    cls, base, arguments, inputs = CASES[case]
    layer = cls(**arguments(NEW))
    x = ops.convert_to_tensor(inputs(NEW))
    layer(x)
    fill(layer)
    opened = layer(x, gate=ops.ones((NEW,)))
    assert_close(array(opened), array(layer(x)), "float32")


def test_a_norm_counts_a_half_open_unit_by_half():
    x = ops.convert_to_tensor([[1.0, 4.0]])
    gate = ops.convert_to_tensor([1.0, 0.5])
    layer = masked.MaskedLayerNormalization(epsilon=0.0)
    mean = (1.0 + 0.5 * 4.0) / 1.5
    variance = ((1 - mean) ** 2 + 0.5 * (4 - mean) ** 2) / 1.5
    expected = np.array([[1 - mean, 0.5 * (4 - mean)]]) / np.sqrt(variance)
    assert_close(array(layer(x, gate=gate)), expected, "float32")


def test_a_gate_across_a_norm_is_refused():
    x = ops.ones((2, 3, 4))
    for options in ({"axis": 1}, {"rms_scaling": True}):
        layer = masked.MaskedLayerNormalization(**options)
        with pytest.raises(ValueError, match="A gate lies along the last"):
            layer(x, gate=ops.ones((4,)))


def test_a_half_precision_norm_takes_its_statistics_in_float32():
    layer = masked.MaskedLayerNormalization(dtype="mixed_bfloat16")
    x = ops.cast(1000.0 + vectors(NEW), "bfloat16")
    gate = ops.convert_to_tensor(np.arange(NEW) < OLD, "float32")
    outputs = layer(x, gate=gate)
    assert keras.backend.standardize_dtype(outputs.dtype) == "bfloat16"
    stock_layer = stock.LayerNormalization(dtype="mixed_bfloat16")
    expected = stock_layer(x[..., :OLD])
    difference = array(ops.cast(outputs[..., :OLD] - expected, "float32"))
    assert np.abs(difference).max() <= 4 * tolerance("bfloat16", 1)


def test_a_residual_goes_from_its_inputs_to_its_outputs():
    x, y = ops.convert_to_tensor([1.0, 2.0]), ops.convert_to_tensor([3.0, 8.0])
    layer = masked.MaskedResidual()
    for gate, expected in ((0.0, [1, 2]), (0.5, [2, 5]), (1.0, [3, 8])):
        merged = layer([x, y], gate=ops.convert_to_tensor(gate))
        assert array(merged).tolist() == expected
    assert layer([x, y]) is y


# --- attention ---------------------------------------------------------------


def attention(heads, value=3, key=4, dtype="float64"):
    return masked.HeadExtensibleAttention(
        num_heads=heads, key_dim=key, value_dim=value, dtype=dtype
    )


CALLS = {
    "self": lambda x, y: (x, x, {}),
    "causal": lambda x, y: (x, x, {"use_causal_mask": True}),
    "cross": lambda x, y: (x, y, {}),
    "padded": lambda x, y: (x, y, {"attention_mask": PADDING}),
    "both masks": lambda x, y: (
        x,
        x,
        {"attention_mask": PADDING[:, :, :4], "use_causal_mask": True},
    ),
    "value mask": lambda x, y: (x, y, {"value_mask": PADDING[:, 0]}),
}
PADDING = np.arange(7)[None, None] < np.array([4, 3])[:, None, None]


def attend(layer, call, **more):
    x = ops.convert_to_tensor(vectors(OTHER, 1), "float64")
    y = np.concatenate([vectors(OTHER, 2), vectors(OTHER, 3)], 1)[:, :7]
    query, value, options = CALLS[call](x, ops.convert_to_tensor(y, "float64"))
    options = {k: ops.convert_to_tensor(v) if k != "use_causal_mask" else v
               for k, v in options.items()}  # fmt: skip
    with exact_float64():
        # Scores select Keras' own softmax, which is taken in float64.
        return array(
            layer(
                query, value, return_attention_scores=True, **options, **more
            )[0]
        )


@pytest.mark.grid
@pytest.mark.parametrize("call", CALLS)
def test_attention_without_gates_is_the_stock_layer(float64, call):
    one = attention(2)
    other = stock.MultiHeadAttention(2, 4, 3, dtype="float64")
    attend(one, call), attend(other, call)
    fill(one), fill(other)
    assert [w.path.split("/")[1:] for w in one.weights] == [
        w.path.split("/")[1:] for w in other.weights
    ]
    assert_close(attend(one, call), attend(other, call))


@pytest.mark.grid
@pytest.mark.parametrize("call", CALLS)
def test_a_shut_head_is_not_there(float64, call):
    large, small = attention(5), attention(3)
    attend(large, call), attend(small, call)
    fill(large)
    for old, new in zip(small.weights, large.weights, strict=True):
        old.assign(array(new)[_corner(old.shape)])
    gates = {"heads": ops.convert_to_tensor(np.arange(5) < 3, "float64")}
    outputs = attend(large, call, gates=gates)
    assert_close(outputs, attend(small, call))


@pytest.mark.parametrize("call", ["causal", "padded"])
def test_a_head_grows_behind_gates(float64, call):
    """Sizes of queries and of values, each behind its own gate."""
    large, small = attention(2, value=5, key=7), attention(2)
    attend(large, call), attend(small, call)
    fill(large)
    for old, new in zip(small.weights, large.weights, strict=True):
        old.assign(array(new)[_corner(old.shape)])
    for name in ("kernel", "bias"):
        weight = getattr(large._query_dense, name)
        # Scores are divided by the root of the size.
        weight.assign(array(weight) * (7 / 4) ** 0.5)
    gates = {
        "qk": ops.convert_to_tensor(np.arange(7) < 4, "float64"),
        "value": ops.convert_to_tensor(np.arange(5) < 3, "float64"),
    }
    outputs = attend(large, call, gates=gates)
    assert_close(outputs, attend(small, call))


def _corner(shape):
    return tuple(slice(0, n) for n in shape)


@pytest.mark.grid
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("chunk", [1, 3])
def test_a_cache_gives_what_the_whole_sequence_gives(float64, gated, chunk):
    layer = attention(3, value=4)
    x = ops.convert_to_tensor(vectors(OTHER), "float64")[:, :3]
    gates = {"heads": ops.convert_to_tensor([1.0, 0.5, 0.0])} if gated else None
    with exact_float64():
        layer(x, x)
        fill(layer)
        whole, _ = layer(
            x,
            x,
            use_causal_mask=True,
            gates=gates,
            return_attention_scores=True,
        )
        cache = [ops.zeros((2, 5, 3, 4), "float64") for _ in range(2)]
        parts = []
        for start in range(0, 3, chunk):
            part = x[:, start : start + chunk]
            out, _, cache = layer(
                part,
                part,
                use_causal_mask=True,
                gates=gates,
                cache=cache,
                cache_index=start,
                return_attention_scores=True,
            )
            parts.append(array(out))
    assert_close(np.concatenate(parts, axis=1), array(whole))


def test_cross_attention_reads_its_cache(float64):
    layer = attention(3, value=4)
    x, y = (ops.convert_to_tensor(vectors(OTHER, s), "float64") for s in (1, 2))
    cache = [ops.zeros((2, 4, 3, 4), "float64") for _ in range(2)]
    first, cache = layer(x, y, cache=cache, cache_index=0)
    again, _ = layer(x, ops.zeros_like(y), cache=cache)
    assert_same(array(first), array(again))
    with pytest.raises(ValueError, match="needs `cache_index`"):
        layer(x, y, cache=cache, use_causal_mask=True)


# --- alone in a model of one's own -------------------------------------------


def functional():
    x = keras.Input((OTHER,))
    gates = masked.Gates(
        {"units": NEW}, [Gate(Ramp(4), {"units": (OLD, NEW)})], name="gates"
    )(x)
    y = masked.MaskedDense(NEW, name="inner")(x, gate=gates["units"])
    y = masked.MaskedLayerNormalization(name="norm")(y, gate=gates["units"])
    return keras.Model(x, stock.Dense(1, name="outer")(y))


def test_a_functional_model_trains_saves_and_loads(tmp_path):
    model = functional()
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((8, OTHER))
    fit = functools.partial(
        model.fit, x, x[:, :1], batch_size=4, verbose=0, shuffle=False
    )
    fit()
    path = tmp_path / "model.keras"
    model.save(path)
    loaded = keras.models.load_model(path)
    assert loaded.get_layer("gates").steps() == [2]
    assert_same(array(loaded(x)), array(model(x)))
    fit()
    fit()
    assert model.get_layer("gates").steps() == [6]


def test_a_gate_that_is_not_there_is_an_error():
    from kgrow import GrowthError

    with pytest.raises(GrowthError, match="no gate for this dimension"):
        masked.Gates({"ffn": 4}, [Gate(Ramp(2), {"hidden": (3, 4)})])
    with pytest.raises(GrowthError, match="ends beyond its size 4"):
        masked.Gates({"ffn": 4}, [Gate(Ramp(2), {"ffn": (3, 5)})])
    with pytest.raises(GrowthError, match="at least one that is there"):
        Gate(Ramp(2), {"ffn": (0, 4)})
