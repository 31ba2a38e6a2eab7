"""What a growth claims to keep, it keeps; what it says it changes, changes."""

import re

import numpy as np
import pytest
from helpers.toy import (
    DEPTH,
    FAMILIES,
    FAN_IN,
    RESIDUAL,
    array,
    give_zeros,
    make_inputs,
    make_model,
    outputs,
    relative_difference,
    selections,
    values_of,
)
from hypothesis import given
from hypothesis import strategies as st

from kgrow import (
    AxisMap,
    BlockStack,
    DepthExpansion,
    Dim,
    Expansion,
    GrowthError,
    Plan,
    claims,
    strategies,
)
from kgrow.algebra import GatherMap, MatrixMap, PlanTerm, tolerance
from kgrow.architecture.architecture import grown_weights, relative_path
from kgrow.architecture.output_check import difference
from kgrow.growth.gates import carry_gates
from kgrow.models import registered

pytestmark = pytest.mark.compiles

ROUNDING = tolerance("float64", FAN_IN, DEPTH)


def growths(family):
    """Each size alone, to a multiple and to none; then all of them at once."""
    cls = FAMILIES[family]
    sizes = {field: cls.example.sizes[field] for field in cls.axes.fields}
    for name, grow in {
        "double": lambda n: 2 * n,
        "more": lambda n: n + 1 + n // 4,
    }.items():
        everything = {field: grow(size) for field, size in sizes.items()}
        yield f"{family}-{name}-all", everything
        for field, size in everything.items():
            yield f"{family}-{name}-{field}", {field: size}


GROWTHS = {
    name: (family, target)
    for family in FAMILIES
    for name, target in growths(family)
}
GROWTHS |= {
    f"{family}-{name}": (family, getattr(cls.example, name))
    for family, cls in registered().items()
    for name in ("exact", "gated")
    if family not in FAMILIES
}

# Networks are built and compiled once; strategies only change their weights.
_sources, _targets = {}, {}


def source_of(family):
    if family not in _sources:
        _sources[family] = make_model(family, dtype="float64")
    return _sources[family]


def target_of(growth):
    if growth not in _targets:
        family, config = GROWTHS[growth]
        source = source_of(family).architecture
        network, spec = source.build(source.check(config))
        _targets[growth] = give_zeros(network), spec
    return _targets[growth]


def measure(growth, strategy):
    """The plan, its claims, and how far the outputs lie apart."""
    model = source_of(GROWTHS[growth][0])
    network, spec = target_of(growth)
    strategy = strategies.get(strategy)
    plan = strategy.plan(model.architecture.spec, spec, seed=3)
    values = plan.apply(values_of(model))
    network.gates.set_active_gates([])
    carry_gates(network, model.network, plan)
    for weight in grown_weights(network):
        weight.assign(values[relative_path(network, weight)])
    x = make_inputs(model)
    before, after = outputs(model.network, x), outputs(network, x)
    _, relative = difference([before], [after], plan)
    return plan, strategy.claims(plan), relative


@pytest.mark.sample
@pytest.mark.grid
@pytest.mark.parametrize("strategy", strategies.names(aliases=False))
@pytest.mark.parametrize("growth", GROWTHS)
def test_the_function_is_kept_exactly_where_it_is_claimed(
    float64, growth, strategy
):
    """Both ways round: claims are neither too bold nor too timid."""
    try:
        plan, stated, relative = measure(growth, strategy)
    except GrowthError as error:
        assert re.search("Combine|Choose|Use|Grow it by", str(error))
        return
    assert {claim.dim for claim in stated} == set(plan.grown)
    exact = all(claim.exact for claim in stated)
    bound = ROUNDING + sum(claim.within for claim in stated)
    assert exact == (relative <= bound), (stated, relative)


# --- the cases worth knowing by heart ----------------------------------------


