"""Depth strategies and CompoundGrow: the papers' lists, limits and names."""

import keras
import numpy as np
import pytest
from helpers.toy import array, grow_offline, make_inputs, make_model, toy_spec
from hypothesis import given
from hypothesis import strategies as st

import kgrow
from kgrow import Dim, GrowthError, strategies
from kgrow.algebra import tolerance
from kgrow.algebra.spec import BlockStack
from kgrow.strategies import (
    SOLAR,
    Combine,
    CompoundGrow,
    LlamaPro,
    Middle,
    Stack,
    Top,
)

pytestmark = pytest.mark.compiles

# What each paper, or its code, builds.
LISTS = {
    # SOLAR, Sec. 2: of 32 layers, 0 to 23 and 8 to 31.
    ("solar", 32, 48): [*range(24), *range(8, 32)],
    # LLaMA Pro, Sec. 4.1: 7B of 32 blocks, 8 groups of 4, one new behind each.
    ("llama_pro", 32, 40): [
        block
        for group in range(0, 32, 4)
        for block in [*range(group, group + 4), group + 3]
    ],
    # MSLT: the top blocks once more; the code counts 2 * now - target .. now.
    ("mslt", 6, 9): [*range(6), 3, 4, 5],
    # StackingBERT's double.py: layer i to i and i + L.
    ("stackbert", 3, 6): [0, 1, 2, 0, 1, 2],
    # MIDAS: the middle block repeated behind itself.
    ("midas", 4, 6): [0, 1, 2, 1, 2, 3],
}


@pytest.mark.parametrize("name, source, target", LISTS)
def test_the_lists_of_the_papers(name, source, target):
    blocks = strategies.get(name).stacking_list(source, target)
    assert blocks == LISTS[name, source, target]


def test_other_names_are_listed_and_found():
    assert strategies.get("stackbert") == Stack()
    assert strategies.get("MIDAS") == Middle()
    second = set(strategies.names()) - set(strategies.names(aliases=False))
    assert second == {"stackbert", "midas", "filled"}
    with pytest.raises(GrowthError, match="Did you mean 'stackbert'"):
        strategies.get("stakbert")


