"""From paths and shapes to a spec: solved, or refused with the reason."""

import json
import re

import keras
import pytest
from helpers.toy import FAMILIES, TOY, TOY_SIZES, make_model, toy_spec
from hypothesis import given
from hypothesis import strategies as st

from kgrow import AxisMap, BlockStack, Dim, GrowthError
from kgrow.algebra import Axes
from kgrow.architecture.architecture import read_spec
from kgrow.backend.lazy_variables import without_values

pytestmark = pytest.mark.once

ATTENTION = {
    "query": "hidden -> heads qk",
    "packed": "hidden -> (3 heads qk)",
    "out": "(heads qk) -> hidden",
}


def spec(rules, shapes, config=None, **options):
    return AxisMap(rules, **options).spec(list(shapes.items()), config or {})


# --- sizes -------------------------------------------------------------------


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9))
def test_sizes_follow_from_shapes(hidden, heads, qk):
    shapes = {
        "out": (heads * qk, hidden),
        "packed": (hidden, 3 * heads * qk),
        "query": (hidden, heads, qk),
    }
    solved = spec(ATTENTION, shapes)
    assert solved.sizes == {"hidden": hidden, "heads": heads, "qk": qk}


def test_a_product_is_solved_with_a_config_field():
    shapes = {"packed": (8, 24), "out": (8, 8)}
    dims = [Dim("heads", "num_heads")]
    rules = {path: ATTENTION[path] for path in shapes}
    solved = spec(rules, shapes, {"num_heads": 4}, dims=dims)
    assert solved.sizes["qk"] == 2


def test_a_product_alone_is_undecided():
    shapes = {"packed": (8, 24)}
    rules = {"packed": ATTENTION["packed"]}
    with pytest.raises(GrowthError, match=r"\['heads', 'qk'\].*Dim\(name"):
        spec(rules, shapes)


@pytest.mark.parametrize(
    "shapes, config, expected",
    [
        ({"a": (4, 6), "b": (5,)}, {}, "'b'.* shape (6,). Received: (5,)"),
        ({"a": (4, 6), "c": (7,)}, {}, "'c'.* shape (12,). Received: (7,)"),
    ],
)
def test_contradictions_name_both_sides(shapes, config, expected):
    rules = {"a": "_ -> h", "b": "-> h", "c": "-> (2 h)"}
    expected = expected.replace("(", r"\(").replace(")", r"\)")
    with pytest.raises(GrowthError, match=expected):
        spec({path: rules[path] for path in shapes}, shapes, config)


def test_what_never_grows_may_have_any_size():
    solved = spec({"a": "_ 3 -> (3 h)"}, {"a": (5, 3, 12)})
    assert solved.sizes == {"h": 4}


def test_fixed_sizes_are_not_checked_against_a_name():
    assert spec({"a": "_ -> _"}, {"a": (5, 7)}).sizes == {}


def test_dims_keep_the_order_of_the_axis_map():
    assert list(toy_spec().sizes) == [*TOY.dims]


# --- rules -------------------------------------------------------------------


def test_every_variable_needs_a_rule():
    with pytest.raises(GrowthError, match="none of .'a'. matches it. Add a"):
        spec({"a": "-> h"}, {"a": (2,), "b": (2,)})


def test_two_rules_are_one_too_many():
    rules = {"a/.*": "-> h", ".*/bias": "-> h"}
    with pytest.raises(GrowthError, match=r"\['a/\.\*', '\.\*/bias'\]"):
        spec(rules, {"a/bias": (2,)})


def test_a_rule_matches_the_whole_path():
    with pytest.raises(GrowthError, match="'ab'"):
        spec({"a": "-> h"}, {"ab": (2,)})


def test_the_number_of_axes_is_the_rank():
    with pytest.raises(GrowthError, match="name 2 axes.*Received: '-> h'"):
        spec({"a": "-> h"}, {"a": (2, 3)})


def test_paths_are_unique():
    with pytest.raises(GrowthError, match="Two variables have the path 'a'"):
        AxisMap({"a": "-> h"}).spec([("a", (2,)), ("a", (2,))], {})


@pytest.mark.parametrize(
    "rules, reason",
    [
        ({}, "non-empty dict"),
        ([("a", "-> h")], "non-empty dict"),
        ({"a(": "-> h"}, "not a regular expression"),
        ({"{a}/{b}": "-> h"}, "at most one block number"),
        ({"a": "h"}, "exactly one arrow"),
    ],
)
def test_rules_that_cannot_be_read_are_refused(rules, reason):
    with pytest.raises(GrowthError, match=reason):
        AxisMap(rules)


def test_a_scale_is_of_a_dimension_that_there_is():
    with pytest.raises(GrowthError, match="'hh'.*none of the dim.*'h'"):
        spec({"a": "-> h | hh^0.5"}, {"a": (2,)})


