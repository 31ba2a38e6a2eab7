"""One map per axis: what `contract` computes is one big einsum."""

import keras
import ml_dtypes
import numpy as np
import pytest
from helpers.toy import gathers, maps
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kgrow import Expansion
from kgrow.algebra import GatherMap
from kgrow.algebra.contraction import contract

pytestmark = pytest.mark.once

LETTERS = "abcd", "ABCD"
RANKS = st.integers(1, 4)


@st.composite
def problems(draw, kind=maps):
    """An array of small integers, and a map or `None` for each axis."""
    shape = [draw(st.integers(1, 3)) for _ in range(draw(RANKS))]
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    value = rng.integers(-4, 5, shape).astype("float32")
    return value, [
        draw(st.none() | kind(st.just(n), st.integers(1, 4))) for n in shape
    ]


def einsum(value, given_maps):
    """The same contraction, with every map written out as a matrix."""
    rank = value.ndim
    matrices = [
        np.eye(n) if m is None else m.matrix()
        for n, m in zip(value.shape, given_maps, strict=True)
    ]
    old, new = LETTERS[0][:rank], LETTERS[1][:rank]
    pairs = [f"{n}{o}" for o, n in zip(old, new, strict=True)]
    return np.einsum(f"{old},{','.join(pairs)}->{new}", value, *matrices)


@given(problems())
def test_arrays_contract_as_einsum_does(problem):
    grown = contract(*problem)
    assert isinstance(grown, np.ndarray) and grown.dtype == "float32"
    np.testing.assert_array_equal(grown, einsum(*problem))


@pytest.mark.each
@settings(max_examples=10)
@given(problems())
def test_tensors_contract_as_arrays_do(problem):
    value, given_maps = problem
    grown = contract(ops.convert_to_tensor(value), given_maps)
    assert keras.ops.is_tensor(grown)
    assert keras.backend.standardize_dtype(grown.dtype) == "float32"
    expected = contract(value, given_maps)
    np.testing.assert_array_equal(ops.convert_to_numpy(grown), expected)


@given(problems())
def test_what_goes_in_stays_as_it_was(problem):
    value, given_maps = problem
    before = value.copy()
    grown = contract(value, given_maps)
    assert not np.shares_memory(grown, value)
    grown += 1
    np.testing.assert_array_equal(value, before)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_a_contraction_of_nothing_is_a_copy(shape):
    value = np.ones(shape, "float32")
    for m in (
        (None, GatherMap(shape[-1], range(shape[-1]))) if shape else (None,)
    ):
        grown = contract(value, [None] * (value.ndim - 1) + [m] * bool(shape))
        assert not np.shares_memory(grown, value)
        np.testing.assert_array_equal(grown, value)


@pytest.mark.parametrize("make", [np.asfortranarray, lambda v: v[::-1, ::2]])
def test_any_layout_in_memory_is_read(make):
    value = make(np.arange(24, dtype="float32").reshape(4, 6))
    given_maps = [Expansion.tile(n, 2).consume for n in value.shape]
    expected = einsum(value, given_maps)
    np.testing.assert_array_equal(contract(value, given_maps), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_large_arrays_are_gathered_in_pieces(axis):
    """More bytes than one piece holds, and not a whole number of pieces."""
    value = np.arange(601 * 499, dtype="float32").reshape(601, 499)
    n = value.shape[axis]
    indices = np.random.default_rng(0).integers(-1, n, 2 * n + 1)
    m = GatherMap(n, indices, np.full(2 * n + 1, 0.5))
    given_maps = [None, None]
    given_maps[axis] = m
    expected = np.take(value, np.maximum(indices, 0), axis) / 2
    expected[(slice(None),) * axis + (indices < 0,)] = 0
    np.testing.assert_array_equal(contract(value, given_maps), expected)


@given(problems(gathers), st.sampled_from(["float16", "bfloat16", "float64"]))
def test_the_dtype_stays(problem, dtype):
    value, given_maps = problem
    dtype = np.dtype(dtype if dtype != "bfloat16" else ml_dtypes.bfloat16)
    grown = contract(value.astype(dtype), given_maps)
    assert grown.dtype == dtype
    np.testing.assert_array_equal(
        grown, einsum(value, given_maps).astype(dtype)
    )
