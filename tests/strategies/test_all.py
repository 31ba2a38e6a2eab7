"""Every registered strategy: found, written down, refused, and parted."""

import itertools
import json

import keras
import numpy as np
import pytest
from helpers.toy import (
    array,
    assert_same,
    grow_offline,
    make_inputs,
    make_model,
    make_targets,
    toy_spec,
    toy_values,
)
from hypothesis import given, reject
from hypothesis import strategies as st

import kgrow
from kgrow import Dim, GrowthError, strategies
from kgrow.strategies import Combine, DepthMap, Direct, HyperCloning, Net2Net
from kgrow.strategies.fixed_dims import is_placed
from kgrow.strategies.registry import forget, register, registered

pytestmark = pytest.mark.once

SOURCE = toy_spec()
WIDTH = toy_spec({"hidden": 6, "heads": 4, "qk": 4, "ffn": 8})
DEPTH = toy_spec(depth=4)
BOTH = toy_spec(WIDTH.sizes, depth=4)
NAMES = strategies.names(aliases=False)
DEPTH_MAPS = sorted(
    name for name, cls in registered().items() if issubclass(cls, DepthMap)
)


def grows(strategy, target):
    try:
        strategies.get(strategy).plan(SOURCE, target)
    except GrowthError:
        return False
    return True


# A strategy without terms starts from nothing, and keeps nothing.
COPYING = [n for n in NAMES if strategies.get(n).plan(SOURCE, SOURCE).terms]
PARTS = [name for name in NAMES if not strategies.get(name).standalone]
WIDTHS = [name for name in PARTS if grows(name, WIDTH)]
DEPTHS = [name for name in PARTS if grows(name, DEPTH)]


# --- names and configs -------------------------------------------------------


def test_names_are_sorted_and_found():
    assert NAMES == sorted(registered())
    for name in NAMES:
        assert isinstance(strategies.get(name), registered()[name])
        assert strategies.get(name.upper()) == strategies.get(name)


def test_every_strategy_grows_something():
    assert set(WIDTHS) | set(DEPTHS) == set(PARTS)
    assert set(DEPTH_MAPS) <= set(DEPTHS)


@pytest.mark.parametrize("name", PARTS)
def test_it_grows_what_it_says(name):
    """Twice some width and twice the depth, which none finds uneven."""
    says = strategies.get(name).grows
    wider = [
        toy_spec({dim: 2 * size})
        for dim, size in SOURCE.sizes.items()
        if not is_placed(SOURCE.dims[dim])
    ]
    assert any(grows(name, w) for w in wider) == ("width" in says)
    assert grows(name, DEPTH) == ("depth" in says)


def test_a_combination_grows_what_its_parts_do():
    assert Combine("hypercloning", "top").grows == {"width", "depth"}
    assert Combine("top", "top").grows == {"depth"}
    assert strategies.Positions(base="top").grows == {"depth"}


CONFIGURED = [
    *map(strategies.get, NAMES),
    Net2Net(split="even"),
    HyperCloning(snr=None),
    HyperCloning(snr=3.0),
    Direct("zeros", "initializer"),
    strategies.Stack(zero_exits=True),
    strategies.StackingList([0, 1, None, 1], zero_exits=True),
    *(Combine(w, d) for w, d in itertools.product(WIDTHS, DEPTHS)),
    Combine(Net2Net("even"), [0, 0, 1, 1]),
]


@pytest.mark.sample
@pytest.mark.parametrize("strategy", CONFIGURED, ids=repr)
def test_a_strategy_survives_its_config(strategy):
    config = json.loads(json.dumps(strategies.serialize(strategy)))
    again = strategies.get(config)
    assert again == strategy and repr(again) == repr(strategy)
    for target in (WIDTH, DEPTH, BOTH):
        if grows(strategy, target):
            values = toy_values(SOURCE)
            one = strategy.plan(SOURCE, target, 5).apply(values)
            assert_same(again.plan(SOURCE, target, 5).apply(values), one)


def test_strategies_differ_by_their_arguments():
    for one, other in itertools.combinations(CONFIGURED, 2):
        assert one != other


class Mirror(strategies.Strategy):
    """Keeps its argument under another name, as is easily done."""

    grows = {"width"}

    def __init__(self, share=0.5):
        self._share = share