@pytest.mark.parametrize(
    "wrong, reason",
    [
        (lambda: Dim("h", kind="steam"), "kind='steam'"),
        (lambda: Dim("h", norm="batch"), "norm='batch'"),
        (lambda: BlockStack("s", norm="none"), "norm='none'"),
    ],
)
def test_options_are_checked(wrong, reason):
    with pytest.raises(GrowthError, match=f"must be one of .*{reason}"):
        wrong()


# --- stacks ------------------------------------------------------------------


BLOCKS = {"block_{n}/a": "-> h", "block_{n}/b": "-> h"}


def blocks(*numbers, names="ab"):
    return {f"block_{i}/{name}": (2,) for i in numbers for name in names}


def test_blocks_are_counted_and_know_each_other():
    solved = spec(BLOCKS, blocks(0, 1, 2))
    assert solved.depths == {"n": 3}
    assert solved.variables["block_2/b"].at(0) == "block_0/b"


@pytest.mark.parametrize("numbers", [[1, 2], [0, 2]])
def test_gaps_between_blocks_are_refused(numbers):
    with pytest.raises(GrowthError, match=re.escape(f"Received: {numbers}")):
        spec(BLOCKS, blocks(*numbers))


def test_blocks_that_differ_are_refused():
    shapes = {**blocks(0, 1, names="a"), **blocks(0, names="b")}
    with pytest.raises(GrowthError, match=r"'block_\{n\}/b' in the blocks \[0"):
        spec(BLOCKS, shapes)


def test_one_block_s_own_variable_gets_a_rule_of_its_own():
    rules = {"block_{n}/a": "-> h", "block_0/b": "-> h"}
    shapes = {**blocks(0, 1, names="a"), **blocks(0, names="b")}
    assert spec(rules, shapes).variables["block_0/b"].stack is None


def test_a_dim_within_blocks_is_local_to_their_stack():
    assert toy_spec().stack_of("ffn") == "layers"
    assert toy_spec().stack_of("hidden") is None
    assert toy_spec().stack_of("vocab") is None


# --- defaults and configs ----------------------------------------------------


def test_a_dim_with_a_gain_is_normalised():
    axes = AxisMap({"gamma": "-> h | scale", "kernel": "h -> f"})
    assert axes.dims["h"].norm == "layer" and axes.dims["f"].norm is None
    assert axes.dims["h"].kind == "nonlinear" and axes.dims["h"].field == "h"


def test_a_field_sizes_all_its_dims():
    dims = [Dim("qk", "head_dim"), Dim("value", "head_dim"), Dim("h")]
    axes = AxisMap(
        {"a": "h -> qk value"}, dims, [BlockStack("layers", "depth")]
    )
    assert axes.fields == {
        "head_dim": ["qk", "value"],
        "h": ["h"],
        "depth": ["layers"],
    }


MAPS = {"toy": TOY, **{name: cls.axes for name, cls in FAMILIES.items()}}


@pytest.mark.parametrize("name", MAPS)
def test_an_axis_map_survives_its_config(name):
    axes = MAPS[name]
    config = json.loads(json.dumps(axes.get_config()))
    again = AxisMap.from_config(config)
    assert again.get_config() == axes.get_config()
    for attribute in ("rules", "dims", "stacks", "outputs", "fields"):
        assert getattr(again, attribute) == getattr(axes, attribute)


@given(st.dictionaries(st.sampled_from([*TOY_SIZES]), st.integers(1, 9)))
def test_a_spec_survives_the_config_of_its_axis_map(sizes):
    again = AxisMap.from_config(TOY.get_config())
    expected = toy_spec(sizes)
    shapes = [(p, v.shape) for p, v in expected.variables.items()]
    assert again.spec(shapes, expected.config) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_s_spec_has_the_sizes_of_its_config(family):
    model = make_model(family)
    sizes = FAMILIES[family].example.sizes
    solved = model.architecture.spec
    for field, parts in model.architecture.axes.fields.items():
        for part in parts:
            size = {**solved.sizes, **solved.depths}[part]
            # Llama's are parts of what their fields count.
            if part not in ("group", "pairs"):
                assert size == sizes[field]
            assert sizes[field] == model.growth_config[field]
    assert list(solved.variables) == [
        w.path.removeprefix("network/") for w in model.network.weights
    ]
    assert all(isinstance(axes, Axes) for axes in solved.outputs or ())


def test_a_network_without_values_names_its_initializers():
    axes = AxisMap({"a/kernel": "_ -> h", "a/bias": "-> h"})
    with without_values():
        dense = keras.layers.Dense(6, name="a")
        network = keras.Sequential([keras.Input((4,)), dense])
        solved = read_spec(axes, network)
    assert solved.sizes == {"h": 6}
    kernel = solved.variables["a/kernel"].initializer
    assert isinstance(kernel, keras.initializers.GlorotUniform)
