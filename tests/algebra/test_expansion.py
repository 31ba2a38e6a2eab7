"""The algebra of maps, expansions and mixings, against their matrices."""

import numpy as np
import pytest
from helpers.toy import expansions, gathers, maps, mixings, selections
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kgrow import DepthExpansion, Expansion, GrowthError
from kgrow.algebra import GatherMap, MatrixMap, tolerance
from kgrow.algebra.expansion import Pair
from kgrow.algebra.linear_maps import UNWRITTEN

pytestmark = pytest.mark.once

PAIRS = ("scale", "offset", "tied_scale", "tied_offset")
PARTS = ("produce", "consume", *PAIRS)


def equal(one, other):
    """Whether two maps or expansions are the same, entry by entry."""
    if isinstance(one, Expansion):
        return all(equal(getattr(one, p), getattr(other, p)) for p in PARTS)
    if isinstance(one, Pair):
        return equal(one.value, other.value) and equal(
            one.gradient, other.gradient
        )
    return np.array_equal(one.matrix(), other.matrix())


@st.composite
def chains(draw, kind=maps, length=2, **options):
    """Maps that can follow one another, the last to act first."""
    sizes = [draw(st.integers(1, 4)) for _ in range(length + 1)]
    steps = [map(st.just, sizes[i : i + 2]) for i in range(length)]
    return [draw(kind(*step, **options)) for step in reversed(steps)]


@given(chains(unwritten=False) | chains(gathers))
def test_composition_is_the_product_of_matrices(chain):
    after, before = chain
    product = after.matrix() @ before.matrix()
    np.testing.assert_array_equal((after @ before).matrix(), product)


@given(chains(gathers))
def test_gathers_compose_into_gathers(chain):
    after, before = chain
    assert isinstance(after @ before, GatherMap)


@given(chains(gathers))
def test_a_row_is_written_where_what_it_reads_is(chain):
    after, before = chain
    written = ~np.isin(after.indices, [UNWRITTEN, *before.unwritten])
    expected = np.flatnonzero(~written)
    np.testing.assert_array_equal((after @ before).unwritten, expected)


@given(chains(expansions, unwritten=False))
def test_expansions_compose_part_by_part(chain):
    after, before = chain
    for part in PARTS:
        composed = getattr(after, part) @ getattr(before, part)
        assert equal(getattr(after @ before, part), composed)


@given(chains(expansions, length=3, unwritten=False))
def test_composition_is_associative(chain):
    a, b, c = chain
    assert equal((a @ b) @ c, a @ (b @ c))


@given(expansions())
def test_identity_is_neutral(e):
    assert equal(e @ Expansion.identity(e.source), e)
    assert equal(Expansion.identity(e.target) @ e, e)


@pytest.mark.parametrize("size", [1, 3])
def test_identity_is_recognised(size):
    assert Expansion.identity(size).is_identity
    assert Expansion.tile(size, 1).is_identity
    assert Expansion.pad(size, size).is_identity
    assert DepthExpansion.identity(size).is_identity


@given(expansions())
def test_dual_is_an_involution(e):
    assert equal(e.dual().dual(), e)


@given(chains(expansions, unwritten=False))
def test_dual_of_a_composition_is_the_composition_of_duals(chain):
    after, before = chain
    assert equal((after @ before).dual(), after.dual() @ before.dual())


@given(maps(), st.integers(1, 3))
def test_power_acts_on_each_entry(m, degree):
    np.testing.assert_array_equal(
        m.power(degree).matrix(), m.matrix() ** degree
    )


@given(expansions())
def test_squared_squares_every_part(e):
    for part in ("produce", "consume"):
        squared = getattr(e.squared(), part).matrix()
        np.testing.assert_array_equal(squared, getattr(e, part).matrix() ** 2)
    for part in PAIRS:
        pair, squared = getattr(e, part), getattr(e.squared(), part)
        for side in ("value", "gradient"):
            expected = getattr(pair, side).matrix() ** 2
            np.testing.assert_array_equal(
                getattr(squared, side).matrix(), expected
            )


@given(maps())
def test_power_zero_averages_what_is_read(m):
    sums = m.power(0).matrix().sum(axis=1)
    reads = m.matrix().any(axis=1)
    assert np.abs(sums - reads).max() <= tolerance("float64", m.source)


def test_power_zero_of_a_row_that_reads_nothing():
    padded = MatrixMap(np.eye(3, 2))
    np.testing.assert_array_equal(padded.power(0).matrix(), np.eye(3, 2))


@given(expansions() | selections())
def test_preserves_agrees_with_the_product_of_matrices(e):
    product = e.produce.matrix().T @ e.consume.matrix()
    distance = np.abs(product - np.eye(e.source)).max()
    rounding = tolerance("float64", e.target)
    assert e.preserves(rounding) == (distance <= rounding)


@given(selections())
def test_shares_preserve(e):
    assert e.preserves() and e.dual().preserves()


@given(selections(), st.data())
def test_preserving_expansions_compose_into_one(before, data):
    after = data.draw(selections(st.just(before.target)))
    assert (after @ before).preserves()


@given(st.integers(1, 4), st.integers(1, 4))
def test_tiles_and_pads_preserve(source, times):
    assert Expansion.tile(source, times).preserves()
    assert Expansion.pad(source, source + times).preserves()


def test_unequal_shares_do_not_preserve():
    assert not Expansion.select(2, [0, 1, 0], [0.5, 1.0, 0.6]).preserves()
    assert not Expansion.select(2, [0, 0, 0]).preserves()


