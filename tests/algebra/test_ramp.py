"""How gates open: monotone, from 0 to 1 to the bit, and in order."""

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kgrow import GrowthError
from kgrow.algebra.gate import Gate
from kgrow.algebra.ramp import Ramp

pytestmark = pytest.mark.once

SHAPES = ["linear", "cosine", "smoothstep", "quadratic", "sqrt"]


@keras.saving.register_keras_serializable("kgrow_tests")
def cubic(t):
    return t * t * t


@keras.saving.register_keras_serializable("kgrow_tests")
def falling(t):
    return 1.0 - t


def value(ramp, step):
    return float(ramp(ops.convert_to_tensor(step, "int32")))


@pytest.mark.parametrize("shape", [*SHAPES, cubic])
@settings(max_examples=12)
@given(steps=st.integers(1, 10_000), data=st.data())
def test_a_ramp_rises_from_zero_to_one(shape, steps, data):
    ramp = Ramp(steps, shape)
    step = data.draw(st.integers(0, steps - 1))
    assert value(ramp, 0) == 0.0
    assert 0.0 <= value(ramp, step) <= value(ramp, step + 1) <= 1.0
    assert value(ramp, steps) == value(ramp, steps + 7) == 1.0


def test_a_linear_ramp_is_linear():
    assert [value(Ramp(4), s) for s in range(5)] == [0, 0.25, 0.5, 0.75, 1]


@pytest.mark.parametrize("shape", [*SHAPES, cubic])
def test_a_ramp_is_data(shape):
    ramp = Ramp(7, shape)
    again = Ramp.get(ramp.get_config())
    assert again == ramp and value(again, 3) == value(ramp, 3)
    gate = Gate(ramp, {"ffn": (2, 4)}, {"layers": (1, 3)})
    assert Gate.from_config(gate.get_config()) == gate


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"steps": -1}, "at least 0. Received: steps=-1"),
        ({"steps": 2.5}, "Received: steps=2.5"),
        ({"steps": 3, "shape": "steep"}, "Received: shape='steep'"),
        ({"steps": 3, "shape": falling}, "rises from 0 at 0 to 1 at 1"),
    ],
)
def test_a_ramp_that_is_none_is_refused(arguments, words):
    with pytest.raises(GrowthError, match=words):
        Ramp(**arguments)
