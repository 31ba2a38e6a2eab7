"""The pattern language of axes: what is written is what is read."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgrow import GrowthError
from kgrow.algebra import Axes
from kgrow.algebra.axes import CONSUME, PRODUCE, Axis

pytestmark = pytest.mark.once

WORD = string.ascii_letters + string.digits + "_"
NAMES = st.from_regex(r"[A-Za-z]\w{0,5}", fullmatch=True, alphabet=WORD)
FACTORS = st.lists(NAMES | st.integers(1, 99), max_size=3).map(tuple)
SPACES = st.sampled_from([" ", "  "])
# Where spaces may stand without a change of meaning.
GAPS = re.compile(r" |(?=[()|,~])|(?<=[()|,~])|(?=->)|(?<=->)")

FLAGS = ("scale", "offset", "attention_norm", "ffn_norm", "residual_out")


@st.composite
def patterns(draw):
    axes = [
        Axis(factors, draw(st.sampled_from([CONSUME, PRODUCE])))
        if factors
        else Axis((), CONSUME)
        for factors in draw(st.lists(FACTORS, max_size=5))
    ]
    powers = draw(st.lists(st.tuples(NAMES, st.floats(-4, 4)), max_size=2))
    flags = {flag: True for flag in draw(st.sets(st.sampled_from(FLAGS)))}
    return Axes(tuple(axes), powers=tuple(powers), **flags)


@given(patterns())
def test_what_is_written_is_read_again(axes):
    assert Axes.parse(str(axes)) == axes


@given(patterns(), st.data())
def test_spaces_do_not_matter(axes, data):
    wide = GAPS.sub(lambda _: data.draw(SPACES), str(axes))
    assert Axes.parse(wide) == axes


@given(patterns())
def test_parsed_axes_pass_through(axes):
    assert Axes.parse(axes) is axes


@pytest.mark.parametrize(
    "pattern, roles",
    [
        ("a b -> c", [CONSUME, CONSUME, PRODUCE]),
        ("~a b -> ~c d", [PRODUCE, CONSUME, CONSUME, PRODUCE]),
        ("-> ~(3 a) b", [CONSUME, PRODUCE]),
        ("->", []),
    ],
)
def test_the_arrow_gives_the_role_and_a_tilde_flips_it(pattern, roles):
    assert [axis.role for axis in Axes.parse(pattern)] == roles


def test_flags_are_read():
    axes = Axes.parse("a -> b | scale, residual_out, b^-0.5, a^2")
    assert axes.scale and axes.residual_out
    assert axes.powers == (("b", -0.5), ("a", 2.0))


def test_dims_come_once_and_in_order():
    assert Axes.parse("b (3 a) -> b _ c").dims == ("b", "a", "c")


@given(patterns(), st.integers(1, 9))
def test_shape_multiplies_the_factors(axes, fixed):
    sizes = {dim: 2 + i for i, dim in enumerate(axes.dims)}
    shape = axes.shape(sizes, (fixed,) * len(axes))
    assert len(shape) == len(axes)
    for axis, size in zip(axes, shape, strict=True):
        for factor in axis.factors if axis.dims else ():
            size /= sizes.get(factor, factor)
        assert size == (1 if axis.dims else fixed)


@pytest.mark.parametrize(
    "pattern, reason",
    [
        ("hidden ffn", "exactly one arrow"),
        ("a -> b -> c", "exactly one arrow"),
        ("a -> b-c", "Cannot read '-c'"),
        ("a -> (b, c)", r"Cannot read '\(b, c\)'"),
        ("a -> (b (c d))", "Cannot read"),
        ("a -> (b", "Cannot read"),
        ("a -> ()", "Cannot read"),
        ("a -> ( )", "Cannot read"),
        ("3heads -> a", "Cannot read '3heads'"),
        ("a -> (0 b)", "Cannot read"),
        ("a -> _b", "Cannot read '_b'"),
        ("a -> b | gian", "Unknown flag 'gian'"),
        ("a -> b | b^x", "Unknown flag"),
        ("a -> b | scale | residual_out", "Unknown flag"),
        (None, "written as a string such as 'hidden -> ffn'"),
        (["a", "b"], "written as a string"),
    ],
)
def test_what_cannot_be_read_is_quoted(pattern, reason):
    with pytest.raises(GrowthError, match=reason) as error:
        Axes.parse(pattern)
    assert repr(pattern) in str(error.value)