class OpenMirror(strategies.Strategy):
    grows = {"width"}

    def __init__(self, share=0.5, inner="net2net", **kwargs):
        super().__init__(**kwargs)
        self.share = share
        self.inner = strategies.get(inner)


class Listed(strategies.Strategy):
    grows = {"width"}

    def __init__(self, *shares):
        self.shares = shares


def test_no_argument_is_lost():
    with pytest.raises(GrowthError, match="self.share = share"):
        Mirror(0.3).get_config()
    with pytest.raises(GrowthError, match=r"takes \*shares"):
        Listed(0.3).get_config()
    for use in (repr, strategies.serialize, lambda m: m == Mirror()):
        with pytest.raises(GrowthError, match="Mirror"):
            use(Mirror(0.3))


def test_arguments_are_the_config():
    """Strategies among them as well, with no `get_config` written."""
    one = OpenMirror(0.3, Net2Net("even"))
    assert repr(one) == ("OpenMirror(share=0.3, inner=Net2Net(split='even'))")
    assert one != OpenMirror(0.5, Net2Net("even"))
    assert one != OpenMirror(0.3)
    config = json.loads(json.dumps(one.get_config()))
    assert OpenMirror.from_config(config) == one


@keras.saving.register_keras_serializable("kgrow_tests")
def halve(size):
    return size // 2


class Measured(strategies.Strategy):
    grows = {"width"}

    def __init__(self, measure):
        self.measure = measure


def test_a_function_among_the_arguments_is_saved_by_its_name():
    one = Measured(halve)
    config = json.loads(json.dumps(one.get_config()))
    again = Measured.from_config(config)
    assert again.measure is halve and again == one
    config["measure"]["registered_name"] = "kgrow_tests>nothing"
    config["measure"]["config"] = "nothing"
    with pytest.raises(GrowthError, match="an argument of a strategy"):
        Measured.from_config(config)


def test_a_name_of_earlier_files_is_an_alias():
    assert strategies.get("filled") == strategies.get("initialize_new")
    assert "filled" not in strategies.names(aliases=False)


def test_a_name_is_taken_once():
    register("mirror", aliases=("glass",))(OpenMirror)
    try:
        assert strategies.get("glass") == strategies.get("mirror")
        assert strategies.get("glass").name == "mirror"
        register("mirror")(OpenMirror)
        for name in ("mirror", "glass", "midas"):
            with pytest.raises(GrowthError, match="is the name of"):
                register(name)(Listed)
    finally:
        forget("mirror")
    assert not {"mirror", "glass"} & set(strategies.names())


class Silent(strategies.Strategy):
    """Does not say what it grows."""


@pytest.mark.parametrize(
    "name, cls, message",
    [
        ("silent", Silent, "must say what it grows"),
        ("Silent", OpenMirror, "lower case"),
        ("dense", keras.layers.Dense, "a subclass of `Strategy`"),
    ],
)
def test_what_cannot_be_registered_says_why(name, cls, message):
    with pytest.raises(GrowthError, match=message):
        register(name)(cls)
    assert name not in strategies.names()


def test_a_list_is_a_stacking_list():
    assert strategies.get([0, None, 1]).blocks == [0, None, 1]
    assert strategies.get((0, 1)) == strategies.StackingList([0, 1])


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_copy_takes_width_from_one_and_depth_from_the_other(width, depth):
    both = Combine(width, depth).plan(SOURCE, BOTH, seed=1).terms[0]
    wide = strategies.get(width).plan(SOURCE, WIDTH, seed=1).terms[0]
    deep = strategies.get(depth).plan(SOURCE, DEPTH, seed=1).terms[0]
    assert set(both.widths) == set(wide.widths)
    for dim, block in itertools.product(wide.widths, range(2)):
        one, other = both.width(dim, block), wide.width(dim, block)
        assert_equal_maps(one.produce, other.produce)
        assert_equal_maps(one.consume, other.consume)
    one, other = both.depths["layers"], deep.depths["layers"]
    assert_equal_maps(one.rows, other.rows)
    np.testing.assert_array_equal(one.exits, other.exits)


def assert_equal_maps(one, other):
    np.testing.assert_array_equal(one.matrix(), other.matrix())


# --- depth maps --------------------------------------------------------------


