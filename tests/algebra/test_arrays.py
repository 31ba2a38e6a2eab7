"""What comes from the host by pieces is what comes from it whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgrow.algebra import Expansion, NewEntryInit, Plan, PlanTerm
from kgrow.algebra.arrays import WholeArrays
from kgrow.algebra.axis_map import AxisMap

AXES = AxisMap(
    {
        "in": "_ -> (2 heads size)",
        "out": "(heads size) -> width",
        "gain": "-> width | scale",
    }
)


class Cut(WholeArrays):
    """Arrays of numpy that are made in pieces, cut along all axes.

    Args:
        cuts: tuple of ints, how many pieces an axis has, where it divides.
    """

    def __init__(self, cuts):
        self.cuts = cuts

    def _pieces(self, shape):
        counts = [
            c if size % c == 0 else 1
            for size, c in zip(shape, self.cuts, strict=False)
        ]
        for number in np.ndindex(*counts):
            yield tuple(
                slice(i * size // c, (i + 1) * size // c)
                for i, size, c in zip(number, shape, counts, strict=True)
            )

    def made(self, shape, dtype, make):
        out = np.full(shape, np.nan)
        for index in self._pieces(shape):
            out[index] = make(index)
        assert not np.isnan(out).any()
        return out.astype(dtype)

    def written(self, value, write):
        for index in self._pieces(value.shape):
            piece = np.zeros(value[index].shape, value.dtype)
            write(index, piece)
            value[index] += piece
        return value


def spec(heads, size, width, initializer=None):
    shapes = {
        "in": (3, 2 * heads * size),
        "out": (heads * size, width),
        "gain": (width,),
    }
    sizes = {"heads": heads, "size": size, "width": width}
    initializers = dict.fromkeys(shapes, initializer)
    return AXES.spec(list(shapes.items()), sizes, initializers)


@pytest.fixture(scope="module")
def uniform():
    import keras

    return keras.initializers.RandomUniform(-1.0, 1.0, seed=0)


def plan_and_values(uniform, seed, noise):
    source = spec(2, 2, 4)
    target = spec(4, 3, 8, uniform)
    copies = Expansion.select(4, [0, 1, 2, 3, 0, 1, 2, 3])
    term = PlanTerm(
        {
            "heads": Expansion.pad(2, 4),
            "size": Expansion.pad(2, 3),
            "width": copies if noise else Expansion.pad(4, 8),
        }
    )
    new = {
        "heads": NewEntryInit("initializer", "initializer"),
        "width": NewEntryInit("initializer", "zeros"),
    }
    plan = Plan(
        source,
        target,
        (term,),
        new,
        noise={"heads": noise, "width": noise} if noise else {},
        seed=seed,
    )
    rng = np.random.default_rng(seed)
    values = {
        path: rng.standard_normal(v.shape).astype("float32")
        for path, v in source.variables.items()
    }
    return plan, values


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 99),
    st.tuples(st.sampled_from([1, 2, 3, 4]), st.sampled_from([1, 2, 4])),
)
def test_a_plan_in_pieces_is_the_plan(uniform, seed, cuts):
    plan, values = plan_and_values(uniform, seed, noise=0.0)
    for path in plan.target.variables:
        whole = plan.grow(path, values)
        assert np.array_equal(plan.grow(path, values, arrays=Cut(cuts)), whole)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.sampled_from([1, 2, 4]))
def test_what_is_filled_in_pieces_is_what_is_filled(uniform, seed, cut):
    plan, values = plan_and_values(uniform, seed, noise=0.0)
    for path, variable in plan.target.variables.items():
        fill = np.arange(np.prod(variable.shape), dtype="float32")
        fill = fill.reshape(variable.shape)
        for start in (0.5, fill):
            whole = plan.grow(path, values, start)
            pieces = plan.grow(path, values, start, Cut((cut, cut)))
            assert np.array_equal(pieces, whole)


def test_noise_in_pieces_is_noise(uniform):
    plan, values = plan_and_values(uniform, 1, noise=0.5)
    quiet, _ = plan_and_values(uniform, 1, noise=0.0)
    for path in plan.target.variables:
        whole = plan.grow(path, values)
        pieces = plan.grow(path, values, arrays=Cut((2, 2)))
        assert np.array_equal(pieces, whole)
    assert not np.array_equal(
        plan.grow("out", values)[:4], quiet.grow("out", values)[:4]
    )


def test_entries_that_no_term_writes_get_no_noise(uniform):
    """They are what is new, on a tensor as on an array."""
    import keras

    plan, values = plan_and_values(uniform, 1, noise=0.5)
    tensors = {p: keras.ops.convert_to_tensor(v) for p, v in values.items()}
    for path in plan.target.variables:
        made = keras.ops.convert_to_numpy(plan.grow(path, tensors))
        assert np.array_equal(made, plan.grow(path, values))
