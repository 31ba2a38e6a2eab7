"""Rotary pairs and ALiBi heads go where the larger network has the same."""

import dataclasses

import numpy as np
import pytest
from helpers.toy import make_model, relative_difference, values_of

from kgrow import AxisMap, BlockStack, Dim, GrowthError, strategies
from kgrow.algebra import tolerance

pytestmark = pytest.mark.once

HEADS, PAIRS, LENGTH, WIDTH = 4, 3, 6, 10
AXES = AxisMap(
    {
        "block_{s}/query": "_ -> heads (2 pairs) | pairs^0.5",
        "block_{s}/key": "_ -> heads ~(2 pairs)",
        "block_{s}/value": "_ -> heads _",
        "block_{s}/out": "heads _ -> _ | residual_out",
    },
    dims=[Dim("heads", kind="alibi"), Dim("pairs", kind="rotary")],
    stacks=[BlockStack("s", norm="pre")],
)
# They leave such a growth to another strategy, and say so.
ASKING = ("gradmax", "ligo")

COPYING = [
    name
    for name in strategies.names(aliases=False)
    if name not in ("ki", "mango", *ASKING)
]


def spec_of(heads, pairs):
    head = (WIDTH, heads, 2 * pairs)
    return AXES.spec(
        [
            ("block_0/query", head),
            ("block_0/key", head),
            ("block_0/value", (WIDTH, heads, 5)),
            ("block_0/out", (heads, 5, WIDTH)),
        ],
        {},
        {f"block_0/{n}": "normal" for n in ("query", "key", "value", "out")},
    )


def attention(values, heads, pairs, slopes):
    x = np.random.default_rng(0).standard_normal((LENGTH, WIDTH))
    positions = np.arange(LENGTH)

    def turned(kernel):
        y = np.einsum("lw,whd->lhd", x, values[f"block_0/{kernel}"])
        first, second = y[..., :pairs], y[..., pairs:]
        angle = positions[:, None] * 100.0 ** (-np.arange(pairs) / pairs)
        cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
        parts = first * cos - second * sin, second * cos + first * sin
        return np.concatenate(parts, axis=-1)

    q, k = turned("query"), turned("key")
    scores = np.einsum("lhd,mhd->hlm", q, k) / np.sqrt(2 * pairs)
    if slopes:
        slope = 2.0 ** (-8 * np.arange(1, heads + 1) / heads)
        distance = np.abs(positions[:, None] - positions)
        scores = scores - slope[:, None, None] * distance
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    v = np.einsum("lw,whd->lhd", x, values["block_0/value"])
    mixed = np.einsum("hlm,mhd->lhd", weights, v)
    return np.einsum("lhd,hdw->lw", mixed, values["block_0/out"])


@pytest.mark.parametrize("name", COPYING)
@pytest.mark.parametrize("heads, pairs", [(4, 9), (8, 3), (16, 6)])
def test_placed_dimensions_grow_exactly_under_every_strategy(
    name, heads, pairs
):
    source, target = spec_of(HEADS, PAIRS), spec_of(heads, pairs)
    strategy = strategies.get(name)
    plan = strategy.plan(source, target, seed=1)
    rng = np.random.default_rng(2)
    values = {
        path: rng.standard_normal(v.shape)
        for path, v in source.variables.items()
    }
    grown = plan.apply(values)
    before = attention(values, HEADS, PAIRS, slopes=True)
    after = attention(grown, heads, pairs, slopes=True)
    rounding = tolerance("float64", WIDTH, 2)
    assert relative_difference(after, before) <= rounding
    assert all(claim.exact for claim in strategy.claims(plan))


@pytest.mark.parametrize("name", ASKING)
def test_a_strategy_that_would_do_nothing_names_another(name):
    source, target = spec_of(HEADS, PAIRS), spec_of(8, 9)
    with pytest.raises(GrowthError, match="Use 'net2net'"):
        strategies.get(name).plan(source, target)


def test_other_places_are_other_functions():
    """What copying pairs and heads in order would do."""
    source, target = spec_of(HEADS, PAIRS), spec_of(8, 6)
    dims = [Dim("heads"), Dim("pairs", kind="stream")]
    free = AxisMap(
        AXES.get_config()["rules"], dims, [BlockStack("s", norm="pre")]
    )

    def freed(spec):
        return dataclasses.replace(spec, dims=free.dims)

    plan = strategies.get("hypercloning").plan(freed(source), freed(target))
    rng = np.random.default_rng(2)
    values = {
        path: rng.standard_normal(v.shape)
        for path, v in source.variables.items()
    }
    before = attention(values, HEADS, PAIRS, slopes=True)
    after = attention(plan.apply(values), 8, 6, slopes=True)
    assert relative_difference(after, before) > 0.01


@pytest.mark.parametrize(
    "heads, pairs, message",
    [(4, 4, "another multiple"), (12, 3, "geometric series")],
)
def test_places_that_are_not_there(heads, pairs, message):
    with pytest.raises(GrowthError, match=message):
        strategies.get("lemon").plan(
            spec_of(HEADS, PAIRS), spec_of(heads, pairs)
        )


# --- positions, by a rule of their own ----------------------------------------


@pytest.mark.parametrize("rest", ["net2net", "lemon", "msg"])
@pytest.mark.parametrize("new", ["copy", "interpolate", "fresh"])
def test_a_table_of_positions_grows_by_a_rule(new, rest):
    model = make_model("GPT2")
    before = values_of(model)["position_embedding/embeddings"]
    receipt = model.grow(
        {"max_sequence_length": 9, "num_layers": 3},
        strategies.Positions(new, rest),
        seed=0,
    )
    after = values_of(model)["position_embedding/embeddings"]
    assert receipt.exact == (new != "interpolate")
    if new == "copy":
        np.testing.assert_array_equal(after, before[np.arange(9) % 5])
    elif new == "interpolate":
        # From five places to nine: every other one is a mean.
        np.testing.assert_allclose(after[::2], before, rtol=1e-6)
        means = (before[1:] + before[:-1]) / 2
        np.testing.assert_allclose(after[1::2], means, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(after[:5], before)
        assert not np.isin(after[5:], before).any()


def test_positions_have_to_be_there():
    model = make_model("MLP")
    with pytest.raises(GrowthError, match="no such dimension. Received: dim="):
        model.grow({"hidden_dim": 11}, strategies.Positions())
    with pytest.raises(GrowthError, match="Received: init='stretch'"):
        strategies.Positions("stretch")