class Copies(strategies.Strategy):
    """Copies in given numbers, in random shares."""

    def __init__(self, counts):
        self.counts = counts

    def expand_width(self, dim, source, target, rng):
        indices = np.repeat(np.arange(source), self.counts)
        shares = rng.uniform(0.5, 1.5, target)
        sums = np.bincount(indices, shares)
        return Expansion.select(source, indices, shares / sums[indices])


@pytest.mark.each
@pytest.mark.parametrize("counts, exact", [(2, True), ([1, 3] * 4, False)])
@pytest.mark.parametrize("family", ["BERT", "GPT2"])
def test_layer_norm_admits_copies_in_equal_numbers(
    float64, family, counts, exact
):
    growth = f"{family}-double-hidden_dim"
    _, (claim,), relative = measure(growth, Copies(counts))
    assert claim.exact == exact == (relative <= ROUNDING)


def test_without_a_norm_any_number_of_copies_will_do(float64):
    _, (claim,), relative = measure("MLP-double-hidden_dim", Copies([1, 3] * 4))
    assert claim.exact and relative <= ROUNDING


@pytest.mark.parametrize("blocks", [[0, None, 1], [0, 1, None], [None, 0, 1]])
@pytest.mark.parametrize("family", RESIDUAL)
def test_silent_blocks_keep_the_function(float64, family, blocks):
    """Behind a norm only above a block that takes its scale back."""
    strategy = strategies.StackingList(blocks, zero_exits=True)
    _, (claim,), relative = measure(f"{family}-more-num_layers", strategy)
    post = FAMILIES[family].axes.stacks["layers"].norm == "post"
    assert claim.exact == (not post or blocks[0] is not None)
    if post:
        assert claim.exact == (relative <= ROUNDING + claim.within)
        assert (claim.within > 0) == claim.exact
    else:
        assert relative == 0.0


@pytest.mark.each
@pytest.mark.parametrize("strategy", ["identity", "direct", "net2net"])
@pytest.mark.parametrize("family", ["GPT2", "MLP"])
def test_silent_blocks_change_no_bit(family, strategy):
    model = make_model(family)
    receipt = model.grow({"num_layers": 3}, strategy, seed=0)
    assert receipt.exact and receipt.max_abs_diff == 0.0


@pytest.mark.grid
@pytest.mark.parametrize("strategy", ["net2net", "random"])
@pytest.mark.parametrize("family", RESIDUAL)
def test_the_receipt_tells_what_was_measured(family, strategy):
    model = make_model(family)
    target = {"intermediate_dim": 13, "num_heads": 5}
    target = {f: n for f, n in target.items() if f in model.growth_config}
    x = make_inputs(model)
    before = array(model(x))
    receipt = model.grow(target, strategy, probe=x, seed=0)
    relative = relative_difference(array(model(x)), before)
    assert receipt.exact == (strategy == "net2net")
    assert receipt.exact == (receipt.relative_diff <= receipt.tolerance)
    assert receipt.exact == (relative <= receipt.tolerance)
    assert set(receipt.claims.values()) == {"exact"} or not receipt.exact


# --- the laws of norms, in plain numpy ---------------------------------------


def normed_spec(size, norm):
    rules = {
        "in": "_ -> h",
        "gain": "-> h | scale",
        "offset": "-> h",
        "out": "h -> _",
    }
    axes = AxisMap(rules, [Dim("h", kind="stream", norm=norm)])
    shapes = {"in": (4, size), "gain": (size,), "offset": (size,)}
    return axes.spec([*shapes.items(), ("out", (size, 3))], {})


def normed(values, norm):
    h = np.random.default_rng(1).standard_normal((5, 4)) @ values["in"]
    if norm == "layer":
        h = h - h.mean(axis=1, keepdims=True)
    h = h / np.sqrt((h**2).mean(axis=1, keepdims=True))
    return (h * values["gain"] + values["offset"]) @ values["out"]