@given(st.integers(1, 30), st.integers(0, 30))
def test_solar_drops_at_the_seam_alone(source, extra):
    extra = min(extra, source)
    blocks = SOLAR().stacking_list(source, source + extra)
    steps = np.diff(blocks)
    assert blocks[0] == 0 and blocks[-1] == source - 1
    # It rises by one, but at the seam of two halves, the first the larger.
    (jumps,) = np.nonzero(steps != 1)
    assert len(jumps) == (extra > 0)
    if extra:
        assert jumps[0] + 1 == -(-len(blocks) // 2)


def test_solar_names_the_way_to_more_than_twice():
    match = "grow from 2 to 5 blocks. Go to 4 first .* Received: target=5"
    with pytest.raises(GrowthError, match=match):
        SOLAR().plan(toy_spec(depth=2), toy_spec(depth=5))


@given(st.integers(1, 20), st.integers(1, 45))
def test_llama_pro_spreads_any_number(source, extra):
    mixing = LlamaPro().expand_depth(None, source, source + extra, None)
    silent = mixing.exits == 0
    assert silent.sum() == extra and mixing.keeps_blocks()
    # Always behind the block that is copied, and the last on top.
    rows = mixing.rows.indices
    assert (rows[silent] == rows[np.flatnonzero(silent) - 1]).all()
    assert silent[-1]
    copies = np.bincount(rows[silent], minlength=source)
    assert np.ptp(copies) <= 1
    if extra <= source:
        sizes = np.diff(np.r_[-1, np.flatnonzero(copies)])
        assert np.ptp(sizes) <= 1


@pytest.mark.parametrize("family", ["BERT", "GPT2"])
def test_llama_pro_keeps_the_function(float64, family):
    model = make_model(family, dtype="float64")
    x = make_inputs(model)
    before = array(model(x))
    receipt = model.grow({"num_layers": 5}, "llama_pro")
    assert receipt.exact
    np.testing.assert_allclose(
        array(model(x)), before, atol=receipt.tolerance * abs(before).max()
    )


@pytest.mark.parametrize("name", strategies.names(aliases=False))
def test_what_trains_after_each(name):
    expected = "new" if name in ("mslt", "llama_pro") else "all"
    assert strategies.get(name).default_trainable == expected


@pytest.mark.parametrize("depth, train", [("mslt", "new"), ("top", "all")])
def test_copy_trains_what_its_parts_do(depth, train):
    assert Combine("net2net", depth).default_trainable == train
    assert strategies.get("mslt").stacking_list(4, 7) == (
        Top().stacking_list(4, 7)
    )


# --- where there is no residual branch ---------------------------------------


def chain_spec(width, depth, rules=()):
    """Layers one behind the other, as Net2DeeperNet has them."""
    axes = kgrow.AxisMap(
        {
            "first": "_ -> h",
            "layer_{layers}/kernel": "h -> h",
            "layer_{layers}/bias": "-> h",
            "last": "h -> _",
            **dict(rules),
        },
        stacks=[BlockStack("layers", norm="pre")],
    )
    shapes = {"first": (3, width), "last": (width, 2)}
    for block in range(depth):
        shapes[f"layer_{block}/kernel"] = (width, width)
        shapes |= {
            f"layer_{block}/{name}": (width,)
            for name in ("bias", *(r.split("/")[1] for r in dict(rules)))
        }
    return axes.spec(shapes.items(), {})


def run_chain(values, x):
    """What the chain computes, with relu behind every layer."""
    relu, block = lambda t: np.maximum(t, 0), 0
    x = relu(x @ values["first"])
    while f"layer_{block}/kernel" in values:
        name = f"layer_{block}"
        x = relu(x @ values[f"{name}/kernel"] + values[f"{name}/bias"])
        block += 1
    return x @ values["last"]


def chain_values(spec):
    rng = np.random.default_rng(2)
    return {p: rng.standard_normal(v.shape) for p, v in spec.variables.items()}


@pytest.mark.once
@pytest.mark.parametrize("width", [5, 8])
@pytest.mark.parametrize("name", ["identity", "net2net", "lemon", "llama_pro"])
def test_new_layers_of_a_chain_are_identity_matrices(name, width):
    """Net2DeeperNet, at the old width and at another one."""
    source, target = chain_spec(5, 2), chain_spec(width, 4)
    strategy = strategies.get(name)
    if "width" not in strategy.grows and width != 5:
        strategy = Combine("net2net", strategy)
    plan, values = strategy.plan(source, target, 1), chain_values(source)
    x = np.random.default_rng(0).standard_normal((6, 3))
    bound = tolerance("float64", width, 6)
    before = run_chain(values, x)
    after = run_chain(plan.apply(values), x)
    assert abs(after - before).max() <= bound * abs(before).max()
    claims = {c.dim: c for c in strategy.claims(plan)}
    assert not claims["layers"].exact
    assert "identity matrices" in claims["layers"].reason


@pytest.mark.once
def test_the_middle_of_a_convolution_is_the_identity():
    axes = kgrow.AxisMap(
        {"layer_{layers}": "_ _ h -> h", "last": "h -> _"},
        stacks=[BlockStack("layers", norm="pre")],
    )

    def spec(depth):
        kernels = [(f"layer_{i}", (3, 5, 4, 4)) for i in range(depth)]
        return axes.spec([*kernels, ("last", (4, 2))], {})

    plan = strategies.get("identity").plan(spec(1), spec(2))
    kernel = plan.apply(chain_values(spec(1)))["layer_1"]
    np.testing.assert_array_equal(kernel[1, 2], np.eye(4))
    assert np.count_nonzero(kernel) == 4


@pytest.mark.once
def test_blocks_of_more_than_a_kernel_are_copied():
    rules = {"layer_{layers}/scale": "-> h | scale"}
    source, target = chain_spec(5, 2, rules), chain_spec(5, 3, rules)
    plan = strategies.get("identity").plan(source, target)
    grown = plan.apply(values := chain_values(source))
    np.testing.assert_array_equal(
        grown["layer_1/kernel"], values["layer_0/kernel"]
    )
    (claim,) = strategies.get("identity").claims(plan)
    assert "no residual branch to silence" in claim.reason


# --- CompoundGrow ------------------------------------------------------------


def test_shared_networks_are_written_out():
    """The paper's Eq. 2: `[W1, W1]` over `[W2; W2] / 2`."""
    model = make_model("BERT")
    ffn = model.growth_config["intermediate_dim"]
    network, plan = grow_offline(
        model, {"intermediate_dim": 2 * ffn}, "compoundgrow"
    )
    assert [c.exact for c in CompoundGrow().claims(plan)] == [True]
    pairs = zip(
        model.network.transformer_layers,
        network.transformer_layers,
        strict=True,
    )
    for old, new in pairs:
        first = array(old.feedforward_intermediate_dense.kernel)
        second = array(old.feedforward_output_dense.kernel)
        np.testing.assert_array_equal(
            array(new.feedforward_intermediate_dense.kernel),
            np.tile(first, (1, 2)),
        )
        np.testing.assert_array_equal(
            array(new.feedforward_intermediate_dense.bias),
            np.tile(array(old.feedforward_intermediate_dense.bias), 2),
        )
        np.testing.assert_array_equal(
            array(new.feedforward_output_dense.kernel),
            np.tile(second, (2, 1)) / 2,
        )


def test_depth_and_width_in_one_growth():
    model = make_model("GPT2")
    ffn = model.growth_config["intermediate_dim"]
    config = {"intermediate_dim": 2 * ffn, "num_layers": 4}
    _, plan = grow_offline(model, config, "compoundgrow")
    assert plan.terms[0].depths["layers"].rows.indices.tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize("field", ["hidden_dim", "num_heads", "head_dim"])
@pytest.mark.parametrize("times", [1.5, 2])
def test_compoundgrow_refuses_other_widths(field, times):
    model = make_model("GPT2", num_heads=4)
    config = {field: int(times * model.growth_config[field])}
    # Heads that are no multiple are told so first.
    match = rf"`{field}` is to grow from .*Received: target=.*net2net"
    with pytest.raises(GrowthError, match=match):
        grow_offline(model, config, "compoundgrow")
    both = Combine(width="net2net", depth="compoundgrow")
    _, plan = grow_offline(model, {**config, "num_layers": 3}, both)
    assert plan.terms[0].widths and plan.terms[0].depths


def test_a_residual_stream_is_no_rank():
    model = make_model("MLP")
    with pytest.raises(GrowthError, match="Combine it with a strategy for"):
        model.grow({"hidden_dim": 12}, "compoundgrow")


def factorised(rank=2):
    """A user's network whose kernels are products of two."""
    dense = keras.layers.Dense
    network = keras.Sequential(
        [
            keras.Input((5,)),
            dense(rank, use_bias=False, name="into_1"),
            dense(6, activation="tanh", name="out_1"),
            dense(rank, use_bias=False, name="into_2"),
            dense(3, name="out_2"),
        ]
    )
    axes = {"out_1/bias": "-> units", "out_2/bias": "-> _"}
    axes |= {"into_1/kernel": "_ -> rank_1", "out_1/kernel": "rank_1 -> units"}
    axes |= {"into_2/kernel": "units -> rank_2", "out_2/kernel": "rank_2 -> _"}
    dims = [Dim(f"rank_{i}", kind="stream") for i in (1, 2)]
    return kgrow.GrowableModel(network, kgrow.AxisMap(axes, dims))


def test_factorised_kernels_gain_rank_and_keep_the_function():
    model = factorised()
    x = np.random.default_rng(0).standard_normal((4, 5)).astype("float32")
    before = array(model(x))
    old = array(model.network.get_layer("into_1").kernel)
    receipt = model.grow({"rank_1": 4, "rank_2": 3}, "compoundgrow", seed=0)
    assert receipt.exact
    bound = tolerance("float32", 8, 4) * abs(before).max()
    np.testing.assert_allclose(array(model(x)), before, rtol=0, atol=bound)
    into = array(model.network.get_layer("into_1").kernel)
    out = array(model.network.get_layer("out_1").kernel)
    np.testing.assert_array_equal(into[:, :2], old)
    assert into[:, 2:].all() and not out[2:].any()
    # Zeros on one side only: the new rank learns from the first step on.
    model.compile("sgd", "mse")
    model.train_on_batch(x, np.ones((4, 3), "float32"))
    assert array(model.network.get_layer("out_1").kernel)[2:].all()
