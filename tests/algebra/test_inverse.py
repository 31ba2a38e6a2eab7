"""The way back: what grew comes back, from the plan's own maps."""

import dataclasses

import numpy as np
import pytest
from helpers.toy import assert_close, selections, toy_spec, toy_values
from hypothesis import given, settings
from hypothesis import strategies as st

from kgrow import DepthExpansion, Expansion, GrowthError, Plan, strategies
from kgrow.algebra import GatherMap, MatrixMap, PlanTerm
from kgrow.algebra.left_inverse import InverseMap, left_inverse
from kgrow.backend.lazy_variables import without_values
from kgrow.models import registered

pytestmark = pytest.mark.once

SOURCE = toy_spec()
# They refuse for the reason that the test below states.
WITHOUT_WAY_BACK = {"ki"}
STRATEGIES = [
    name
    for name in strategies.names(aliases=False)
    if name not in WITHOUT_WAY_BACK
]


def moments_of(spec, seed):
    values = toy_values(spec, seed)
    return {path: np.abs(value) + 1 for path, value in values.items()}


def assert_comes_back(plan):
    """Weights and moments of every degree return to rounding."""
    back = plan.inverse()
    assert (back.source, back.target) == (plan.target, plan.source)
    values = toy_values(plan.source, seed=1)
    returned = back.apply(plan.apply(values))
    for path, value in values.items():
        assert_close(returned[path], value)
    moments = moments_of(plan.source, seed=2)
    for degree in (0, 1, 2):
        grown = plan.dual(degree).apply(moments)
        returned = back.dual(degree).apply(grown)
        for path, value in moments.items():
            assert_close(returned[path], value)


def planned(strategy, source, target, seed):
    """The plan, or `None` where the strategy refuses the growth."""
    try:
        return strategies.get(strategy).plan(source, target, seed)
    except GrowthError:
        return None


# --- maps --------------------------------------------------------------------


@given(selections())
def test_the_maps_of_an_expansion_that_preserves_invert_each_other(expansion):
    back = expansion.inverse()
    np.testing.assert_array_equal(
        back.produce.matrix(), expansion.consume.matrix().T
    )
    np.testing.assert_array_equal(
        back.consume.matrix(), expansion.produce.matrix().T
    )


@given(st.integers(1, 4), st.integers(0, 3), st.integers(0, 99), st.data())
def test_other_maps_are_inverted_by_least_squares(source, more, seed, data):
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((source + more, source))
    rows = np.r_[np.arange(source), rng.integers(0, source, more)]
    weights = rng.uniform(0.5, 2, source + more)
    gather = GatherMap(source, rows, weights)
    forward = data.draw(st.sampled_from([MatrixMap(matrix), gather]))
    partner = MatrixMap(np.ones((source + more, source)))
    found = left_inverse(forward, partner)
    expected = np.linalg.pinv(forward.matrix())
    assert_close(found.matrix(), expected, fan_in=1e4)


def test_entries_that_one_map_leaves_free_are_not_read_back():
    """What a network put there is its own, whatever the other map says."""
    consume = GatherMap(2, np.array([0, 1, -1]))
    produce = MatrixMap(np.array([[1.0, 0], [0, 1.0], [0.5, 0.5]]))
    back = left_inverse(consume, produce)
    assert back.matrix().tolist() == [[1, 0, 0], [0, 1, 0]]


def test_the_inverse_of_a_square_is_not_the_square_of_the_inverse():
    expansion = Expansion.tile(1, 2)
    back = expansion.inverse().produce
    assert isinstance(back, InverseMap)
    assert back.matrix().tolist() == [[0.5, 0.5]]
    assert back.power(2).matrix().tolist() == [[0.5, 0.5]]


def test_a_large_vocabulary_makes_no_matrix():
    back = Expansion.pad(50_000, 50_100).inverse()
    assert isinstance(back.produce, GatherMap)
    assert back.produce.indices.tolist() == list(range(50_000))


# --- blocks ------------------------------------------------------------------


@pytest.mark.parametrize(
    "blocks, exits, kept",
    [
        ([0, 1, 0, 1], None, [0, 1]),
        ([0, 0, 1, 1], [0, 1, 1, 0], [1, 2]),
        ([None, 0, None, 1], None, [1, 3]),
    ],
)
def test_the_first_copy_that_computes_is_kept(blocks, exits, kept):
    mixing = DepthExpansion.select(2, blocks, exits)
    assert mixing.inverse().rows.indices.tolist() == kept