def stacking_list(depth_map, source, target):
    """The list; sizes that the depth map does not reach are passed over."""
    try:
        return depth_map.stacking_list(source, target)
    except GrowthError as error:
        assert f"grow from {source} to {target}" in str(error)
        reject()


@pytest.mark.parametrize("name", DEPTH_MAPS)
@given(source=st.integers(1, 8), extra=st.integers(0, 20))
def test_a_depth_map_places_every_old_block(name, source, extra):
    blocks = stacking_list(strategies.get(name), source, source + extra)
    assert len(blocks) == source + extra
    assert set(blocks) == set(range(source))
    first = list(dict.fromkeys(blocks))
    assert first == list(range(source))


@pytest.mark.parametrize("name", DEPTH_MAPS)
@pytest.mark.parametrize("source", [1, 3])
def test_no_growth_of_depth_is_the_identity(name, source):
    mixing = strategies.get(name).expand_depth(None, source, source, None)
    assert mixing.is_identity


@pytest.mark.parametrize("name", DEPTH_MAPS)
@given(source=st.integers(1, 6), extra=st.integers(0, 12))
def test_zeroed_exits_keep_the_blocks_in_order(name, source, extra):
    depth_map = strategies.get(name)
    depth_map.zero_exits = True
    stacking_list(depth_map, source, source + extra)
    mixing = depth_map.expand_depth(None, source, source + extra, None)
    assert mixing.keeps_blocks()
    assert np.count_nonzero(mixing.exits) == source


@pytest.mark.parametrize(
    "name, blocks",
    [
        ("stack", [0, 1, 2, 3, 0, 1, 2]),
        ("interpolate", [0, 0, 1, 1, 2, 2, 3]),
        ("middle", [0, 1, 2, 0, 1, 2, 3]),
        ("top", [0, 1, 2, 3, 1, 2, 3]),
        ("identity", [0, 0, 1, 1, 2, 2, 3]),
    ],
)
def test_the_lists_of_the_papers(name, blocks):
    assert strategies.get(name).stacking_list(4, 7) == blocks


@given(st.integers(1, 5), st.integers(2, 4))
def test_doubled_stacks_and_interleaved_ones(source, times):
    stacked = strategies.Stack().stacking_list(source, times * source)
    spread = strategies.Interpolate().stacking_list(source, times * source)
    assert stacked == [*range(source)] * times
    assert spread == sorted(stacked)


@pytest.mark.parametrize(
    "blocks, reason",
    [
        ([0, 1], "needs 4 entries. Received: 2"),
        ([0, 1, 2, 0], r"blocks 0 to 1.*copies \[2\]"),
    ],
)
def test_a_list_fits_the_stack(blocks, reason):
    with pytest.raises(GrowthError, match=reason):
        strategies.get(blocks).plan(SOURCE, DEPTH)


@pytest.mark.parametrize("blocks", ["01", [0, -1], [0, 1.5], 3])
def test_a_list_holds_block_numbers(blocks):
    with pytest.raises(GrowthError, match="holds the number of an old block"):
        strategies.StackingList(blocks)


# --- refusals ----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(PARTS) - {*WIDTHS}))
def test_depth_strategies_refuse_width_and_say_what_to_do(name):
    advice = rf"from 3 to 6.*Combine\(width='net2net', depth='{name}'\)"
    with pytest.raises(GrowthError, match=f"`hidden` is to grow {advice}"):
        strategies.get(name).plan(SOURCE, WIDTH)


@pytest.mark.parametrize("name", sorted(set(PARTS) - {*DEPTHS}))
def test_width_strategies_refuse_depth_and_say_what_to_do(name):
    advice = rf"from 2 to 4.*Combine\(width='{name}', depth='stack'\)"
    with pytest.raises(GrowthError, match=f"`layers` is to grow {advice}"):
        strategies.get(name).plan(SOURCE, DEPTH)


def test_hypercloning_names_the_next_multiple():
    with pytest.raises(GrowthError, match="3 to 7. Choose 6 or"):
        HyperCloning().plan(SOURCE, toy_spec({"hidden": 7}))


