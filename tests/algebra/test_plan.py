"""Plans: pure, composable, the same everywhere, and dual to gradients."""

import dataclasses
import hashlib

import keras
import numpy as np
import pytest
from helpers.toy import (
    DEPTH,
    FAMILIES,
    FAN_IN,
    TOY_SIZES,
    array,
    assert_close,
    assert_same,
    grow_offline,
    make_inputs,
    make_model,
    make_targets,
    relative_difference,
    shallow,
    toy_spec,
    toy_terms,
    toy_values,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kgrow import DepthExpansion, Expansion, GrowthError, Plan, strategies
from kgrow.algebra import MatrixMap, NewEntryInit, PlanTerm, tolerance
from kgrow.architecture.architecture import relative_path
from kgrow.layers.float64 import exact_float64

pytestmark = pytest.mark.compiles

SOURCE = toy_spec()
WIDER = toy_spec({"hidden": 5, "heads": 3, "qk": 4, "ffn": 6})
DEEPER = toy_spec(depth=4)
LARGER = toy_spec(WIDER.sizes, depth=3)


@st.composite
def toy_specs(draw):
    sizes = {dim: draw(st.integers(1, 4)) for dim in TOY_SIZES}
    return toy_spec(sizes, draw(st.integers(1, 3)))


@st.composite
def plans(draw, source=None, target=None, terms=2, **options):
    """A plan of random terms between two toy specs."""
    source = draw(toy_specs()) if source is None else source
    target = draw(toy_specs()) if target is None else target
    term = toy_terms(source, target, **options)
    terms = draw(st.lists(term, min_size=1, max_size=terms))
    return Plan(source, target, tuple(terms))


def plan_of(strategy, source=SOURCE, target=WIDER, seed=0):
    return strategies.get(strategy).plan(source, target, seed)


# --- a pure function ---------------------------------------------------------


@given(plans(unwritten=True))
def test_values_go_in_and_stay(plan):
    values = toy_values(plan.source)
    grown = plan.apply(values)
    assert {p: v.shape for p, v in grown.items()} == {
        p: v.shape for p, v in plan.target.variables.items()
    }
    for value in grown.values():
        value += 1
    assert_same(values, toy_values(plan.source))


@given(plans(unwritten=True))
def test_the_same_plan_gives_the_same_values(plan):
    values = toy_values(plan.source)
    assert_same(plan.apply(values), plan.apply(values))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_identity_gives_the_same_bits_in_new_arrays(dtype):
    values = toy_values(SOURCE, dtype=dtype)
    grown = Plan(SOURCE, SOURCE, (PlanTerm(),)).apply(values)
    assert_same(grown, values)
    for path, value in values.items():
        assert not np.shares_memory(grown[path], value)


@pytest.mark.each
@settings(max_examples=4)
@given(plans(SOURCE, LARGER, unwritten=True))
def test_tensors_grow_as_arrays_do(plan):
    values = toy_values(plan.source, dtype="float32")
    tensors = {p: ops.convert_to_tensor(v) for p, v in values.items()}
    grown = plan.apply(tensors)
    for path, expected in plan.apply(values).items():
        assert ops.is_tensor(grown[path])
        assert_close(array(grown[path]), expected, "float32")


@given(plans(terms=1), st.data())
def test_terms_add_up(plan, data):
    other = data.draw(plans(plan.source, plan.target, terms=1))
    both = dataclasses.replace(plan, terms=plan.terms + other.terms)
    values = toy_values(plan.source)
    one, two = plan.apply(values), other.apply(values)
    expected = {path: one[path] + two[path] for path in one}
    assert_all_close(both.apply(values), expected)


def assert_all_close(actual, expected):
    assert list(actual) == list(expected)
    for path, value in expected.items():
        assert_close(actual[path], value)


# --- composition -------------------------------------------------------------


@given(plans(), st.data())
def test_a_composition_is_one_after_the_other(first, data):
    second = data.draw(plans(source=first.target, unwritten=True))
    values = toy_values(first.source)
    try:
        both = second @ first
    except GrowthError as error:
        assert "one after the other" in str(error)
        return
    expected = second.apply(first.apply(values))
    assert_all_close(both.apply(values), expected)


@given(plans(terms=1), st.data())
def test_identity_plans_are_neutral(plan, data):
    values = toy_values(plan.source)
    before = Plan(plan.source, plan.source, (PlanTerm(),))
    after = Plan(plan.target, plan.target, (PlanTerm(),))
    assert_same((plan @ before).apply(values), plan.apply(values))
    assert_same((after @ plan).apply(values), plan.apply(values))


def test_growths_of_width_and_of_depth_compose():
    """What most users do: one strategy after another, as a single plan."""
    wider = plan_of("net2net", SOURCE, WIDER)
    deeper = plan_of("direct", WIDER, LARGER)
    values = toy_values(SOURCE)
    expected = deeper.apply(wider.apply(values))
    assert_all_close((deeper @ wider).apply(values), expected)


def test_dense_mixings_compose():
    rng = np.random.default_rng(0)
    first = DepthExpansion(MatrixMap(rng.standard_normal((4, 2))))
    second = DepthExpansion(MatrixMap(rng.standard_normal((5, 4))))
    deepest = toy_spec(depth=5)
    one = Plan(SOURCE, DEEPER, (PlanTerm({}, {"layers": first}),))
    two = Plan(DEEPER, deepest, (PlanTerm({}, {"layers": second}),))
    values = toy_values(SOURCE)
    assert_all_close((two @ one).apply(values), two.apply(one.apply(values)))


def test_blocks_of_different_maps_are_not_mixed():
    wider = plan_of("net2net", SOURCE, toy_spec({"ffn": 6}))
    mixing = DepthExpansion(MatrixMap(np.ones((3, 2))))
    target = toy_spec({"ffn": 6}, depth=3)
    deeper = Plan(wider.target, target, (PlanTerm({}, {"layers": mixing}),))
    with pytest.raises(GrowthError, match="'ffn' grew differently"):
        deeper @ wider


@pytest.mark.parametrize(
    "second, first, reason",
    [
        (
            plan_of("net2net", WIDER, LARGER),
            plan_of("net2net", SOURCE, SOURCE),
            "only follow one that ends where it starts",
        ),
        (
            plan_of("net2net", WIDER, LARGER),
            plan_of("direct", SOURCE, WIDER),
            "the first writes every entry",
        ),
        (
            plan_of("net2net", SOURCE, WIDER),
            Plan(SOURCE, SOURCE, (PlanTerm(),), noise={"hidden": 0.1}),
            "neither adds noise",
        ),
        (
            Plan(SOURCE, SOURCE, (PlanTerm(),), noise={"hidden": 0.1}),
            Plan(SOURCE, SOURCE, (PlanTerm(),)),
            "neither adds noise",
        ),
    ],
)
def test_what_does_not_compose_is_refused(second, first, reason):
    with pytest.raises(GrowthError, match=reason):
        second @ first


# --- entries that no map writes ----------------------------------------------


@pytest.mark.parametrize("incoming", ["zeros", "initializer"])
@pytest.mark.parametrize("outgoing", ["zeros", "initializer"])
def test_new_entries_are_zero_or_drawn(incoming, outgoing):
    """The toy's initializer draws ones; new units come in first."""
    target = toy_spec({"hidden": 4})
    term = PlanTerm({"hidden": Expansion.pad(3, 4)})
    new_entries = {"hidden": NewEntryInit(incoming, outgoing)}
    values = toy_values(SOURCE)
    grown = Plan(SOURCE, target, (term,), new_entries).apply(values)
    value = {"zeros": 0.0, "initializer": 1.0}
    assert (grown["embedding"][:, 3] == value[incoming]).all()
    assert (grown["block_0/gain"][3] == value[incoming]).all()
    assert (grown["block_1/down"][:, 3] == value[incoming]).all()
    assert (grown["block_1/up"][3] == value[outgoing]).all()
    assert (grown["norm"][3] == value[outgoing]).all()
    for path, old in values.items():
        index = tuple(map(slice, old.shape))
        np.testing.assert_array_equal(grown[path][index], old)


def test_a_new_unit_reading_a_new_unit_is_incoming():
    target = toy_spec({"hidden": 4, "ffn": 5})
    widths = {"hidden": Expansion.pad(3, 4), "ffn": Expansion.pad(4, 5)}
    plan = Plan(SOURCE, target, (PlanTerm(widths),))
    assert plan.apply(toy_values(SOURCE))["block_0/up"][3, 4] == 1.0


def test_new_blocks_are_fresh_and_silent_where_asked():
    mixing = DepthExpansion.select(2, [0, 1, None, None], exits=[1, 1, 0, 1])
    plan = Plan(SOURCE, DEEPER, (PlanTerm({}, {"layers": mixing}),))
    grown = plan.apply(toy_values(SOURCE))
    assert (grown["block_2/up"] == 1).all() and not grown["block_2/down"].any()
    assert (grown["block_3/down"] == 1).all()


@pytest.mark.parametrize("fill", [7.0, "array"])
def test_a_fill_takes_the_place_of_fresh_values(fill):
    target = toy_spec({"ffn": 6})
    plan = Plan(SOURCE, target, (PlanTerm({"ffn": Expansion.pad(4, 6)}),))
    values = toy_values(SOURCE)
    array = np.full((3, 6), 7.0) if fill == "array" else fill
    grown = plan.grow("block_0/up", values, fill=array)
    np.testing.assert_array_equal(grown[:, :4], values["block_0/up"])
    assert (grown[:, 4:] == 7).all()


def test_drawn_entries_without_an_initializer_are_refused():
    target = toy_spec({"ffn": 6}, initializer=None)
    plan = Plan(SOURCE, target, (PlanTerm({"ffn": Expansion.pad(4, 6)}),))
    with pytest.raises(GrowthError, match="'block_0/up' need an initializer"):
        plan.apply(toy_values(SOURCE))


@pytest.mark.parametrize("wrong", ["missing", "other shape"])
def test_values_that_do_not_fit_are_refused(wrong):
    values = toy_values(SOURCE)
    values.pop("norm")
    if wrong == "other shape":
        values["norm"] = np.ones(5)
    received = "no such variable" if wrong == "missing" else r"shape \(5,\)"
    with pytest.raises(GrowthError, match=rf"'norm'.*Received: {received}"):
        plan_of("net2net").apply(values)


def test_a_plan_says_what_it_reads_and_keeps():
    mixing = DepthExpansion.select(2, [0, 1, 1, None])
    plan = Plan(SOURCE, DEEPER, (PlanTerm({}, {"layers": mixing}),))
    assert plan.reads("block_2/up") == ["block_1/up"]
    assert plan.reads("block_3/up") == []
    assert plan.keeps("norm") and plan.keeps("block_1/up")
    assert not plan.keeps("block_2/up")
    assert not plan.is_complete
    wider = plan_of("net2net", SOURCE, toy_spec({"qk": 4}))
    assert wider.is_complete
    assert wider.keeps("block_0/up") and not wider.keeps("block_0/query")


def test_first_only_writes_what_was_there_once():
    plan = plan_of("net2net", SOURCE, LARGER).first_only()
    values = {p: np.ones(v.shape) for p, v in SOURCE.variables.items()}
    written = {
        path: np.count_nonzero(plan.grow(path, values, fill=0.0))
        for path in LARGER.variables
    }
    sizes = [value.size for value in values.values()]
    assert sum(written.values()) == sum(sizes)
    assert written["block_1/up"] == 0 and plan.reads("block_2/up")


# --- seeds, and the noise they draw ------------------------------------------


WIDEST = toy_spec({"hidden": 12, "ffn": 16}, initializer="random_normal")
DEEPEST = toy_spec(depth=5, initializer="random_normal")


@pytest.mark.parametrize("target", [WIDEST, DEEPEST], ids=["width", "depth"])
@pytest.mark.parametrize("strategy", strategies.names(aliases=False))
def test_the_same_seed_gives_the_same_weights(strategy, target):
    values = toy_values(SOURCE)
    try:
        one, again = (plan_of(strategy, SOURCE, target) for _ in range(2))
    except GrowthError as error:
        assert any(word in str(error) for word in ("only", "Choose", "Use '"))
        return
    assert_same(one.apply(values), again.apply(values))


@pytest.mark.parametrize(
    "strategy, target, drawn",
    [
        (strategies.Net2Net(), WIDEST, True),
        (strategies.Net2Net(), DEEPEST, False),
        (strategies.HyperCloning(), WIDEST, True),
        (strategies.HyperCloning(snr=None), WIDEST, False),
        (strategies.Direct(), WIDEST, True),
        (strategies.Direct("zeros", "zeros"), WIDEST, False),
        (strategies.Random(), DEEPEST, True),
        (strategies.Stack(), DEEPEST, False),
    ],
    ids=str,
)
def test_another_seed_changes_what_is_drawn(strategy, target, drawn):
    values = toy_values(SOURCE)
    one, other = (
        plan_of(strategy, SOURCE, target, seed).apply(values) for seed in (0, 1)
    )
    assert drawn == any((one[path] != other[path]).any() for path in one)


def test_a_seed_changes_no_entry_that_is_copied():
    values = toy_values(SOURCE)
    plans = [plan_of("direct", SOURCE, WIDEST, seed) for seed in (0, 1)]
    for path in WIDEST.variables:
        one, other = (plan.grow(path, values, np.nan) for plan in plans)
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("snr", [0.0, 10.0, 40.0])
def test_noise_is_as_large_as_asked_and_is_not_read(snr):
    """What reads equal copies sums over them, and noise sums to nothing."""
    source, target = toy_spec({"hidden": 60}), toy_spec({"hidden": 120})
    noisy = plan_of(strategies.HyperCloning(snr), source, target)
    clean = dataclasses.replace(noisy, noise={})
    values = toy_values(source)
    path = "block_0/up"
    loud, quiet = noisy.grow(path, values), clean.grow(path, values)
    produce = noisy.terms[0].width("hidden", 0).produce.matrix()
    assert_close(produce.T @ loud, produce.T @ quiet)
    noise = (loud - quiet).std() / quiet.std()
    # The projection takes away some of it, as much as there are old units.
    assert 0.6 < noise / 10 ** (-snr / 20) < 0.8
    for silent in ("embedding", "block_0/gain", "block_0/down"):
        one, other = noisy.grow(silent, values), clean.grow(silent, values)
        np.testing.assert_array_equal(one, other)


@pytest.mark.grid
@pytest.mark.parametrize("strategy", ["hypercloning", "net2net", "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_gets_what_its_plan_makes(family, strategy):
    """The same bytes in two growths, and from the plan alone."""
    model = make_model(family)
    source = model.architecture
    target = {
        field: 2 * size
        for field, size in source.config.items()
        if kinds(source, field) == "width"
    }
    network, _ = grow_offline(model, target, strategy, seed=4)
    expected = [array(weight) for weight in network.weights]
    model.grow(target, strategy, seed=4)
    assert_same([array(weight) for weight in model.weights], expected)


def test_gradients_get_no_noise():
    plan = plan_of(strategies.HyperCloning(), SOURCE, toy_spec({"hidden": 6}))
    assert not any(plan.dual().noise.values())


@pytest.mark.each
def test_the_plan_of_net2net_is_the_same_everywhere():
    """On every backend and every machine: the bytes of what it makes."""
    sizes = {"vocab": 7, "hidden": 7, "heads": 3, "qk": 5, "ffn": 9}
    plan = plan_of("net2net", SOURCE, toy_spec(sizes, depth=3), seed=1)
    grown = plan.apply(toy_values(SOURCE, dtype="float32"))
    digest = hashlib.sha256()
    for path, value in grown.items():
        digest.update(path.encode())
        digest.update(value.tobytes())
    assert digest.hexdigest()[:16] == "4b194c892d902c68"


# --- the dual maps gradients -------------------------------------------------


# A step so long that rounding of the weights is lost in what they move by.
RATE = 2.0**30


def gradients(model, network):
    """`{path: gradient}` of a network on a batch for `model`: what one step
    of plain descent takes away."""
    x = make_inputs(model)
    y = make_targets(model, x)
    eager = keras.backend.backend() != "jax"
    network.compile(keras.optimizers.SGD(RATE), "mse", run_eagerly=eager)
    before = [array(w) for w in network.trainable_weights]
    with exact_float64():
        network.train_on_batch(x, y)
    moved = zip(network.trainable_weights, before, strict=True)
    gradients = {
        relative_path(network, w): (old - array(w)) / RATE for w, old in moved
    }
    for weight, old in zip(network.trainable_weights, before, strict=True):
        weight.assign(old)
    return gradients


def mapped_fields(model, strategy):
    """`{field: new size}` of what a strategy grows by its dual's law: without
    a change of the function, and in even shares where there is a norm, which
    spreads its own part of the gradient evenly over the copies."""
    source = model.architecture
    for fields in (["width", "depth"], ["width"], ["depth"]):
        target = {
            field: 2 * size
            for field, size in source.config.items()
            if kinds(source, field) in fields
        }
        _, spec = source.build(source.check(target))
        try:
            plan = strategies.get(strategy).plan(source.spec, spec)
        except GrowthError:
            continue
        lawful = {
            claim.dim
            for claim in strategies.get(strategy).claims(plan)
            if claim.exact and not uneven_in_a_norm(plan, claim.dim)
        }
        # A group of heads stays what it is where all heads double.
        lawful |= {*spec.sizes, *spec.depths} - {*plan.grown}
        parts = source.axes.fields
        return {f: n for f, n in target.items() if lawful >= {*parts[f]}}
    return {}


def kinds(architecture, field):
    (part, *_) = architecture.axes.fields[field]
    if part in architecture.spec.stacks:
        return "depth"
    lookup = architecture.spec.dims[part].kind == "lookup"
    return "lookup" if lookup else "width"


def uneven_in_a_norm(plan, name):
    if name in plan.target.stacks or plan.target.dims[name].norm is None:
        return False
    shares = plan.terms[0].width(name, 0).consume.matrix().max(axis=1)
    return np.ptp(shares) != 0


def keeps_a_function(strategy):
    for target in (WIDEST, DEEPEST):
        try:
            plan = plan_of(strategy, SOURCE, target)
        except GrowthError:
            continue
        if any(claim.exact for claim in strategies.get(strategy).claims(plan)):
            return True
    return False


KEEPING = [*filter(keeps_a_function, strategies.names(aliases=False))]


@pytest.mark.sample
@pytest.mark.parametrize(
    "strategy", [*KEEPING, strategies.Net2Net("even")], ids=str
)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_dual_maps_gradients(float64, family, strategy):
    """First and second moments, wherever the dual writes anything; noise is
    left out, for it changes what flows back."""
    model = make_model(family, **shallow(family))
    target = mapped_fields(model, strategy)
    if not target:
        pytest.skip(f"{strategy} keeps the function of no grown {family}")
    network, plan = grow_offline(model, target, strategy, noise={})
    small, large = small_gradients(family, model), gradients(model, network)
    epsilon = sum(c.within for c in strategies.get(strategy).claims(plan))
    for degree in (1, 2):
        dual = plan.dual(degree)
        powers = {path: g**degree for path, g in small.items()}
        expected = {
            path: dual.grow(path, powers, fill=np.nan)
            for path in large
            if dual.reads(path)
        }
        # Keys' biases have a gradient of zero, so all is relative to all.
        actual = flat({path: large[path] ** degree for path in expected})
        expected = flat(expected)
        written = np.isfinite(expected)
        bound = tolerance("float64", FAN_IN, DEPTH) + degree * epsilon
        found, wanted = actual[written], expected[written]
        assert relative_difference(found, wanted) <= bound


_small = {}


def small_gradients(family, model):
    if family not in _small:
        _small[family] = gradients(model, model.network)
    return _small[family]


def flat(values):
    return np.concatenate([value.ravel() for value in values.values()])


@pytest.mark.compiles
@pytest.mark.parametrize("family", ["BERT", "GPT2"])
def test_copies_share_the_whole_gradient(float64, family):
    """Uneven shares through a norm: who gets how much is another matter."""
    model = make_model(family, num_layers=1)
    network, plan = grow_offline(model, {"hidden_dim": 16}, "net2net")
    small, large = small_gradients(family, model), gradients(model, network)
    produce = plan.terms[0].widths["hidden"].produce.matrix()
    for path in ("token_embedding/embeddings", "position_embedding/embeddings"):
        assert_close(large[path] @ produce, small[path])
