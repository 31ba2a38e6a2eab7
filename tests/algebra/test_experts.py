"""Experts behind a router: one dimension, which a softmax normalizes."""

import numpy as np
import pytest

from kgrow import GrowthError, strategies
from kgrow.algebra.axis_map import AxisMap
from kgrow.algebra.initializers import Normal
from kgrow.algebra.spec import Dim

pytestmark = pytest.mark.once

WIDTH, UNITS = 3, 2
AXES = AxisMap(
    {
        "router": "_ -> experts",
        "inner": "-> experts _ units",
        "outer": "experts units -> _",
    },
    dims=[
        Dim("experts", norm="softmax", top_k="top_k"),
        Dim("units"),
    ],
)


def spec(experts, top_k, units=UNITS):
    shapes = [
        ("router", (WIDTH, experts)),
        ("inner", (experts, WIDTH, units)),
        ("outer", (experts, units, WIDTH)),
    ]
    config = {"experts": experts, "top_k": top_k}
    return AXES.spec(shapes, config, {p: Normal(0.5) for p, _ in shapes})


def weights(experts, seed=0):
    rng = np.random.default_rng(seed)
    shapes = {v.path: v.shape for v in spec(experts, 1).variables.values()}
    return {path: rng.standard_normal(s) for path, s in shapes.items()}


def output(w, x, top_k, renormalize):
    """A layer of experts, of which each token takes `top_k`."""
    scores = np.exp(x @ w["router"])
    scores /= scores.sum(axis=1, keepdims=True)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :top_k]
    chosen = np.zeros_like(scores)
    np.put_along_axis(chosen, order, 1.0, axis=1)
    scores = scores * chosen
    if renormalize:
        scores /= scores.sum(axis=1, keepdims=True)
    hidden = np.tanh(np.einsum("td,edf->tef", x, w["inner"]))
    return np.einsum("te,tef,efd->td", scores, hidden, w["outer"])


INPUTS = np.random.default_rng(1).standard_normal((7, WIDTH))


@pytest.mark.parametrize("renormalize", [True, False])
@pytest.mark.parametrize("name", ["net2net", "lemon", "hypercloning", "staged"])
@pytest.mark.parametrize("times", [2, 3])
def test_copies_keep_the_function_where_top_k_grows_along(
    name, times, renormalize
):
    source, target = spec(4, 2), spec(4 * times, 2 * times, UNITS * times)
    strategy = strategies.get(name)
    plan = strategy.plan(source, target)
    assert all(claim.exact for claim in strategy.claims(plan))
    small = weights(4)
    before = output(small, INPUTS, 2, renormalize)
    after = output(plan.apply(small), INPUTS, 2 * times, renormalize)
    np.testing.assert_allclose(after, before, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "name, target, reason",
    [
        ("net2net", (8, 2), "`top_k` has to grow by the same factor"),
        ("net2net", (4, 4), "`top_k` has to grow by the same factor"),
        ("net2net", (6, 3), "unequal numbers"),
        ("direct", (8, 4), "takes new entries into account"),
    ],
)
def test_what_changes_the_function_says_why(name, target, reason):
    strategy, source = strategies.get(name), spec(4, 2)
    plan = strategy.plan(source, spec(*target))
    (claim,) = strategy.claims(plan)
    assert not claim.exact and reason in claim.reason
    small = weights(4)
    before = output(small, INPUTS, 2, True)
    after = output(plan.apply(small), INPUTS, target[1], True)
    assert np.abs(after - before).max() > 1e-3


def test_old_experts_are_read_as_before_beside_new_ones():
    """Of copies, each is read in full; of one that is alone nothing is
    divided and nothing multiplied."""
    small = weights(4)
    plan = strategies.get("direct").plan(spec(4, 2), spec(8, 2))
    grown = plan.apply(small)
    np.testing.assert_array_equal(grown["outer"][:4], small["outer"])
    np.testing.assert_array_equal(grown["outer"][4:], 0)
    plan = strategies.get("fpi").plan(spec(4, 2), spec(6, 2))
    indices = plan.terms[0].widths["experts"].produce.indices
    grown = plan.apply(small)
    np.testing.assert_allclose(grown["outer"], small["outer"][indices])


def gradients(w, x, top_k):
    """Of the sum of squares of the output, by central differences."""
    step, found = 1e-6, {}
    for path, value in w.items():
        slope = np.zeros_like(value)
        for index in np.ndindex(value.shape):
            losses = []
            for sign in (1, -1):
                moved = {k: v.copy() for k, v in w.items()}
                moved[path][index] += sign * step
                # Nobody changes places: `x` is far from ties of old experts,
                # and of copies all are taken.
                losses.append((output(moved, x, top_k, True) ** 2).sum())
            slope[index] = (losses[0] - losses[1]) / (2 * step)
        found[path] = slope
    return found


def test_gradients_go_through_the_dual():
    strategy = strategies.HyperCloning(snr=None)
    plan = strategy.plan(spec(2, 1), spec(4, 2))
    small, x = weights(2), INPUTS[:3]
    expected = gradients(plan.apply(small), x, 2)
    mapped = plan.dual().apply(gradients(small, x, 1))
    for path, value in expected.items():
        np.testing.assert_allclose(mapped[path], value, rtol=1e-6, atol=1e-8)


def test_the_way_there_composes():
    strategy = strategies.get("net2net")
    first = strategy.plan(spec(2, 1), spec(4, 2))
    second = strategy.plan(spec(4, 2), spec(8, 4), seed=1)
    small = weights(2)
    once = (second @ first).apply(small)
    twice = second.apply(first.apply(small))
    for path, value in twice.items():
        np.testing.assert_allclose(once[path], value)


def test_the_way_back_gives_the_old_experts():
    plan = strategies.get("net2net").plan(spec(4, 2), spec(12, 6))
    small = weights(4)
    back = plan.inverse().apply(plan.apply(small))
    for path, value in small.items():
        np.testing.assert_allclose(back[path], value)


def test_more_cannot_take_part_than_there_are():
    with pytest.raises(GrowthError, match=r"Received: top_k=5"):
        spec(4, 5)