@given(gathers())
def test_counts_are_column_sums_of_the_pattern(m):
    pattern = m.power(0).matrix()
    np.testing.assert_array_equal(m.counts, pattern.sum(axis=0))


@given(gathers())
def test_first_only_writes_each_entry_once(m):
    first = m.first_only()
    assert first.counts.max() <= 1
    np.testing.assert_array_equal(first.counts > 0, m.counts > 0)
    for row in np.flatnonzero(first.indices != UNWRITTEN):
        assert row == np.flatnonzero(m.indices == m.indices[row])[0]
        np.testing.assert_array_equal(first.matrix()[row], m.matrix()[row])


@given(selections())
def test_first_only_of_an_expansion_is_a_padding(e):
    first = e.first_only()
    assert (first.produce.power(0).matrix().sum(axis=0) == 1).all()
    assert (first.produce.unwritten == first.consume.unwritten).all()


@given(selections())
def test_a_gain_is_copied_where_values_are(e):
    assert equal(e.scale, Pair(e.produce.power(0), e.consume))
    assert equal(e.offset, Pair(e.produce, e.consume))
    for pair in (e.tied_scale, e.tied_offset):
        assert equal(pair, Pair(e.consume, e.produce))


@pytest.mark.each
@settings(max_examples=8)
@given(chains(unwritten=False))
def test_maps_of_tensors_are_those_of_arrays(chain):
    after, before = chain
    tensor = MatrixMap(ops.convert_to_tensor(after.matrix(), "float32"))
    assert equal(tensor @ before, after @ before)
    assert equal(tensor.power(2), after.power(2))
    tensor = MatrixMap(ops.convert_to_tensor(before.matrix(), "float32"))
    assert equal(after @ tensor, after @ before)
    assert equal(Expansion(tensor, tensor).squared().produce, before.power(2))


@st.composite
def mixing_chains(draw, length=2):
    sizes = [draw(st.integers(1, 3)) for _ in range(length + 1)]
    return [
        draw(mixings(sizes[i + 1], sizes[i], unwritten=True))
        for i in range(length)
    ]


def table(mixing):
    """A mixing as two matrices: inner weights, and those of the exits."""
    rows = mixing.rows.matrix()
    return np.stack([rows, rows * mixing.exits[:, None]])


@given(mixing_chains())
def test_mixings_compose_like_matrices(chain):
    after, before = chain
    product = table(after) @ table(before)
    np.testing.assert_array_equal(table(after @ before), product)


@given(mixing_chains(length=3))
def test_composition_of_mixings_is_associative(chain):
    a, b, c = chain
    left, right = table((a @ b) @ c), table(a @ (b @ c))
    np.testing.assert_array_equal(left, right)


@given(st.integers(1, 3), st.integers(1, 5), st.data())
def test_reads_are_the_rows_of_the_matrix(source, target, data):
    mixing = data.draw(mixings(source, target, linear=True))
    for block in range(target):
        row = np.zeros(source)
        for old, weight in mixing.reads(block):
            row[old] += weight
        np.testing.assert_array_equal(row, mixing.rows.matrix()[block])


def test_keeping_blocks_takes_order_and_silence():
    assert DepthExpansion.select(
        2, [0, None, 1], exits=[1, 0, 1]
    ).keeps_blocks()
    assert not DepthExpansion.select(2, [0, None, 1]).keeps_blocks()
    assert not DepthExpansion.select(2, [1, 0]).keeps_blocks()
    assert not DepthExpansion.select(2, [0, 1], exits=[1, 0.5]).keeps_blocks()
    assert not DepthExpansion(MatrixMap(np.eye(2))).keeps_blocks()


def test_a_silent_block_has_no_gradient_history():
    mixing = DepthExpansion.select(2, [0, 0, 1], exits=[1, 0, 1])
    assert mixing.dual().rows.indices.tolist() == [0, UNWRITTEN, 1]


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (lambda: GatherMap(2, [0, 2]), r"in \[-1, 2\).*Received: \[0, 2\]"),
        (lambda: GatherMap(2, [-2]), "Received"),
        (lambda: GatherMap(2, [[0, 1]]), "flat list"),
        (
            lambda: GatherMap(2, [0, 1], [1.0]),
            r"2 rows, weights of shape \(1,\)",
        ),
        (lambda: GatherMap(2, [0]) @ GatherMap(2, [0]), "map to 1 entries"),
        (
            lambda: MatrixMap(np.eye(2)) @ MatrixMap(np.eye(3)),
            "map to 3 entries",
        ),
        (lambda: GatherMap(2, [0]) @ MatrixMap(np.eye(3)), "map to 3 entries"),
        (
            lambda: GatherMap(2, [0, -1]) @ MatrixMap(np.eye(2)),
            "one after the other",
        ),
        (
            lambda: Expansion(GatherMap(2, [0, 1]), GatherMap(2, [0])),
            "produce 2 -> 2, consume 2 -> 1",
        ),
        (lambda: DepthExpansion.select(2, [0, 2]), "Received"),
        (
            lambda: DepthExpansion.select(2, [0, 1], exits=[1]),
            "2 blocks, exits",
        ),
        (
            lambda: (
                DepthExpansion(MatrixMap(np.eye(2)))
                @ DepthExpansion.select(2, [0, 1], exits=[1, 0])
            ),
            "one after the other",
        ),
    ],
)
def test_maps_that_cannot_be_are_refused(wrong, reason):
    with pytest.raises(GrowthError, match=reason):
        wrong()