@pytest.mark.parametrize("name", COPYING)
def test_what_is_looked_up_keeps_its_place(name):
    """Under every strategy, depth strategies too; one that would leave all of
    the work to another names that."""
    strategy = strategies.get(name)
    if name in ("gradmax", "ligo", "mango"):
        with pytest.raises(GrowthError, match="would be the work of '"):
            strategy.plan(SOURCE, toy_spec({"vocab": 8}))
        return
    plan = strategy.plan(SOURCE, toy_spec({"vocab": 8}))
    values = toy_values(SOURCE)
    grown = plan.apply(values)["embedding"]
    np.testing.assert_array_equal(grown[:5], values["embedding"])
    drawn = getattr(strategy, "initializer", "layer") == "normal"
    assert (grown[5:] == 1).all() or (drawn and grown[5:].std() < 0.05)


@pytest.mark.parametrize("sizes, depth", [({"hidden": 2}, 2), ({}, 1)])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_shrinks(name, sizes, depth):
    with pytest.raises(GrowthError, match="cannot shrink"):
        strategies.get(name).plan(SOURCE, toy_spec(sizes, depth))


@pytest.mark.parametrize("name", COPYING)
def test_no_growth_is_the_identity(name):
    plan = strategies.get(name).plan(SOURCE, SOURCE)
    assert_same(plan.apply(toy_values(SOURCE)), toy_values(SOURCE))


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (lambda: Net2Net(split="odd"), "split='odd'"),
        (lambda: HyperCloning(snr=float("nan")), "snr=nan"),
        (lambda: HyperCloning(snr="10"), "snr='10'"),
        (lambda: Direct(incoming="ones"), "incoming='ones'"),
        (lambda: Direct(outgoing=None), "outgoing=None"),
        (lambda: Combine(width="netnet"), "Did you mean 'net2net'"),
        (lambda: Combine(depth="stak"), "Did you mean 'stack'"),
    ],
)
def test_arguments_are_checked(wrong, reason):
    with pytest.raises(GrowthError, match=reason):
        wrong()


def test_blocks_get_maps_of_their_own():
    """A dim that only one block knows grows differently in each."""
    widths = Net2Net().plan(SOURCE, WIDTH).terms[0].widths
    one, other = (e.consume.matrix() for e in widths["ffn"])
    assert (one != other).any()
    assert not isinstance(widths["hidden"], tuple)


@pytest.mark.parametrize("split", ["even", "uneven"])
@given(source=st.integers(1, 6), extra=st.integers(0, 9))
def test_net2net_copies_are_balanced(split, source, extra):
    rng = np.random.default_rng(extra)
    e = Net2Net(split).expand_width(Dim("d"), source, source + extra, rng)
    assert e.preserves() and np.ptp(e.produce.counts) <= 1
    np.testing.assert_array_equal(e.produce.indices[:source], range(source))
    # Even shares are 1 / copies; uneven ones are for units that have twins.
    shares = e.consume.power(1).matrix().sum(axis=1)
    even = shares == 1 / e.produce.counts[e.produce.indices]
    twins = e.produce.counts[e.produce.indices] > 1
    assert (even == (~twins | (split == "even"))).all()


# --- twins -------------------------------------------------------------------


@pytest.mark.grid
@pytest.mark.parametrize(
    "strategy, part",
    [
        (Net2Net(), True),
        (HyperCloning(), True),
        (Net2Net(split="even"), False),
        (HyperCloning(snr=None), False),
    ],
    ids=repr,
)
def test_twins_part_unless_asked_not_to(strategy, part):
    """Equal twins see equal gradients, to the last bit, for ever."""
    # Not relu: units that are never active do not move at all.
    model = make_model("MLP", activation="tanh")
    target = {"intermediate_dim": 2 * model.growth_config["intermediate_dim"]}
    _, plan = grow_offline(model, target, strategy)
    model.grow(target, strategy, seed=0)
    x = make_inputs(model)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    for _ in range(3):
        model.train_on_batch(x, make_targets(model, x))
    kernel = array(model.network.residual_layers[0].intermediate_dense.kernel)
    indices = plan.terms[0].width("ffn", 0).produce.indices
    twins = [np.flatnonzero(indices == i) for i in range(kernel.shape[1] // 2)]
    differ = [(kernel[:, a] != kernel[:, b]).any() for a, b in twins]
    assert set(differ) == {part}


def test_the_default_parts_its_twins():
    assert strategies.get("net2net").split == "uneven"
    assert strategies.get("hypercloning").snr is not None
    assert kgrow.GrowableModel.grow.__defaults__[0] == "net2net"