def check_norm(expansion, norm):
    """Whether the claim about an expansion is what numpy finds."""
    source = normed_spec(expansion.source, norm)
    target = normed_spec(expansion.target, norm)
    plan = Plan(source, target, (PlanTerm({"h": expansion}),))
    rng = np.random.default_rng(0)
    values = {
        path: rng.standard_normal(v.shape)
        for path, v in source.variables.items()
    }
    before, after = normed(values, norm), normed(plan.apply(values), norm)
    (claim,) = claims(plan)
    kept = relative_difference(after, before) <= ROUNDING
    assert claim.exact == kept or expansion.is_identity
    return kept


def scaled(expansion, scale):
    """Copies scaled by `scale`, read accordingly."""
    weights = np.asarray(scale, "float64")
    produce, consume = expansion.produce, expansion.consume
    shares = np.ones(expansion.target)
    shares = shares if consume.weights is None else consume.weights
    return Expansion(
        GatherMap(produce.source, produce.indices, weights),
        GatherMap(consume.source, consume.indices, shares / weights),
    )


@given(selections(st.integers(3, 5)), st.sampled_from(["layer", "rms"]))
def test_copies_keep_a_norm_where_it_is_claimed(expansion, norm):
    equal = np.ptp(expansion.produce.counts) == 0
    assert check_norm(expansion, norm) == equal


@given(selections(st.integers(3, 5)), st.sampled_from(["layer", "rms"]))
def test_scaled_copies_keep_the_mean_square(expansion, norm):
    """KERASHUB 2a, RMSNorm (ii); a mean admits no unequal scales."""
    counts = expansion.produce.counts
    ratio = expansion.target / expansion.source
    scale = np.sqrt(ratio / counts)[expansion.produce.indices]
    kept = check_norm(scaled(expansion, scale), norm)
    assert kept == (norm == "rms" or np.ptp(counts) == 0)


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_padding_with_zeros_keeps_the_mean_square_only(norm):
    """KERASHUB 2a, RMSNorm (i): `[I; 0]`, scaled to the new size."""
    eye = np.eye(7, 5) * np.sqrt(7 / 5)
    padded = Expansion(MatrixMap(eye), MatrixMap(eye * 5 / 7))
    assert check_norm(padded, norm) == (norm == "rms")


@pytest.mark.parametrize("norm", ["layer", "rms"])
def test_padding_with_the_mean_is_not_overclaimed(norm):
    """LEMON's fill commutes with LayerNorm, but not with its gain."""
    produce = np.vstack([np.eye(5), np.full((2, 5), 1 / 5)]) * np.sqrt(7 / 5)
    consume = np.linalg.pinv(produce).T
    assert not check_norm(
        Expansion(MatrixMap(produce), MatrixMap(consume)), norm
    )


def test_sums_of_terms_state_their_own_claims():
    source = normed_spec(3, "layer")
    plan = Plan(source, source, (PlanTerm(), PlanTerm()))
    with pytest.raises(GrowthError, match="Received: 2 terms"):
        claims(plan)


@pytest.mark.parametrize(
    "mixing, norm, exact",
    [
        (DepthExpansion.select(2, [0, 1, 1], exits=[1, 1, 0]), "pre", True),
        (DepthExpansion.select(2, [0, 1, 1], exits=[1, 1, 0]), "post", False),
        (DepthExpansion.select(2, [0, 1, 1]), "pre", False),
        (DepthExpansion.select(2, [1, 0]), "pre", False),
        (DepthExpansion(MatrixMap(np.eye(2))), "pre", True),
        (DepthExpansion.identity(2), "post", True),
    ],
)
def test_claims_of_depth(mixing, norm, exact):
    axes = AxisMap(
        {"b{s}": "_ -> _ | residual_out"}, stacks=[BlockStack("s", norm=norm)]
    )
    source, target = (
        axes.spec([(f"b{i}", (1, 1)) for i in range(n)], {})
        for n in (2, mixing.target)
    )
    (claim,) = claims(Plan(source, target, (PlanTerm({}, {"s": mixing}),)))
    assert claim.exact == exact