def test_scaled_exits_are_scaled_back():
    mixing = DepthExpansion.select(2, [0, 1, 1], exits=[0.5, 1, 0])
    target = toy_spec(depth=3)
    plan = Plan(SOURCE, target, (PlanTerm({}, {"layers": mixing}),))
    values = toy_values(SOURCE)
    back = plan.inverse().apply(plan.apply(values))
    for path, value in values.items():
        assert_close(back[path], value)


# --- plans -------------------------------------------------------------------


@settings(max_examples=60)
@given(
    st.sampled_from(STRATEGIES),
    st.sampled_from(["vocab", "hidden", "heads", "qk", "ffn", "layers", "all"]),
    st.booleans(),
    st.integers(0, 9),
)
def test_every_growth_comes_back(strategy, grown, double, seed):
    def larger(size):
        return 2 * size if double else size + 1 + size // 4

    sizes, depth = dict(SOURCE.sizes), SOURCE.depths["layers"]
    for dim in sizes:
        if grown in (dim, "all"):
            sizes[dim] = larger(sizes[dim])
    depth = larger(depth) if grown in ("layers", "all") else depth
    plan = planned(strategy, SOURCE, toy_spec(sizes, depth), seed)
    if plan is not None:
        assert_comes_back(plan)


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("growth", ["exact", "gated"])
@pytest.mark.parametrize("family", registered())
@pytest.mark.sample
def test_every_family_comes_back(family, growth, strategy):
    plan = planned(strategy, *specs_of(family, growth), seed=3)
    if plan is not None:
        assert_comes_back(plan)


_specs = {}


def specs_of(family, growth):
    """The specs before and after, from networks without values."""
    if (family, growth) not in _specs:
        cls = registered()[family]
        with without_values():
            source = cls.small().architecture
        _, target = source.build(source.check(getattr(cls.example, growth)))
        _specs[family, growth] = source.spec, target
    return _specs[family, growth]


def test_the_way_back_returns_as_it_went():
    """A change of the grown weights along what the maps hold is a change of
    the small ones: copies in uneven shares move by their weighted mean."""
    target = toy_spec({"ffn": 8})
    plan = strategies.Net2Net().plan(SOURCE, target, seed=0)
    values, change = (toy_values(SOURCE, seed) for seed in (1, 2))
    grown, more = plan.apply(values), plan.apply(change)
    moved = {path: grown[path] + more[path] for path in grown}
    back = plan.inverse().apply(moved)
    for path, value in values.items():
        assert_close(back[path], value + change[path])


# --- refusals ----------------------------------------------------------------


def test_a_network_without_the_old_one_has_no_way_back():
    target = toy_spec({"hidden": 6})
    plan = strategies.get("ki").plan(SOURCE, target, seed=0)
    with pytest.raises(GrowthError, match="nothing of"):
        plan.inverse()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"joint": (None,)}, "joint map"),
        (
            {"terms": (PlanTerm({"ffn": Expansion.select(4, [0, 1, 2])}),)},
            r"lost: \[3\]",
        ),
        (
            {
                "terms": (
                    PlanTerm(
                        {"ffn": Expansion(*[MatrixMap(np.ones((5, 4)))] * 2)}
                    ),
                )
            },
            "lost: 3 of 4 directions",
        ),
        (
            {
                "terms": (
                    PlanTerm(
                        {},
                        {"layers": DepthExpansion.select(2, [0, 1], [1, 0])},
                    ),
                )
            },
            r"lost: \[1\]",
        ),
        (
            {
                "terms": (
                    PlanTerm(
                        {},
                        {
                            "layers": DepthExpansion(
                                MatrixMap(np.eye(2)), [1.0, 0.5]
                            )
                        },
                    ),
                )
            },
            "their exits scaled",
        ),
        (
            {
                "terms": (
                    PlanTerm(
                        {"ffn": (Expansion.identity(4),) * 2},
                        {"layers": DepthExpansion(MatrixMap(np.eye(2)))},
                    ),
                )
            },
            "in each block by itself",
        ),
    ],
)
def test_what_has_no_way_back_says_why(change, message):
    plan = dataclasses.replace(Plan(SOURCE, SOURCE, (PlanTerm(),)), **change)
    with pytest.raises(GrowthError, match=message):
        plan.inverse()
